/** The API's documents that only the desk reads. */

import type { Level, PartAhead, Summary } from '../lib/types'

export interface Page<T> {
  items: T[]
  next: string | null
}

export interface Accounts {
  as_of: string
  matching: number
  items: Summary[]
}

export interface StressMove {
  move: string
  closed_out: number
  would_owe: number
  debts: string
  new_debts: string
  cash_needed: string
}

export interface Stress {
  as_of: string
  moves: StressMove[]
}

export interface ShortAhead extends PartAhead {
  account_id: string
  owner: string
  level_now: Level
  net_liq: string
}

export interface AheadList {
  switch_at: string | null
  countdown_seconds: number | null
  matching: number
  short: string
  items: ShortAhead[]
}

export interface Alarm {
  alarm_id: string
  time: string
  account_id: string
  code: string
  detail: string
}

export interface Proposal {
  proposal_id: string
  kind: string
  status: 'open' | 'approved' | 'rejected'
  proposed_by: string
  proposed_at: string
  reason: string
  decided_by: string | null
  decided_at: string | null
  seq: number | null
  command: Record<string, unknown>
}

export interface MarginReview {
  seq: number
  contract: string
  raised_by: string
}

export interface Release {
  release_id: string
  contracts: string[]
  begins: string
  ends: string
  multiplier: string
  held: boolean
  begun: boolean
}

export interface Feed {
  name: string
  connected: boolean
  last_message_at?: string | null
  last_fault?: string
  [field: string]: unknown
}

export interface ConcentratedContract {
  contract: string
  mark: string | null
  long: string
  short: string
  long_notional: string
  short_notional: string
  holders: number
  largest: { account_id: string; owner: string; quantity: string; notional: string; share: string } | null
}

export interface ConcentratedOwner {
  owner: string
  /** The account where its owner is not known. */
  account_id?: string | null
  accounts: number
  net_liq: string
  requirement: string
  notional: string
  share: string
  owed: string
}

export interface Concentration {
  as_of: string
  currency: string
  contracts: ConcentratedContract[]
  owners: ConcentratedOwner[]
}

export interface Receipt {
  receipt_id: string
  account_id: string
  seq: number
  time: string
  kind: string
  supersedes: string
  document: Record<string, unknown>
  text?: string | null
}
