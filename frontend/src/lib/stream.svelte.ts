/**
 * The live connection: topics as documents that are kept up to date, and the events. It reconnects by itself and goes
 * on where it was. Whoever draws is told at most once an animation frame, of the newest state only.
 */

import { untrack } from 'svelte'
import { address } from './api'
import { clock } from './clock.svelte'
import { session } from './session.svelte'
import type { Event } from './types'

type Document = Record<string, unknown>
type Row = { account_id: string }

interface Topic {
  n: number | null
  document: Document | null
  tell: Set<(document: Document) => void>
  fault: Set<(code: string, detail: string) => void>
}

interface Frame {
  type: string
  topic?: string
  n?: number
  seq?: number
  place?: string
  ts?: string
  code?: string
  detail?: string
  data?: unknown
}

const PING = 2_000
const UNANSWERED = 3
/** Pings without any word after which the connection counts as lost. A hidden page's timers run once a minute, so that
 * the time alone says nothing. */
const LATEST_RETRY = 5_000
const PATIENCE = 10_000
/** Milliseconds until a connection that has not come about is given up. */
const AGAIN = 1_000
/** Milliseconds until what was one message too many is asked again. */
const RECENT = 100
/** Inputs of the journal that "from now on" looks back, as lists may be a little behind. */

class Stream {
  /** connecting: never yet; live; stale: lost, what is shown is old. */
  state = $state<'connecting' | 'live' | 'stale'>('connecting')
  /** Milliseconds of the browser's clock at the last word from the service. */
  heard = $state(0)
  /** The newest input of the journal that a frame told of. */
  seq = 0

  private socket: WebSocket | null = null
  private topics = new Map<string, Topic>()
  private listeners = new Set<(events: Event[]) => void>()
  /** null: from about now on, which is known when the service has said where it stands. */
  private from: number | null = 0
  /** The input whose events came last, and which of them are known: a fill and what it led to may share a place. */
  private place = 0
  private known = new Set<string>()
  private retry = 250
  private retrying: ReturnType<typeof setTimeout> | undefined
  private pinging: ReturnType<typeof setInterval> | undefined
  private opened = 0
  private unanswered = 0
  private changed = new Set<Topic>()
  private news: Event[] = []
  private drawing = false

  start(): void {
    this.open()
    this.pinging = setInterval(() => this.ping(), PING)
  }

  stop(): void {
    clearInterval(this.pinging)
    clearTimeout(this.retrying)
    const socket = this.socket
    this.socket = null
    socket?.close()
    this.state = 'connecting'
    this.retry = 250
    this.seq = 0
    this.topics.clear()
    this.listeners.clear()
    this.changed.clear()
    this.news = []
  }

  /** Follow a topic; the function given gets its document whenever it changed. Returns what ends that. */
  follow<T>(name: string, tell: (document: T) => void, fault?: (code: string, detail: string) => void): () => void {
    let topic = this.topics.get(name)
    const fresh = topic === undefined
    if (topic === undefined) {
      topic = { n: null, document: null, tell: new Set(), fault: new Set() }
      this.topics.set(name, topic)
    }
    const told = tell as (document: Document) => void
    topic.tell.add(told)
    if (fault) topic.fault.add(fault)
    const followed = topic
    if (fresh) this.ask(name, followed)
    else if (followed.document !== null) untrack(() => told(followed.document as Document))
    return () => {
      followed.tell.delete(told)
      if (fault) followed.fault.delete(fault)
      if (followed.tell.size === 0 && this.topics.get(name) === followed) {
        this.topics.delete(name)
        this.say({ type: 'unsubscribe', topic: name })
      }
    }
  }

  /** Be told of every event behind an input of the journal; null: from about now on. One listener sets where it
   * begins. */
  listen(after: number | null, tell: (events: Event[]) => void): () => void {
    this.listeners.add(tell)
    if (this.listeners.size === 1) {
      this.from = after
      this.place = 0
      this.known.clear()
      this.askEvents()
    }
    return () => {
      this.listeners.delete(tell)
      if (this.listeners.size === 0) this.say({ type: 'unsubscribe', topic: 'events' })
    }
  }

  // -- the socket -------------------------------------------------------------------------------------

  private open(): void {
    const where = new URL(address('/v1/stream'))
    where.protocol = where.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = (this.socket = new WebSocket(where))
    this.opened = performance.now()
    this.unanswered = 0
    socket.onopen = () => socket.send(JSON.stringify({ type: 'auth', key: session.key }))
    socket.onmessage = (message) => {
      if (socket === this.socket) this.take(JSON.parse(message.data as string) as Frame)
    }
    socket.onclose = (end) => {
      if (socket !== this.socket) return
      if (end.code === 1008 && end.reason === 'unauthorized') {
        session.leave()
        session.wrong = 'Signed out: the key is not known to the service any more.'
        return
      }
      this.lost()
    }
  }

  private lost(): void {
    if (this.state === 'live') this.state = 'stale'
    const socket = this.socket
    this.socket = null
    socket?.close()
    clearTimeout(this.retrying)
    this.retrying = setTimeout(() => this.open(), this.retry)
    this.retry = Math.min(LATEST_RETRY, this.retry * 2)
  }

  private ping(): void {
    if (this.socket === null) return // it is being tried again
    if (this.state !== 'live') {
      if (performance.now() - this.opened > PATIENCE) this.lost()
    } else if (this.unanswered >= UNANSWERED) {
      this.lost()
    } else {
      this.unanswered += 1
      this.say({ type: 'ping' })
    }
  }

  /** Whoever follows a topic in an effect does not hang on the state of the connection. */
  private say(word: object): void {
    if (untrack(() => this.state) === 'live' && this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(word))
  }

  private ask(name: string, topic: Topic): void {
    this.say(topic.n === null ? { type: 'subscribe', topic: name } : { type: 'resume', topic: name, after: topic.n })
  }

  private askEvents(): void {
    if (untrack(() => this.state) !== 'live') return
    this.from ??= Math.max(0, this.seq - RECENT)
    this.place = Math.max(this.place, this.from + 1)
    // An input's events may have been told in part: it is asked for again, and what is known is left out.
    this.say({ type: 'subscribe', topic: 'events', after: this.place - 1 })
  }

  private ready(): void {
    const again = this.state === 'stale'
    this.state = 'live'
    this.retry = 250
    this.say({ type: 'ping' }) // for the time: a topic's may be that of long ago
    for (const [name, topic] of this.topics) this.ask(name, topic)
    if (this.listeners.size > 0) this.askEvents()
    if (again) void session.refresh().catch(() => undefined)
  }

  // -- what comes -------------------------------------------------------------------------------------

  private take(frame: Frame): void {
    this.heard = performance.now()
    this.unanswered = 0
    if (frame.ts !== undefined) clock.heard(frame.ts, frame.type === 'pong')
    if (frame.seq !== undefined) this.seq = Math.max(this.seq, frame.seq)
    if (frame.type === 'ready') this.ready()
    else if (frame.type === 'error') this.fault(frame)
    else if (frame.topic === 'events') this.tellEvents(frame.data as Event[])
    else if (frame.topic !== undefined) this.update(frame)
  }

  private fault(frame: Frame): void {
    const name = frame.topic ?? ''
    const topic = this.topics.get(name)
    if (frame.code === 'rate_limited') {
      setTimeout(() => {
        if (name === 'events' && this.listeners.size > 0) this.askEvents()
        else if (topic !== undefined && this.topics.get(name) === topic) this.ask(name, topic)
      }, AGAIN)
    } else if (topic !== undefined) {
      for (const tell of topic.fault) tell(frame.code ?? '', frame.detail ?? '')
    }
  }

  private update(frame: Frame): void {
    const topic = this.topics.get(frame.topic ?? '')
    if (topic === undefined) return
    const data = frame.data as Document
    if (frame.type === 'snapshot') topic.document = data
    else if (topic.document === null) return // of an earlier subscription; the snapshot of this one follows
    else topic.document = merged(topic.document, data)
    topic.n = frame.n ?? null
    this.changed.add(topic)
    this.draw()
  }

  private tellEvents(events: Event[]): void {
    for (const event of events) {
      if (event.seq < this.place) continue
      if (event.seq > this.place) {
        this.place = event.seq
        this.known.clear()
      }
      const name = `${event.idx} ${event.type}`
      if (this.known.has(name)) continue
      this.known.add(name)
      this.news.push(event)
    }
    this.draw()
  }

  private draw(): void {
    if (this.drawing) return
    this.drawing = true
    // One topic a frame, then the events: no frame has to draw everything.
    const now = () => {
      this.drawing = false
      const [topic] = this.changed
      if (topic !== undefined) {
        this.changed.delete(topic)
        for (const tell of topic.tell) tell(topic.document as Document)
      } else {
        const news = this.news
        this.news = []
        for (const tell of this.listeners) tell(news)
      }
      if (this.changed.size > 0 || this.news.length > 0) this.draw()
    }
    if (document.hidden) setTimeout(now, 1_000) // no animation frames come
    else requestAnimationFrame(now)
  }
}

/** A document with what changed; lists of accounts come as changed rows and the order of all. */
function merged(before: Document, change: Document): Document {
  const after = { ...before }
  for (const [name, value] of Object.entries(change)) {
    const part = value as { rows?: Row[]; order?: string[] } | null
    if (part && typeof part === 'object' && Array.isArray(part.rows) && Array.isArray(part.order)) {
      const rows = new Map((before[name] as Row[]).map((row) => [row.account_id, row]))
      for (const row of part.rows) rows.set(row.account_id, row)
      after[name] = part.order.map((id) => rows.get(id))
    } else {
      after[name] = value
    }
  }
  return after
}

export const stream = new Stream()
