/** A close-out that is over, as its receipt tells it. Every figure is the receipt's own. */

import { get } from '../lib/api'
import type { Account, Event } from '../lib/types'

interface Worth {
  net_liq: string
  requirement: string
}

export interface Fill {
  fill_id: string
  time: string
  price: string
  quantity: string
  after: Worth
}

export interface CloseOut {
  receipt_id: string
  currency: string
  trigger: Worth & { time: string; cause: string; line: string; marks: { contract: string; price: string }[] }
  orders: { contract: string; side: 'buy' | 'sell'; fills: Fill[] }[]
  end: { time: string; how: 'flat' | 'cured'; net_liq: string }
  owed: string
}

/** How long a close-out that left no debt is still shown to whom it left flat. */
const RECENT = 24 * 3_600_000

/** The receipt of what made the account flat: that of its debt, or else the newest; null where none matters any more. */
export function receiptOfFlat(account: Account, events: Event[], now: number): string | null {
  if (account.positions.length > 0) return null
  const { owed, receipt_id } = account.account.receivable
  if (Number(owed) > 0 && receipt_id) return receipt_id
  const last = events.find((event) => event.type === 'receipt' && ['close_out', 'own_brake'].includes(String(event.kind)))
  return last !== undefined && now - Date.parse(last.time) < RECENT ? String(last.receipt_id) : null
}

/** null where the receipt is none of a close-out (a correction has other contents). */
export async function closeOutOf(receipt: string): Promise<CloseOut | null> {
  const found = await get<{ document: Partial<CloseOut> }>(`/v1/receipts/${encodeURIComponent(receipt)}`).catch(() => null)
  const document = found?.document
  return document?.trigger && document.orders && document.end ? (document as CloseOut) : null
}

export function contractsOf(closeOut: CloseOut): string[] {
  return [...new Set(closeOut.orders.map((order) => order.contract))]
}

export function fillsOf(closeOut: CloseOut, contract?: string): (Fill & { contract: string })[] {
  return closeOut.orders
    .filter((order) => contract === undefined || order.contract === contract)
    .flatMap((order) => order.fills.map((fill) => ({ ...fill, contract: order.contract })))
    .sort((a, b) => Date.parse(a.time) - Date.parse(b.time))
}

/** The first fill after which the account was worth less than nothing. */
export function firstBelowZero(closeOut: CloseOut): (Fill & { contract: string }) | undefined {
  return fillsOf(closeOut).find((fill) => Number(fill.after.net_liq) < 0)
}

/** What the account was worth as it went: at the trigger and after each fill. */
export function worthOf(closeOut: CloseOut): { time: string; net_liq: string }[] {
  return [
    { time: closeOut.trigger.time, net_liq: closeOut.trigger.net_liq },
    ...fillsOf(closeOut).map((fill) => ({ time: fill.time, net_liq: fill.after.net_liq })),
    { time: closeOut.end.time, net_liq: closeOut.end.net_liq },
  ]
}
