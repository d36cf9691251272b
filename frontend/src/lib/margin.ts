/** Windows and requirements in words: which margin holds now, and what the lines of its usage are. */

import { exact, timeOfDay, zoneName } from './format'
import type { Account, FewestLots, Position, Service, WindowRule } from './types'

export type Requirement = WindowRule['requirement']

export const MARGIN_NAMES: Record<Requirement, string> = {
  intraday: 'intraday margin',
  initial: 'initial margin',
  maintenance: 'maintenance margin',
}

/** The kinds of margin that decide over what is held now. Contracts may be in different windows. */
export function inForce(account: Account, service: Service): Set<Requirement> {
  const kinds = account.positions.map((position) => service.windows[position.window]?.requirement)
  return new Set(kinds.filter((kind) => kind !== undefined))
}

/** The margin that the next switch brings, in words. */
export function nextMargin(account: Account, service: Service): string {
  const names = new Set(Object.values(account.look_ahead?.windows ?? {}).map((name) => service.windows[name]?.requirement))
  return [...names].map((kind) => (kind === undefined ? 'another margin' : MARGIN_NAMES[kind])).join(' and ') || 'another margin'
}

/** The rule of the first window that requires this margin: with it the lines of a usage bar. */
export function ruleOf(kind: Requirement, service: Service): WindowRule | undefined {
  return Object.values(service.windows).find((rule) => rule.requirement === kind)
}

function percent(rate: string): string {
  return `${Math.round(Number(rate) * 1000) / 10} %`
}

/** Ticks of a usage bar. */
export function ticks(rule: WindowRule | undefined): { at: number; label: string }[] {
  if (rule === undefined) return []
  const rates = [...new Set([rule.alert, rule.liquidate_only, rule.auto_liquidate].map(Number))]
  return rates.map((at) => ({ at, label: percent(String(at)).replace(' ', '') }))
}

/** What happens at those ticks, in a sentence. */
export function linesInWords(rule: WindowRule | undefined): string {
  if (rule === undefined) return ''
  const reduce = Number(rule.liquidate_only) < Number(rule.auto_liquidate) ? `, orders that reduce only from ${percent(rule.liquidate_only)}` : ''
  return `Alert from ${percent(rule.alert)}${reduce}, close-out above ${percent(rule.auto_liquidate)}.`
}

/** `15:45 CDT`. */
export function clockTime(text: string, zone: string): string {
  const at = Date.parse(text)
  return `${timeOfDay(at, zone).slice(0, 5)} ${zoneName(at, zone)}`
}

/** `selling 3 PBTCUCZ50`: what closing so much of a position takes; null where that would not be enough. */
export function closing(few: FewestLots, positions: Position[]): string | null {
  if (few.quantity === null || Number(few.quantity) === 0) return null
  const short = positions.some((position) => position.contract === few.contract && position.quantity.startsWith('-'))
  return `${short ? 'buying back' : 'selling'} ${exact(few.quantity.replace('-', ''))} ${few.contract}`
}
