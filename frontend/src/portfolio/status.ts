/** The one thing that matters now, in plain sentences: the worst first. */

import { money } from '../lib/format'
import { clockTime, closing, nextMargin } from '../lib/margin'
import type { Account, Service } from '../lib/types'
import { DEBT_STATUS } from '../lib/words'

export function businessDays(count: number | null): string {
  if (count === null) return ''
  return count === 0 ? 'since today' : `${count} business day${count === 1 ? '' : 's'} old`
}

export function mattersNow(account: Account, service: Service): string[] {
  const said: string[] = []
  const { level, flags } = account.state
  const { receivable, liquidating, withdrawable } = account.account
  const held = account.positions.length > 0
  if (liquidating !== null || level === 'liquidating') {
    said.push(
      canTrade(account)
        ? 'Being closed out now: orders are at the market, and fills can be far from the mark.'
        : 'To be closed out as soon as the market takes orders and has a good price; it can be far from the mark.',
    )
    said.push(`Net liq is ${money(account.net_liq)}, the margin requirement ${money(account.requirement)}. Only orders that reduce risk are taken.`)
  }
  if (Number(receivable.owed) > 0) {
    const status = receivable.status === 'demanded' || receivable.status === null ? 'due at once' : (DEBT_STATUS[receivable.status] ?? receivable.status)
    said.push(`You owe ${money(receivable.owed)} ${account.currency}, ${status}, ${businessDays(receivable.business_days)}.`)
  }
  if (flags.includes('unpriced')) said.push('A position has no price yet: the worst is assumed of it.')
  if (flags.includes('stopped')) said.push('Your own limit has stopped the account until the next trade date.')
  if (flags.includes('frozen')) said.push('Books and clearing differ: no opening orders, no withdrawals, until that is cleared up.')
  if (flags.includes('locked')) said.push('The desk has locked the account: no orders.')
  if (liquidating === null && level !== 'liquidating' && held) said.push(...room(account, service))
  if (!held && said.length === 0) {
    const free = Number(withdrawable) > 0
    said.push(free ? `No positions. ${money(withdrawable)} ${account.currency} can be withdrawn.` : 'No positions, and nothing to withdraw.')
  }
  return said
}

/** Whether every contract held can be traded now: open, not halted, with a good mark. */
function canTrade(account: Account): boolean {
  return account.positions.every(({ held_as }) => {
    const contract = account.account.contracts[held_as]
    return contract === undefined || (contract.is_open && !contract.halted && contract.grade === 'ok')
  })
}

function room(account: Account, service: Service): string[] {
  const { level, flags } = account.state
  const left = account.estimated_liquidation_value
  const toLine = account.auto_liquidation_distance
  const said: string[] = []
  if (level === 'liquidate_only' || flags.includes('desk_liquidate_only')) said.push('Only orders that reduce risk are taken.')
  if (flags.includes('held')) said.push('The desk keeps a close-out from starting, however far the account falls.')
  else if (Number(left) > 0) said.push(`You can lose ${money(left)} before a close-out may start.`)
  else if (Number(toLine) > 0) said.push(`A close-out starts after a loss of ${money(toLine)} more.`)
  else said.push('Any further loss starts a close-out.')
  const ahead = account.look_ahead
  if (ahead !== null) {
    const at = clockTime(ahead.switch_at, service.time_zone)
    const margin = nextMargin(account, service)
    if (Number(ahead.short) > 0) {
      const cures = ahead.fewest_lots.map((few) => closing(few, account.positions)).filter((cure) => cure !== null)
      const clears = [`a deposit of ${money(ahead.smallest_deposit)}`, ...cures].join(', or ')
      said.push(`At ${at} ${margin} holds: you will be short ${money(ahead.short)}; ${clears}, clears it.`)
    } else if (ahead.level === 'liquidate_only') {
      said.push(`At ${at} ${margin} holds: at these prices only orders that reduce risk will be taken then.`)
    } else {
      said.push(`At ${at} ${margin} holds: at these prices the account fits it.`)
    }
    for (const part of ahead.isolated) {
      if (Number(part.short) > 0) {
        said.push(`The isolated position in ${part.contract} will be short ${money(part.short)} then.`)
      }
    }
  }
  return said
}
