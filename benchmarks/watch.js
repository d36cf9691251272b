// Runs in a page before its own scripts, and notes what the page follows, draws, and how evenly.
(() => {
  const watch = {
    topics: new Set(), delays: [], tasks: [], frames: 0, at: 0,
    asked: {}, topic: '', newest: null, observer: null,

    begin(topic, place) {
      this.topic = topic
      this.newest = null
      this.delays = []
      this.tasks = []
      this.asked = {}
      this.frames = 0
      this.at = performance.now()
      this.observer?.disconnect()
      this.observer = new MutationObserver(changed)
      const drawn = place ? document.querySelector(place) : null
      if (drawn) this.observer.observe(drawn, { characterData: true, childList: true, subtree: true })
    },

    found() {
      return {
        ms: performance.now() - this.at, frames: this.frames, delays: this.delays, asked: this.asked,
        tasks: this.tasks.filter(([start]) => start >= this.at).map(([, duration]) => duration),
      }
    },
  }
  window.watch = watch

  // A frame's head: its topic, and when the service had worked it out.
  const HEAD = /"topic":"((?:[^"\\]|\\.)*)".*?"ts":"([^"]+)"/
  class Watched extends WebSocket {
    constructor(...given) {
      super(...given)
      this.addEventListener('message', (message) => {
        const head = HEAD.exec(message.data.slice(0, 600))
        if (head !== null && watch.topic && head[1].startsWith(watch.topic)) watch.newest = Date.parse(head[2])
      })
    }

    send(text) {
      const word = JSON.parse(text)
      if (word.type === 'subscribe') watch.topics.add(word.topic)
      if (word.type === 'unsubscribe') watch.topics.delete(word.topic)
      super.send(text)
    }
  }
  window.WebSocket = Watched

  const { fetch } = window
  window.fetch = (what, how) => {
    const { pathname, search } = new URL(what instanceof Request ? what.url : what, location.href)
    watch.asked[pathname + search] = (watch.asked[pathname + search] ?? 0) + 1
    return fetch(what, how)
  }

  // A change of the document is drawn at the end of the animation frame in which it is made; a message that is sent then
  // arrives behind it.
  const behind = new MessageChannel()
  behind.port1.onmessage = (message) => watch.delays.push(Date.now() - message.data)
  function changed() {
    if (watch.newest === null) return
    behind.port2.postMessage(watch.newest)
    watch.newest = null
  }

  const frame = () => {
    watch.frames++
    requestAnimationFrame(frame)
  }
  requestAnimationFrame(frame)
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) watch.tasks.push([entry.startTime, entry.duration])
  }).observe({ type: 'longtask' })
})()
