/** The customer's orders: what a ticket says, asked and placed. */

import { newKey, write } from '../lib/api'
import type { Verdict } from '../lib/types'

export interface Order {
  order_id: string
  contract: string
  quantity: string
  limit_price: string | null
}

function at(account: string, what: string): string {
  return `/v1/accounts/${encodeURIComponent(account)}/orders/${what}`
}

export function preview(account: string, order: Order): Promise<Verdict> {
  return write<Verdict>('POST', at(account, 'preview'), order)
}

/** Its id is the key too: sent twice it is placed once. */
export function place(account: string, order: Order): Promise<Verdict> {
  return write<Verdict>('POST', at(account, 'check'), order, order.order_id)
}

export function cancel(account: string, id: string): Promise<unknown> {
  return write('DELETE', at(account, encodeURIComponent(id)))
}

export const newOrderId = newKey
