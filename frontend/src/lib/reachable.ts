/** What scrolls must be reached by the keyboard too: a stop for Tab while there is something to scroll, and only then. */
export function reachable(element: HTMLElement): () => void {
  const look = () => {
    const scrolls = element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1
    if (scrolls) element.tabIndex = 0
    else element.removeAttribute('tabindex')
  }
  const sizes = new ResizeObserver(look)
  const contents = new MutationObserver(look)
  sizes.observe(element)
  contents.observe(element, { childList: true })
  look()
  return () => {
    sizes.disconnect()
    contents.disconnect()
  }
}
