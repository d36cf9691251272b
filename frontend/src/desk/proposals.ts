/** Proposals in plain words, and the acts of deciding them. */

import { write } from '../lib/api'
import { exact, money, scaled } from '../lib/format'
import { session } from '../lib/session.svelte'
import { sentence } from '../lib/words'
import type { Act } from './acts'
import type { MarginReview, Proposal } from './types'

/** A proposal's command is in the engine's units: money as whole numbers, rates in billionths, times in nanoseconds. */
const micros = (value: unknown) => money(scaled(value, session.service?.places ?? 6))
const rate = (value: unknown) => String(Number(value) / 1e9)
const instant = (value: unknown) => new Date(Number(value) / 1e6).toISOString().replace('.000Z', 'Z').replace('T', ' ')
const text = (value: unknown) => (value == null ? '' : String(value))

export function proposalWords(proposal: Proposal, currency: string): string {
  const c = proposal.command
  switch (proposal.kind) {
    case 'release_restriction':
      return `of ${text(c.account_id)}: its orders may use intraday margin again.`
    case 'write_off':
      return `${micros(c.micros)} ${currency} of what ${text(c.account_id)} owes.`
    case 'adjust_cash':
      return `of ${text(c.account_id)} by ${micros(c.micros)} ${currency}${c.receipt_id ? `, receipt ${text(c.receipt_id)}` : ''}${c.restore_count ? '; the close-out does not count' : ''}.`
    case 'correct_fill':
      return c.price_ticks == null ? `${text(c.fill_id)}: bust it.` : `${text(c.fill_id)}: to ${exact(text(c.price_ticks))} ticks.`
    case 'set_margin':
      return `of ${text(c.contract)}: ${tiersIn(c)}.`
    case 'news':
      return `${text(c.release_id)}: ×${rate(c.multiplier)} intraday margin of ${(c.contracts as string[]).join(', ')}${c.held ? ', positions too' : ''}, ${instant(c.begins)} to ${instant(c.ends)}.`
    case 'withdraw_news':
      return `${text(c.release_id)}.`
    case 'desk_switch':
      return `${sentence(text(c.action))}: ${c.contract ? text(c.contract) : 'the whole firm'}.`
    case 'set_limits':
      return `of the ${text(c.scope)} ${text(c.name)}.`
    default:
      return ''
  }
}

function tiersIn(command: Record<string, unknown>): string {
  const tiers = Object.values(command).find((value) => Array.isArray(value)) as Record<string, string>[] | undefined
  return (tiers ?? [])
    .map((tier) =>
      Object.entries(tier)
        .filter(([name]) => name !== 'notional_from' || Number(tier.notional_from) > 0)
        .map(([name, value]) => `${name.replaceAll('_', ' ')} ${value}`)
        .join(', '),
    )
    .join('; ')
}

const stake = (proposal: Proposal, currency: string): [string, string][] => [
  ['What', `${sentence(proposal.kind)} ${proposalWords(proposal, currency)}`],
  ['Proposed by', proposal.proposed_by],
  ['Why', proposal.reason],
]

export function approveAct(proposal: Proposal, currency: string): Act {
  return {
    id: 'approve',
    title: 'Approve',
    button: 'Approve',
    target: sentence(proposal.kind),
    does: ['The act is done now, in both names. It cannot be taken back by rejecting it afterwards.'],
    stake: stake(proposal, currency),
    confirm: 'Approve and do it',
    danger: true,
    plain: true,
    send: (_, __, key) => write('POST', `/v1/proposals/${proposal.proposal_id}/approve`, undefined, key),
  }
}

export function rejectAct(proposal: Proposal, currency: string, isOwn: boolean): Act {
  return {
    id: 'reject',
    title: isOwn ? 'Withdraw the proposal' : 'Reject the proposal',
    button: isOwn ? 'Withdraw' : 'Reject',
    target: sentence(proposal.kind),
    does: ['Nothing is done, and it can no longer be approved.'],
    stake: stake(proposal, currency),
    confirm: isOwn ? 'Withdraw it' : 'Reject it',
    plain: true,
    send: (_, __, key) => write('POST', `/v1/proposals/${proposal.proposal_id}/reject`, undefined, key),
  }
}

export function reviewAct(review: MarginReview): Act {
  return {
    id: 'review',
    title: 'Review a margin raise',
    button: 'I have looked at it',
    target: `Contract ${review.contract}`,
    does: ['Notes that a second person has looked at the raise. The rates stay as they are.'],
    stake: [['Raised by', review.raised_by], ['Input', String(review.seq)]],
    confirm: 'Note it',
    send: (reason, _, key) => write('POST', `/v1/margin-reviews/${review.seq}`, { reason }, key),
  }
}
