/** What the parts of the desk's page share: what is live, what is filtered and selected, and the act that is open. */

import { getContext, setContext } from 'svelte'
import { Poll } from '../lib/poll.svelte'
import { session } from '../lib/session.svelte'
import { stream } from '../lib/stream.svelte'
import type { Contract, Event, Level, Totals } from '../lib/types'
import type { Act } from './acts'
import type { AheadList, Alarm, MarginReview, Page, Proposal, Release, Stress } from './types'

export type Tab = 'events' | 'alarms' | 'ahead' | 'proposals' | 'market' | 'concentration' | 'controls'
export type Sort = 'usage' | 'account_id' | 'net_liq' | 'requirement' | 'excess' | 'owed' | 'unrealized_pnl' | 'notional'

const KEPT = 500
/** Events that the feed shows, at most. */
const BACK = 1_000
/** Inputs of the journal that the feed looks back when the page opens. */
/** Kinds of events after which what needs two people may stand differently. */
const DECISIVE = ['setting_change', 'flag_change', 'receivable_change']
const ASCENDING: Sort[] = ['account_id', 'excess']

export class DeskState {
  totals = $state.raw<Totals | null>(null)
  stress = $state.raw<Stress | null>(null)
  /** Newest first. */
  events = $state.raw<Event[]>([])
  tab = $state<Tab>('events')
  act = $state.raw<Act | null>(null)
  selected = $state('')

  sort = $state<Sort>('usage')
  order = $state<'asc' | 'desc'>('desc')
  level = $state<Level | ''>('')
  flag = $state('')
  contract = $state('')
  search = $state('')

  contracts = new Poll<Page<Contract>>(() => '/v1/contracts', 3)
  alarms = new Poll<Page<Alarm>>(() => '/v1/alarms?acknowledged=false&newest_first=true&limit=200', 3)
  ahead = new Poll<AheadList>(() => '/v1/look-ahead', 5)
  proposals = new Poll<Page<Proposal>>(() => '/v1/proposals?status=open', 3)
  reviews = new Poll<Page<MarginReview>>(() => '/v1/margin-reviews', 3)
  news = new Poll<Page<Release>>(() => '/v1/news', 5)

  /** The account's own id is in the address, so that it can be passed on and survives a reload. */
  constructor() {
    this.selected = new URLSearchParams(location.search).get('account') ?? ''
  }

  start(): () => void {
    const polls = [this.contracts, this.alarms, this.ahead, this.news]
    if (session.me?.role !== 'broker') polls.push(this.proposals as never, this.reviews as never)
    const ends = polls.map((poll) => poll.run())
    ends.push(stream.follow<Totals>('desk', (found) => this.told(found)))
    ends.push(stream.follow<Stress>('stress', (found) => (this.stress = found)))
    const back = () => (this.selected = new URLSearchParams(location.search).get('account') ?? '')
    addEventListener('popstate', back)
    ends.push(() => removeEventListener('popstate', back), () => this.deaf?.())
    return () => ends.forEach((end) => end())
  }

  private deaf: (() => void) | undefined

  private told(found: Totals): void {
    this.totals = found
    this.deaf ??= stream.listen(Math.max(0, stream.seq - BACK), (news) => this.heard(news))
  }

  private heard(news: Event[]): void {
    this.events = [...news.slice(-KEPT).reverse(), ...this.events].slice(0, KEPT)
    if (news.some((event) => event.type === 'alarm')) void this.alarms.refresh()
    if (news.some((event) => DECISIVE.includes(event.type))) this.decided()
  }

  /** Something was decided: what waits for decisions is looked at again. */
  decided(): void {
    if (session.me?.role === 'broker') return
    void this.proposals.refresh()
    void this.reviews.refresh()
    void this.news.refresh()
  }

  // -- the table's question ---------------------------------------------------------------------------

  /** Always spelt in the same way and order, so that all viewers who ask the same share one topic. */
  get topic(): string {
    const asked = new URLSearchParams({ sort: this.sort, order: this.order })
    if (this.level !== '') asked.set('level', this.level)
    if (this.flag !== '') asked.set('flag', this.flag)
    if (this.contract !== '') asked.set('contract', this.contract)
    asked.set('search', this.search.trim().toLowerCase())
    asked.set('n', '200')
    return `accounts?${asked}`
  }

  /** Sort by a column; again turns it round. */
  sortBy(sort: Sort): void {
    if (this.sort === sort) this.order = this.order === 'asc' ? 'desc' : 'asc'
    else [this.sort, this.order] = [sort, ASCENDING.includes(sort) ? 'asc' : 'desc']
  }

  get isFiltered(): boolean {
    return this.level !== '' || this.flag !== '' || this.contract !== '' || this.search !== ''
  }

  clear(): void {
    this.level = ''
    this.flag = this.contract = this.search = ''
  }

  // -- one account --------------------------------------------------------------------------------------

  open(account_id: string): void {
    const where = new URL(location.href)
    if (account_id === '') where.searchParams.delete('account')
    else where.searchParams.set('account', account_id)
    // The first opening is a step that Back undoes; walking on from account to account is not.
    if (this.selected === '') history.pushState(null, '', where)
    else history.replaceState(null, '', where)
    this.selected = account_id
  }
}

const KEY = Symbol('desk')

export function provideDesk(): DeskState {
  return setContext(KEY, new DeskState())
}

export function useDesk(): DeskState {
  return getContext<DeskState>(KEY)
}
