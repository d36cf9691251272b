/** A document of the API that is asked for again and again. The last answer stays while a new one cannot be had. */

import { get } from './api'

export class Poll<T> {
  data = $state.raw<T | null>(null)
  /** Why the last answer is not the newest; "" when it is. */
  fault = $state('')
  private asking = false
  private again = false
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
    }
  }

  /** Ask now. Whoever asks while an answer is on its way gets another one after it, which is newer. */
  async refresh(): Promise<void> {
    if (this.asking) {
      this.again = true
      return
    }
    this.asking = true
    try {
      const found = await get<T>(this.path())
      if (this.running) [this.data, this.fault] = [found, '']
    } catch (error) {
      this.fault = (error as Error).message
    }
    this.asking = false
    if (this.again && this.running) {
      this.again = false
      void this.refresh()
    }
  }
}
