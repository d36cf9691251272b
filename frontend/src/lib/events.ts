/** What happened, in plain words: an entry of the events feed as a title, a detail and a tone. */

import { exact, instant, money, scaled, signed } from './format'
import { session } from './session.svelte'
import type { Event, Level } from './types'
import { DEBT_STATUS, FLAGS, LEVELS, REFUSALS, sentence, type Tone } from './words'

/** `warning`: warnings and close-outs; `order`: orders and fills; `money`: money and fees; `other`: all else. */
export type Group = 'warning' | 'order' | 'money' | 'other'

export interface Description {
  title: string
  detail: string
  tone: Tone
  group: Group
  /** The firm's own bookkeeping: true of the books, and of no interest to whose account it is. */
  internal?: boolean
}

const GROUPS: Record<string, Group> = {
  level_change: 'warning',
  flag_change: 'warning',
  receipt: 'warning',
  notice: 'warning',
  alarm: 'warning',
  margin_call: 'warning',
  order: 'order',
  fill: 'order',
  posting: 'money',
  deficit: 'money',
  receivable_change: 'money',
}

export const GROUP_NAMES: Record<Group, string> = {
  warning: 'Warnings & close-outs',
  order: 'Orders & fills',
  money: 'Money & fees',
  other: 'Other',
}

/** A field as text; "" where there is none. */
function of(event: Event, name: string): string {
  const value = event[name]
  return value == null ? '' : String(value)
}

export function describe(event: Event, currency: string): Description {
  const group = GROUPS[event.type] ?? 'other'
  const said = WORDS[event.type]?.(event, currency)
  return { title: sentence(event.type), detail: '', tone: 'muted', group, ...said }
}

/** The receipt that an event is about, if any; that of a close-out under way is not issued yet. */
export function receiptOf(event: Event): string | null {
  if (event.type === 'order') return null
  if (event.type === 'notice' && !['liquidation', 'correction'].includes(of(event, 'kind'))) return null
  const found = event.type === 'notice' ? of(event, 'detail') : of(event, 'receipt_id')
  return found === '' ? null : found
}

const WORDS: Record<string, (event: Event, currency: string) => Partial<Description>> = {
  posting,
  level_change: levelChange,
  flag_change: flagChange,
  order,
  fill: (event, currency) => {
    const quantity = of(event, 'quantity')
    return {
      title: `${bought(quantity) ? 'Bought' : 'Sold'} ${size(quantity)} ${of(event, 'contract')} at ${exact(of(event, 'price'))} ${currency}`,
      detail: `Order ${of(event, 'order_id') || 'unknown'}, reported by ${of(event, 'source')}.`,
      tone: 'muted',
    }
  },
  receipt: (event) => ({
    title: RECEIPTS[of(event, 'kind')] ?? 'Receipt issued',
    detail: `Receipt ${of(event, 'receipt_id')}${of(event, 'supersedes') ? `, in place of ${of(event, 'supersedes')}` : ''}.`,
    tone: of(event, 'kind') === 'correction' ? 'warn' : 'bad',
  }),
  deficit: (event, currency) => ({
    title: `Deficit of ${money(of(event, 'amount'))} ${currency}`,
    detail: `Losses and fees were larger than the account's money. Owed now: ${money(of(event, 'total'))} ${currency}, due at once.`,
    tone: 'bad',
  }),
  receivable_change: (event, currency) => {
    const total = of(event, 'total')
    const status = of(event, 'status')
    return {
      title: Number(total) === 0 ? 'Nothing is owed any more' : `Still owed: ${money(total)} ${currency}`,
      detail: `${sentence(of(event, 'reason'))}. ${sentence(DEBT_STATUS[status] ?? status)}${Number(total) === 0 ? '' : `, ${days(event)} old`}.`,
      tone: Number(total) === 0 ? 'good' : 'hot',
    }
  },
  margin_call: (event, currency) => ({
    title: `${MARGIN_CALLS[of(event, 'status')] ?? 'Margin call'}${of(event, 'status') === 'met' || of(event, 'status') === 'closed' ? '' : `: ${money(of(event, 'amount'))} ${currency}`}`,
    detail: `Call ${of(event, 'call_id')}, ${days(event)} old.`,
    tone: of(event, 'status') === 'met' ? 'good' : of(event, 'status') === 'closed' ? 'muted' : 'hot',
  }),
  notice,
  alarm: (event) => ({
    title: `Alarm: ${of(event, 'code').replaceAll('_', ' ')}`,
    detail: of(event, 'detail'),
    tone: 'hot',
  }),
  reconciliation: (event) => ({
    title: event.agreed === true ? 'Books agree with the clearing side' : 'Books differ from the clearing side',
    detail: `File ${of(event, 'file')}${event.agreed === true ? '' : `: ${differences(event.differences)}`}.`,
    tone: event.agreed === true ? 'good' : 'bad',
  }),
  setting_change: (event) => ({
    title:
      of(event, 'what') === 'disclosure' && event.account_id !== ''
        ? 'Risk disclosure acknowledged'
        : (SETTINGS[of(event, 'what')] ?? `${sentence(of(event, 'what'))} changed`),
    detail: `${sentence(of(event, 'detail'))} (${of(event, 'changed_by') || 'clock'}).`,
  }),
}

const RECEIPTS: Record<string, string> = {
  close_out: 'Close-out ended: receipt issued',
  own_brake: 'Closed by your own limit: receipt issued',
  correction: 'Account corrected: receipt issued',
}

const MARGIN_CALLS: Record<string, string> = {
  issued: 'Margin call',
  changed: 'Margin call changed',
  aged: 'Margin call is a day older',
  met: 'Margin call met',
  closed: 'Margin call over: the account is flat',
}

const SETTINGS: Record<string, string> = {
  disclosure: 'Risk disclosure',
  limits: 'Limits changed',
  risk_settings: 'Own brakes changed',
  margin: 'Margin rates changed',
  review: 'Margin change reviewed',
  news: 'News window',
  desk_switch: "Desk's switch",
}

// -- money ----------------------------------------------------------------------------------------------

const POSTINGS: Record<string, string> = {
  deposit: 'Deposit',
  withdrawal: 'Withdrawal',
  'realised profit': 'Realised profit or loss',
  'trade fee': 'Trade fee',
  'liquidation fee': 'Liquidation fee',
  funding: 'Funding',
  correction: 'Correction',
  'isolated margin': 'Money moved to or from an isolated position',
  'isolated margin returned': 'Money of an isolated position came back',
  'isolated deficit': 'Loss of an isolated position beyond its money',
  'isolated deficit paid from other cash': "Loss of an isolated position, paid from the account's cash",
  'deficit owed by the customer': 'What is missing below zero is now owed',
  'interest on a deficit': 'Interest on what is owed',
  'write-off': 'Written off by the firm',
}

function posting(event: Event, currency: string): Partial<Description> {
  const [debit, credit, amount] = [of(event, 'debit'), of(event, 'credit'), of(event, 'amount')]
  const name = POSTINGS[of(event, 'reason')] ?? sentence(of(event, 'reason'))
  if (debit === credit || ![debit, credit].some((side) => side === 'customer_cash' || side === 'receivable')) {
    return { title: `${name}: ${money(amount)} ${currency}`, detail: `From ${spaced(credit)} to ${spaced(debit)}.`, internal: true }
  }
  if (of(event, 'reason') === 'deficit owed by the customer') {
    return { title: `${name}: ${money(amount)} ${currency}`, detail: 'Cash is back at zero; the debt stands beside it.', tone: 'bad' }
  }
  // Cash gains what is credited to it; what only moves what is owed shows that.
  const ofCash = debit === 'customer_cash' || credit === 'customer_cash'
  const gains = credit === 'customer_cash' || (!ofCash && credit === 'receivable')
  return {
    title: `${name}: ${signed(gains ? amount : `-${amount}`)} ${currency}`,
    detail: ofCash ? (credit === 'receivable' ? 'Cash paid what is owed.' : '') : gains ? 'Less is owed.' : 'More is owed.',
    tone: gains ? 'good' : 'muted',
  }
}

// -- states ---------------------------------------------------------------------------------------------

function levelChange(event: Event, currency: string): Partial<Description> {
  const [before, after] = [of(event, 'before') as Level, of(event, 'after') as Level]
  const order: Level[] = ['normal', 'alert', 'liquidate_only', 'liquidating']
  const worse = order.indexOf(after) > order.indexOf(before)
  const known = LEVELS[after]
  if (after === 'normal' && Number(of(event, 'requirement')) === 0) {
    return { title: 'Nothing is held any more', detail: `Net liq ${money(of(event, 'net_liq'))} ${currency}.`, tone: 'muted' }
  }
  return {
    title: worse ? `Level: ${known?.label ?? after}` : `Level back to ${known?.label ?? after}`,
    detail:
      `Net liq ${money(of(event, 'net_liq'))} ${currency} ${worse ? 'below' : 'no longer below'} the line of ` +
      `${money(of(event, 'line'))}; margin requirement ${money(of(event, 'requirement'))}. ${known?.means ?? ''}`,
    tone: worse ? (known?.tone ?? 'warn') : 'good',
  }
}

function flagChange(event: Event): Partial<Description> {
  const flag = of(event, 'flag')
  const known = FLAGS[flag]
  if (flag === 'initial_only') {
    return {
      title: event.on === true ? 'Order check: initial margin only' : 'Order check: intraday margin where it holds',
      detail: 'The toggle was turned. What is held is not touched.',
      group: 'other',
    }
  }
  const [label, reason] = [known?.label ?? sentence(flag), of(event, 'reason')]
  return {
    title: event.on === true ? `Now: ${label}` : `No longer: ${label}`,
    detail: `${reason ? `${sentence(reason)}. ` : ''}${event.on === true ? (known?.means ?? '') : ''}`.trim(),
    tone: event.on === true ? (known?.tone ?? 'warn') : 'good',
  }
}

// -- orders ---------------------------------------------------------------------------------------------

function order(event: Event, currency: string): Partial<Description> {
  const quantity = of(event, 'quantity')
  const limit = event.limit_price == null ? 'at market' : `at ${exact(of(event, 'limit_price'))} or better`
  const what = `${bought(quantity) ? 'buy' : 'sell'} ${size(quantity)} ${of(event, 'contract')} ${limit}`
  if (of(event, 'origin') === 'close_out') {
    return { title: `Close-out order: ${what}`, detail: `Sent for receipt ${of(event, 'receipt_id')}.`, tone: 'bad', group: 'warning' }
  }
  if (of(event, 'outcome') === 'refused') {
    const code = of(event, 'code')
    const suggested = of(event, 'suggested_quantity')
    const smaller = Number(suggested) === 0 ? '' : ` ${size(suggested)} would pass.`
    return { title: `Order refused: ${what}`, detail: `${refusal(code, of(event, 'detail'))}${smaller}`, tone: 'hot' }
  }
  return {
    title: `Order approved: ${what}`,
    detail: `Requirement ${money(of(event, 'before'))} → ${money(of(event, 'after'))} ${currency} of ${money(of(event, 'available'))} available.`,
    tone: 'good',
  }
}

/** Refusals whose detail has amounts in it, which are then grouped; in others a number may be a date. */
const FIGURED = new Set(['margin', 'in_debit', 'order_size', 'position_limit', 'group_limit', 'price_collar'])

/** Why an order was refused: our words for the code, and the figures of this order. */
export function refusal(code: string, detail: string | null): string {
  const words = REFUSALS[code] ?? `${sentence(code)}.`
  if (!detail) return words
  const amounts = FIGURED.has(code) ? detail.replace(/\d{4,}(\.\d+)?/g, (number) => (number.includes('.') ? money(number) : exact(number))) : detail
  return `${words} ${sentence(amounts)}.`
}

// -- notices --------------------------------------------------------------------------------------------

function notice(event: Event, currency: string): Partial<Description> {
  const detail = of(event, 'detail')
  switch (of(event, 'kind')) {
    case 'warning':
      return {
        title: `Warning sent: ${LEVELS[detail as Level]?.label ?? detail}`,
        detail: 'A deposit helps, and so does closing positions. There may be no further warning.',
        tone: LEVELS[detail as Level]?.tone ?? 'warn',
      }
    case 'liquidation':
      return { title: 'Confirmation of the close-out sent', detail: `With receipt ${detail}.`, tone: 'bad' }
    case 'correction':
      return { title: 'Confirmation of the correction sent', detail: `With receipt ${detail}.`, tone: 'warn' }
    case 'deficit':
      return { title: `You were told that ${money(detail)} ${currency} is owed`, detail: 'Due at once.', tone: 'bad', group: 'money' }
    case 'margin_call':
      return { title: `Margin call sent: ${money(detail)} ${currency}`, detail: 'A deposit meets it, and so does closing positions.', tone: 'hot' }
    case 'margin_call_met':
      return { title: 'Margin call met', detail: `Call ${detail}.`, tone: 'good' }
    case 'stopped':
      return {
        title: `Stopped by your own limit: ${spaced(detail)}`,
        detail: 'Working orders are cancelled and positions are being closed. No opening orders before the next trade date.',
        tone: 'hot',
      }
    case 'desk_alert':
      return { title: 'Message from the risk desk', detail, tone: 'warn' }
    case 'look_ahead':
    case 'look_ahead_list':
      return lookAhead(detail, currency)
    case 'expiry':
      return { title: `${detail} has expired`, detail: 'The position was closed at the final settlement price.', tone: 'muted', group: 'other' }
    case 'expiry_warning':
      return { title: 'A contract is about to expire', detail, tone: 'warn', group: 'other' }
    case 'payment':
      return { title: 'Payment booked', detail: sentence(detail), tone: 'good', group: 'money' }
    default:
      return { title: sentence(of(event, 'kind')), detail: sentence(detail), tone: 'muted' }
  }
}

/** Shortfalls ahead come as JSON. */
function lookAhead(detail: string, currency: string): Partial<Description> {
  try {
    const found = JSON.parse(detail) as Record<string, unknown> | unknown[]
    if (Array.isArray(found)) {
      return { title: `Look-ahead: ${found.length} account${found.length === 1 ? '' : 's'} short at the next switch`, detail: 'The desk has the list.', tone: 'warn' }
    }
    return { title: 'Told: short of margin at the next switch', detail: shortfall(found, currency), tone: 'warn' }
  } catch {
    return { title: 'Told: short of margin at the next switch', detail: '', tone: 'warn' }
  }
}

function shortfall(row: Record<string, unknown>, currency: string): string {
  // These are in the engine's own units.
  const deposit = money(scaled(row.deposit, session.service?.places ?? 6))
  const fewest = Object.entries((row.fewest ?? {}) as Record<string, string | null>)
    .filter(([, quantity]) => quantity !== null)
    .map(([contract, quantity]) => `closing ${exact(quantity)} ${contract}`)
  return `A deposit of ${[`${deposit} ${currency}`, ...fewest].join(', or ')}, would have cleared it then.`
}

// -- small things ---------------------------------------------------------------------------------------

function spaced(name: string): string {
  return name.replaceAll('_', ' ')
}

function bought(quantity: string): boolean {
  return !quantity.startsWith('-')
}

function size(quantity: string): string {
  return exact(quantity.replace('-', ''))
}

function days(event: Event): string {
  const count = Number(event.business_days ?? 0)
  return `${count} business day${count === 1 ? '' : 's'}`
}

function differences(found: unknown): string {
  if (found === null || typeof found !== 'object') return ''
  return Object.entries(found as Record<string, unknown>)
    .map(([what, pair]) => `${what}: ${Array.isArray(pair) ? pair.map(String).join(' here, ') : String(pair)} there`)
    .join('; ')
}

/** When an event happened, in the exchange's zone. */
export function when(event: Event, zone: string): string {
  return instant(event.time, zone)
}
