/** What happened to an account, newest first. */

import { untrack } from 'svelte'
import { get } from './api'
import { stream } from './stream.svelte'
import type { Event } from './types'

const KEPT = 500
/** Lists of an account's past and what their entries are called, for staff: their feed is everybody's. */
const LISTS: Record<string, string> = {
  statement: 'posting', receipts: 'receipt', 'margin-calls': 'margin_call', notices: 'notice', orders: 'order', fills: 'fill',
}

export function concerns(event: Event, account: string): boolean {
  return event.account_id === account || event.account_id.startsWith(`${account}/`)
}

/** In the journal's order; a fill comes before what it led to, with which it may share a place. */
function compare(a: Event, b: Event): number {
  return a.seq - b.seq || a.idx - b.idx || Number(b.type === 'fill') - Number(a.type === 'fill')
}

function place(event: Event): string {
  return `${event.seq}.${event.idx}.${event.type}`
}

/** The customer's own events from the first on, kept by account. One feed for the page. */
class Own {
  private accounts = $state.raw(new Map<string, Event[]>())

  /** Listen from now on; what is returned ends it. */
  run(): () => void {
    this.accounts = new Map()
    return untrack(() => stream.listen(0, (news) => this.take(news)))
  }

  of(account: string): Event[] {
    return this.accounts.get(account) ?? []
  }

  private take(news: Event[]): void {
    const accounts = new Map(this.accounts)
    const fresh = new Map<string, Event[]>()
    for (const event of news) {
      const account = event.account_id.split('/')[0] ?? ''
      const list = fresh.get(account)
      if (list === undefined) fresh.set(account, [event])
      else list.push(event)
    }
    for (const [account, events] of fresh) {
      accounts.set(account, [...events.slice(-KEPT).sort(compare).reverse(), ...(accounts.get(account) ?? [])].slice(0, KEPT))
    }
    this.accounts = accounts
  }
}

export const own = new Own()

/** Anybody's account, for staff: its lists, and from then on what comes of it. Levels and flags of before are in none of
 * the lists. */
export class Past {
  events = $state.raw<Event[]>([])

  constructor(private readonly account: string) {}

  run(): () => void {
    let ended = false
    const leave = untrack(() =>
      stream.listen(null, (news) => this.add(news.filter((event) => concerns(event, this.account)))),
    )
    const base = `/v1/accounts/${encodeURIComponent(this.account)}`
    for (const [list, type] of Object.entries(LISTS)) {
      void get<{ items: Event[] }>(`${base}/${list}?newest_first=true&limit=100`)
        .then((found) => {
          if (!ended) this.add(found.items.map((item) => ({ ...item, type })))
        })
        .catch(() => undefined)
    }
    return () => {
      ended = true
      leave()
    }
  }

  private add(news: Event[]): void {
    if (news.length === 0) return
    const all = new Map([...this.events, ...news].map((event) => [place(event), event]))
    this.events = [...all.values()].sort((a, b) => compare(b, a)).slice(0, KEPT)
  }
}
