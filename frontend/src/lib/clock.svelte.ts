/** The service's time, which in a recorded market runs faster than the wall's; never the browser's own. */

import { session } from './session.svelte'

const STEP = 250

class Clock {
  /** Milliseconds since 1970 by the service's clock, renewed four times a second. */
  now = $state(0)
  private base = 0
  private at = 0

  constructor() {
    setInterval(() => {
      if (this.base > 0) this.now = this.time()
    }, STEP)
  }

  /** A frame said what time it is (`isNow`), or of when its figures are. It may have waited a little, so time does not
   * run back for less than two steps, and never to the time of figures that nothing has changed for long. */
  heard(text: string, isNow: boolean): void {
    const said = Date.parse(text)
    const speed = session.service?.speed ?? 1
    const guessed = this.time()
    const isBehind = said < guessed && (!isNow || guessed - said < 2 * STEP * speed)
    if (this.base > 0 && isBehind) return
    this.base = said
    this.at = performance.now()
    if (this.now === 0) this.now = said
  }

  private time(): number {
    return this.base + (performance.now() - this.at) * (session.service?.speed ?? 1)
  }
}

export const clock = new Clock()
