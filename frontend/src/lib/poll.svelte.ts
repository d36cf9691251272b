/** A document of the API that is asked for again and again. The last answer stays while a new one cannot be had. */

import { get } from './api'

/** Milliseconds between two questions, at least: in a crash there is a reason to ask in every frame. */
const REST = 500

export class Poll<T> {
  data = $state.raw<T | null>(null)
  /** Why the last answer is not the newest; "" when it is. */
  fault = $state('')
  private asking = false
  private begun = -REST
  private waiting: ReturnType<typeof setTimeout> | undefined
  private running = false

  constructor(
    private readonly path: () => string,
    private readonly seconds: number,
  ) {}

  /** Ask from now on; returns what ends that. */
  run(): () => void {
    this.running = true
    void this.refresh()
    const timer = setInterval(() => {
      if (!document.hidden) void this.refresh()
    }, this.seconds * 1_000)
    return () => {
      this.running = false
      clearInterval(timer)
      clearTimeout(this.waiting)
      this.waiting = undefined
    }
  }

  /** Ask now. Whoever asks while an answer is on its way, or just after one, gets another one later, which is newer. */
  async refresh(): Promise<void> {
    const early = this.begun + REST - performance.now()
    if (this.asking || early > 0) {
      this.waiting ??= setTimeout(() => {
        this.waiting = undefined
        if (this.running) void this.refresh()
      }, Math.max(50, early))
      return
    }
    this.asking = true
    this.begun = performance.now()
    try {
      const found = await get<T>(this.path())
      if (this.running) [this.data, this.fault] = [found, '']
    } catch (error) {
      this.fault = (error as Error).message
    }
    this.asking = false
  }
}
