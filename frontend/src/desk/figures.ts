/** Figures for columns of fixed width: what would not fit is rounded further. The exact text stays in a tooltip. */

import { dollars, money, usage } from '../lib/format'

const UNITS: [at: number, sign: string][] = [[1e9, 'B'], [1e6, 'M']]
/** Shares of net liq from which tenths of a percent say nothing, and from which percents do not. */
const [COARSE, HUGE] = [10, 100]

/** Money without decimals; from a million on with four digits and an M or a B: `−940,490`, `9.405M`. */
export function short(text: string | null | undefined): string {
  const value = Math.abs(Number(text ?? 0))
  const unit = UNITS.find(([at]) => Math.round(value) >= at)
  if (text == null || unit === undefined) return dollars(text)
  const scaled = value / unit[0]
  const decimals = Math.max(0, 3 - Math.floor(Math.log10(scaled)))
  return `${Number(text) < 0 ? '\u2212' : ''}${scaled.toFixed(decimals)}${unit[1]}`
}

/** A debt: cents count in a small one. */
export function debt(text: string): string {
  return Math.abs(Number(text)) < 1000 ? money(text) : short(text)
}

/** A usage, as `usage` says it, in fewer digits where it is very large. Rounded up too. */
export function used(text: string | null | undefined): string {
  const part = Number(text)
  if (text == null || text === 'over' || part < COARSE) return usage(text)
  return part >= HUGE ? '> 9,999 %' : `${Math.ceil(part * 100 - 1e-6).toLocaleString('en-US')} %`
}
