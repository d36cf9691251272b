/** The book's states in the words of people. */

import type { Level } from './types'

export type Tone = 'good' | 'warn' | 'hot' | 'bad' | 'muted'

export const LEVELS: Record<Level, { label: string; sign: string; tone: Tone; means: string }> = {
  normal: { label: 'Normal', sign: '\u2713', tone: 'good', means: 'Above all lines.' },
  alert: { label: 'Alert', sign: '!', tone: 'warn', means: 'Margin is getting short. Nothing is closed yet.' },
  liquidate_only: {
    label: 'Liquidate only',
    sign: '\u25bc',
    tone: 'hot',
    means: 'Only orders that reduce risk are taken.',
  },
  liquidating: {
    label: 'Liquidating',
    sign: '\u2716',
    tone: 'bad',
    means: 'Below the auto-liquidation line: positions are closed out as soon as the market takes orders, unless the desk holds that.',
  },
}

export const FLAGS: Record<string, { label: string; tone: Tone; means: string }> = {
  restricted: { label: 'Restricted', tone: 'warn', means: 'New orders must fit initial margin until the desk lifts this.' },
  held: { label: 'On hold', tone: 'warn', means: 'The desk keeps a close-out from starting.' },
  locked: { label: 'Locked', tone: 'bad', means: 'The desk has locked the account: no orders.' },
  desk_liquidate_only: { label: 'Desk: reduce only', tone: 'hot', means: 'The desk allows only orders that reduce risk.' },
  in_debit: { label: 'In debit', tone: 'bad', means: 'The account is below zero: money is owed.' },
  unpriced: { label: 'Unpriced', tone: 'hot', means: 'A position has no mark yet; the worst is assumed of it.' },
  initial_only: { label: 'Initial margin only', tone: 'muted', means: 'The customer chose to check orders against initial margin.' },
  liquidate_now: { label: 'Desk: liquidate', tone: 'bad', means: 'The desk ordered everything closed.' },
  stopped: { label: 'Stopped', tone: 'hot', means: "The customer's own brake: no opening orders before the next trade date." },
  frozen: { label: 'Frozen', tone: 'bad', means: 'Books and clearing differ: no opening orders, no withdrawals.' },
  not_admitted: { label: 'Not admitted', tone: 'muted', means: 'The book would not pass the opening check.' },
}

export const WINDOWS: Record<string, string> = {
  intraday: 'intraday margin',
  end_of_day: 'initial margin (end of day)',
}

export const DEBT_STATUS: Record<string, string> = {
  demanded: 'demanded: due at once',
  plan: 'on a payment plan',
  collections: 'with collections',
  settled: 'settled',
  written_off: 'written off',
}

/** Why an order was refused. */
export const REFUSALS: Record<string, string> = {
  margin: 'Not enough margin for it.',
  liquidate_only: 'The account may only reduce risk now.',
  in_debit: 'The account owes money: no opening orders until it is paid.',
  disclosure: 'The risk disclosure has not been acknowledged yet.',
  restricted: 'The account is restricted to initial margin.',
  debit_overdue: 'What is owed is overdue: no orders at all until it is paid.',
  liquidating: 'The account is being closed out.',
  reconciliation_break: 'The account is frozen until its books are reconciled.',
  margin_call_overdue: 'A margin call is overdue: only orders that reduce risk are taken.',
  mark_grade: 'The mark is not good enough to open on.',
  zero_quantity: 'The quantity is zero.',
  duplicate_order: 'An order of that id is working already.',
  out_of_bounds: 'The order is larger than anything that is taken.',
  expired_contract: 'The contract has expired.',
  locked: 'The desk has locked trading here.',
  stopped: 'Your own brake has stopped the account until the next trade date.',
  frozen: 'The account is frozen until its books are reconciled.',
  unpriced: 'A contract has no usable price now.',
  mark: 'The mark is not good enough to open on.',
  order_size: 'The order is larger than the limit.',
  position_limit: 'The position would be larger than the limit.',
  group_limit: 'The group of contracts would be larger than the limit.',
  price_collar: 'The limit price is too far from the mark.',
}

export function sentence(code: string): string {
  const words = code.replaceAll('_', ' ')
  return words.charAt(0).toUpperCase() + words.slice(1)
}
