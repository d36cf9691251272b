/** What the desk can do: of each act what it will do in plain words, what it needs, and how it is sent. */

import { write } from '../lib/api'
import type { Account, Contract } from '../lib/types'
import { exact, money } from '../lib/format'
import type { Release } from './types'

export type Values = Record<string, string>

export interface Field {
  name: string
  label: string
  kind?: 'text' | 'number' | 'select' | 'check' | 'checks' | 'heading'
  value?: string
  options?: [value: string, label: string][]
  hint?: string
  optional?: boolean
}

export interface Act {
  /** Its name, of which the service's is part; also the end of its button's test id. */
  id: string
  title: string
  /** What its button says. */
  button: string
  /** Who or what it concerns. */
  target: string
  /** What it will do, one sentence each. */
  does: string[]
  /** What is at stake: a label and a figure each. */
  stake: [label: string, figure: string][]
  confirm: string
  danger?: boolean
  fields?: Field[]
  /** A word that must be typed. */
  word?: string
  /** It takes no reason. */
  plain?: boolean
  /** It always takes two people: what is sent is a proposal. */
  proposes?: boolean
  send: (reason: string, values: Values, key: string) => Promise<unknown>
  /** The proposal to offer where the service answers that it takes two people. */
  proposal?: (reason: string, values: Values) => Record<string, unknown>
}

const enc = encodeURIComponent

export function propose(body: Record<string, unknown>, key: string): Promise<unknown> {
  return write('POST', '/v1/proposals', body, key)
}

// -- one account --------------------------------------------------------------------------------------

interface Kind {
  title: string
  button: string
  does: string[]
  danger?: boolean
}

const ACCOUNT: Record<string, Kind> = {
  alert: {
    title: 'Send a message',
    button: 'Message',
    does: ['The customer gets your reason as a message from the risk desk.', 'Nothing else changes.'],
  },
  hold: {
    title: 'Hold the close-out',
    button: 'Hold close-out',
    danger: true,
    does: [
      'No close-out starts while the account is on hold, however far it falls; one under way sends no further orders.',
      'A loss beyond the account’s money becomes a debt that the firm may not get back.',
    ],
  },
  release_hold: {
    title: 'Release the hold',
    button: 'Release hold',
    danger: true,
    does: ['The account is judged at once. If it is below its line, its close-out starts now.'],
  },
  lock: {
    title: 'Lock the account',
    button: 'Lock',
    danger: true,
    does: ['Every new order is refused, also those that reduce risk.', 'Close-outs go on.'],
  },
  unlock: { title: 'Unlock the account', button: 'Unlock', does: ['Orders are checked and taken again.'] },
  liquidate_only: {
    title: 'Allow only orders that reduce risk',
    button: 'Reduce only',
    does: ['Opening orders are refused; orders that reduce risk are taken.', 'Nothing that is held is closed by this.'],
  },
  release_liquidate_only: {
    title: 'Allow opening orders again',
    button: 'Release reduce-only',
    does: ['Opening orders are checked against margin again.'],
  },
  liquidate: {
    title: 'Close everything now',
    button: 'Liquidate',
    danger: true,
    does: [
      'Working orders are cancelled and all positions are closed at market now, whatever the margin says.',
      'The customer pays the fees and bears the prices. It cannot be undone.',
    ],
  },
  restrict: {
    title: 'Restrict to initial margin',
    button: 'Restrict',
    does: ['New orders must fit initial margin until the restriction is released, which takes two people.'],
  },
  release_restriction: {
    title: 'Release the restriction',
    button: 'Release restriction',
    does: ['Orders may use intraday margin again.', 'It takes two people: you propose it, a supervisor approves it.'],
  },
}

/** The account's acts that make sense now: what is on can be released, what is off can be set. */
export function accountActs(account: Account): Act[] {
  const flags = account.state.flags
  const pair = (flag: string, set: string, release: string) => (flags.includes(flag) ? release : set)
  const ids = [
    'alert',
    pair('held', 'hold', 'release_hold'),
    pair('locked', 'lock', 'unlock'),
    pair('desk_liquidate_only', 'liquidate_only', 'release_liquidate_only'),
    pair('restricted', 'restrict', 'release_restriction'),
  ]
  if (account.positions.length > 0) ids.push('liquidate')
  const acts = ids.map((id) => accountAct(account, id))
  if (Number(account.account.receivable.owed) > 0) acts.push(debtStatus(account), writeOff(account))
  return acts
}

function stakeOf(account: Account): [string, string][] {
  const { currency } = account
  const found: [string, string][] = [
    ['Net liq', `${money(account.net_liq)} ${currency}`],
    ['Requirement', `${money(account.requirement)} ${currency}`],
  ]
  for (const held of account.positions) found.push([held.contract, `${exact(held.quantity)} worth ${money(held.notional)} ${currency}`])
  if (Number(account.account.receivable.owed) > 0) found.push(['Owed', `${money(account.account.receivable.owed)} ${currency}`])
  return found
}

function accountAct(account: Account, action: string): Act {
  const kind = ACCOUNT[action] as Kind
  const { account_id } = account
  const proposal = (reason: string) => ({ kind: 'release_restriction', account_id, reason })
  const proposes = action === 'release_restriction'
  return {
    id: action,
    title: kind.title,
    button: kind.button,
    target: `Account ${account_id}`,
    does: kind.does,
    stake: stakeOf(account),
    confirm: proposes ? `Propose for ${account_id}` : `${kind.button} ${account_id}`,
    danger: kind.danger ?? false,
    proposes,
    send: (reason, _, key) =>
      proposes ? propose(proposal(reason), key) : write('POST', `/v1/accounts/${enc(account_id)}/desk`, { action, reason }, key),
    ...(proposes ? { proposal } : {}),
  }
}

function debtStatus(account: Account): Act {
  const { account_id, currency } = account
  const { owed, status } = account.account.receivable
  const options: [string, string][] = [
    ['demanded', 'Demanded: due at once'],
    ['plan', 'On a payment plan'],
    ['collections', 'With collections'],
  ]
  return {
    id: 'debt_status',
    title: 'What is done about the debt',
    button: 'Debt status',
    target: `Account ${account_id}`,
    does: ['Notes where the debt stands. The amount does not change.'],
    stake: [['Owed', `${money(owed)} ${currency}`], ['Now', status ?? '']],
    confirm: `Note it for ${account_id}`,
    fields: [{ name: 'status', label: 'Status', kind: 'select', options, value: status ?? 'demanded' }],
    send: (reason, values, key) =>
      write('PUT', `/v1/accounts/${enc(account_id)}/receivable/status`, { status: values.status, reason }, key),
  }
}

function writeOff(account: Account): Act {
  const { account_id, currency } = account
  const { owed } = account.account.receivable
  return {
    id: 'write_off',
    title: 'Write off the debt',
    button: 'Write off',
    target: `Account ${account_id}`,
    does: ['The firm gives up the amount: the customer owes it no longer, and it is the firm’s loss.', 'It takes two people: you propose it, a supervisor approves it.'],
    stake: [['Owed', `${money(owed)} ${currency}`]],
    confirm: `Propose for ${account_id}`,
    danger: true,
    proposes: true,
    fields: [{ name: 'amount', label: `Amount in ${currency}`, kind: 'number', value: owed }],
    send: (reason, values, key) => propose({ kind: 'write_off', account_id, amount: values.amount, reason }, key),
  }
}

// -- a product, or the firm ---------------------------------------------------------------------------

const SWITCHES: Record<string, Kind> = {
  alert: { title: 'Send a message to all holders', button: 'Message holders', does: ['Every holder gets your reason as a message from the risk desk.'] },
  hold: {
    title: 'Hold close-outs',
    button: 'Hold close-outs',
    danger: true,
    does: ['No close-out here starts or goes on until the hold is released.', 'Losses beyond the accounts’ money become debts that the firm may not get back.'],
  },
  release_hold: {
    title: 'Release the hold',
    button: 'Release hold',
    danger: true,
    does: ['Everyone is judged at once: whoever is below the line is closed out now.'],
  },
  lock: { title: 'Lock trading', button: 'Lock', danger: true, does: ['Every new order here is refused, also those that reduce risk. Close-outs go on.'] },
  unlock: { title: 'Unlock trading', button: 'Unlock', does: ['Orders are checked and taken again.', 'It takes two people: you propose it, a supervisor approves it.'] },
  liquidate_only: { title: 'Allow only orders that reduce risk', button: 'Reduce only', does: ['Opening orders here are refused; orders that reduce risk are taken.'] },
  release_liquidate_only: {
    title: 'Allow opening orders again',
    button: 'Release reduce-only',
    does: ['Opening orders are checked against margin again.', 'It takes two people: you propose it, a supervisor approves it.'],
  },
  kill: {
    title: 'Kill switch',
    button: 'Kill switch',
    danger: true,
    does: ['Trading is locked at once and every customer’s working order here is cancelled.', 'Positions stay; close-outs go on. Unlocking takes two people.'],
  },
}

/** The switches that make sense where these are on: what is on can be released, what is off can be set. */
export function switchesOf(on: string[]): string[] {
  const pair = (flag: string, set: string, release: string) => (on.includes(flag) ? release : set)
  return [
    pair('held', 'hold', 'release_hold'),
    pair('desk_liquidate_only', 'liquidate_only', 'release_liquidate_only'),
    pair('locked', 'lock', 'unlock'),
    'alert',
    'kill',
  ]
}

/** What is on, as a desk says it. */
export const SWITCHED: Record<string, string> = {
  held: 'close-outs on hold',
  locked: 'trading locked',
  desk_liquidate_only: 'orders may only reduce risk',
}

/** `contract` null is the firm: all products. */
export function switchAct(action: string, contract: string | null, stake: [string, string][]): Act {
  const kind = SWITCHES[action] as Kind
  const target = contract ?? 'the whole firm'
  const proposes = action === 'unlock' || action === 'release_liquidate_only'
  const proposal = (reason: string) => ({ kind: 'desk_switch', contract, action, reason })
  return {
    id: action,
    title: kind.title,
    button: kind.button,
    target: contract === null ? 'The whole firm, all contracts' : `Contract ${contract}`,
    does: kind.does,
    stake,
    confirm: proposes ? `Propose for ${target}` : `${kind.button}: ${target}`,
    danger: kind.danger ?? false,
    ...(action === 'kill' ? { word: 'KILL' } : {}),
    proposes,
    send: (reason, _, key) =>
      proposes ? propose(proposal(reason), key) : write('POST', '/v1/desk', { contract, action, reason }, key),
    ...(proposes ? { proposal } : {}),
  }
}

export function contractStake(contract: Contract): [string, string][] {
  return [
    ['Holders', String(contract.holders)],
    ['Open long', exact(contract.open_interest)],
    ['Open short', exact(contract.short_interest)],
    ['Mark', exact(contract.mark)],
  ]
}

export function haltAct(contract: Contract): Act {
  const halted = !contract.halted
  return {
    id: halted ? 'halt' : 'resume',
    title: halted ? 'Trading is halted' : 'Trading resumes',
    button: halted ? 'Halt trading' : 'Resume trading',
    target: `Contract ${contract.contract}`,
    does: halted
      ? ['Tells the engine that the exchange has halted the contract: close-out orders in it wait, and its opening orders are refused.']
      : ['Tells the engine that the contract trades again: what waited goes on at once.'],
    stake: contractStake(contract),
    confirm: `${halted ? 'Halt' : 'Resume'} ${contract.contract}`,
    danger: true,
    plain: true,
    send: (_, __, key) => write('POST', `/v1/contracts/${enc(contract.contract)}/halt`, { halted }, key),
  }
}

export function markAct(contract: Contract): Act {
  return {
    id: 'mark',
    title: 'Mark by hand',
    button: 'Mark by hand',
    target: `Contract ${contract.contract}`,
    does: [
      'The price becomes the mark at once: every holder is judged by it, and close-outs may start.',
      'An alarm says who gave it and why. The next price of the feed replaces it.',
    ],
    stake: contractStake(contract),
    confirm: `Mark ${contract.contract}`,
    danger: true,
    fields: [{ name: 'price', label: 'Price', kind: 'number', value: contract.mark ?? '', hint: `In steps of ${contract.tick}` }],
    send: (reason, values, key) =>
      write('POST', `/v1/contracts/${enc(contract.contract)}/mark`, { price: values.price, reason }, key),
  }
}

const RATES: [name: string, label: string][] = [
  ['intraday_margin_rate', 'Intraday, rate'],
  ['intraday_margin', 'Intraday, per one'],
  ['initial_margin_rate', 'Initial, rate'],
  ['initial_margin', 'Initial, per one'],
  ['maintenance_margin_rate', 'Maintenance, rate'],
  ['maintenance_margin', 'Maintenance, per one'],
]

/** A tier by the names that setting it takes; the list says margin per lot, which is margin per one where a lot is one.
 * Null where it cannot be said in these names without a loss. */
function settable(contract: Contract, tier: Record<string, string>): Record<string, string> | null {
  const found: Record<string, string> = { notional_from: tier.notional_from ?? '0' }
  const sloped = ['initial_margin_slope', 'maintenance_margin_slope', 'initial_margin_root', 'maintenance_margin_root']
  const kept = ['maintenance_amount', 'initial_amount', ...sloped, 'root_within_rate']
  for (const name of kept) if (Number(tier[name] ?? 0) !== 0) found[name] = tier[name] as string
  // An intraday margin that is the initial one, brackets and slopes included, is not said apart.
  const shaped = found.initial_amount ?? found.initial_margin_slope ?? found.initial_margin_root
  const same = tier.intraday_margin_rate === tier.initial_margin_rate && shaped
  for (const [name] of RATES) {
    if (same && name.startsWith('intraday')) continue
    const perLot = name.endsWith('_rate') ? undefined : tier[`${name}_per_lot`]
    if (tier[name] === undefined && Number(perLot ?? 0) !== 0 && Number(contract.lot) !== 1) return null
    const value = tier[name] ?? perLot
    if (value !== undefined && Number(value) !== 0) found[name] = value
  }
  return found
}

/** The contract's present tiers as fields; null where they cannot be changed from here. */
export function marginAct(contract: Contract): Act | null {
  const present = contract.tiers.map((tier) => settable(contract, tier))
  if (present.includes(null)) return null
  const known = present as Record<string, string>[]
  const fields: Field[] = []
  known.forEach((tier, at) => {
    fields.push({ name: `heading-${at}`, label: `From a notional of ${money(tier.notional_from)}`, kind: 'heading' })
    for (const [name, label] of RATES) {
      if (tier[name] !== undefined) fields.push({ name: `${at} ${name}`, label, kind: 'number', value: tier[name] })
    }
  })
  const tiers = (values: Values) =>
    known.map((tier, at) => {
      const sent = { ...tier }
      for (const [name] of RATES) if (values[`${at} ${name}`]) sent[name] = values[`${at} ${name}`] as string
      return sent
    })
  return {
    id: 'margin',
    title: 'Margin rates',
    button: 'Margin rates',
    target: `Contract ${contract.contract}`,
    does: [
      'The new rates hold at once for positions and orders: close-outs may start.',
      'Raising alone is done now and reviewed by somebody else afterwards. Lowering any figure takes two people.',
      'A rate is a share of the notional: 0.05 is 5 %.',
    ],
    stake: contractStake(contract),
    confirm: `Set rates of ${contract.contract}`,
    danger: true,
    fields,
    send: (reason, values, key) =>
      write('PUT', `/v1/contracts/${enc(contract.contract)}/margin`, { tiers: tiers(values), reason }, key),
    proposal: (reason, values) => ({ kind: 'set_margin', contract: contract.contract, tiers: tiers(values), reason }),
  }
}

// -- news ---------------------------------------------------------------------------------------------

/** `held` are chosen at first; `now` is the service's time, in milliseconds. */
export function newsAct(contracts: string[], held: string[], now: () => number): Act {
  // Sent again under the same key it is the same act, of the same times.
  const sent = new Map<string, number>()
  const body = (reason: string, values: Values, key = '') => {
    const from = sent.get(key) ?? now()
    if (key !== '') sent.set(key, from)
    const begins = from + Number(values.wait || 0) * 60_000
    return {
      release_id: values.release_id,
      contracts: (values.contracts ?? '').split('\n').filter(Boolean),
      begins: new Date(begins).toISOString(),
      ends: new Date(begins + Number(values.minutes) * 60_000).toISOString(),
      multiplier: values.multiplier,
      held: values.held === 'held',
      reason,
    }
  }
  return {
    id: 'news',
    title: 'News window',
    button: 'Schedule a news window',
    target: 'Around a release that may move prices',
    does: [
      'Intraday margin is multiplied while the window lasts.',
      'For new orders only, or for positions held too: then close-outs may start when it begins.',
    ],
    stake: [],
    confirm: 'Schedule the window',
    danger: true,
    fields: [
      { name: 'release_id', label: 'Name', value: `news-${new Date(now()).toISOString().slice(0, 16).replace(/[-:T]/g, '')}`, hint: 'The same name again replaces it' },
      { name: 'contracts', label: 'Contracts', kind: 'checks', options: contracts.map((name) => [name, name]), value: held.join('\n') },
      { name: 'wait', label: 'Begins in (minutes)', kind: 'number', value: '0', hint: '0 is now' },
      { name: 'minutes', label: 'Lasts (minutes)', kind: 'number', value: '20' },
      { name: 'multiplier', label: 'Times intraday margin', kind: 'number', value: '4' },
      {
        name: 'held', label: 'Applies to', kind: 'select', value: 'entry',
        options: [['entry', 'New orders only'], ['held', 'New orders and positions held']],
      },
    ],
    send: (reason, values, key) => write('POST', '/v1/news', body(reason, values, key), key),
    proposal: (reason, values) => ({ kind: 'news', ...body(reason, values) }),
  }
}

export function withdrawAct(release: Release): Act {
  return {
    id: 'withdraw_news',
    title: 'Withdraw the news window',
    button: 'Withdraw',
    target: release.release_id,
    does: ['The window is taken out of the calendar. One that has begun takes two people.'],
    stake: [['Contracts', release.contracts.join(', ')], ['Multiplier', `×${release.multiplier}`]],
    confirm: `Withdraw ${release.release_id}`,
    send: (reason, _, key) =>
      write('DELETE', `/v1/news/${enc(release.release_id)}?${new URLSearchParams({ reason })}`, undefined, key),
    proposal: (reason) => ({ kind: 'withdraw_news', release_id: release.release_id, reason }),
  }
}
