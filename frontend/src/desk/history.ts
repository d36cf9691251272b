/** Figures since the page opened, in at most so many points: where they are full, every second one goes. */

const MOST = 600

export class History {
  times: number[] = []
  readonly series: number[][]
  private every = 0
  private since = 0

  constructor(series: number) {
    this.series = Array.from({ length: series }, () => [])
  }

  /** `time` in seconds. The last point follows every change; a new one begins after a while. */
  add(time: number, values: number[]): void {
    const last = this.times.length - 1
    if (last >= 0 && time < (this.times[last] as number)) return
    const isNew = last < 1 || time - this.since >= this.every
    if (isNew) {
      this.since = time
      this.times.push(time)
      this.series.forEach((line, at) => line.push(values[at] as number))
    } else {
      this.times[last] = time
      this.series.forEach((line, at) => (line[last] = values[at] as number))
    }
    if (this.times.length > MOST) this.thin()
  }

  private thin(): void {
    const keep = (_: number, at: number) => at % 2 === 0
    this.times = this.times.filter(keep)
    this.series.forEach((line, at) => (this.series[at] = line.filter(keep)))
    const span = (this.times.at(-1) as number) - (this.times[0] as number)
    this.every = (2 * span) / MOST
  }
}
