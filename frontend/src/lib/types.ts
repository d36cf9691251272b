/** The API's documents, as far as the pages read them. Money, prices, quantities and rates are decimal strings. */

export type Level = 'normal' | 'alert' | 'liquidate_only' | 'liquidating'
export type Role = 'customer' | 'broker' | 'desk' | 'supervisor' | 'auditor'

export interface Me {
  key_id: string
  name: string
  role: Role
  accounts: string[]
}

export interface WindowRule {
  requirement: 'intraday' | 'initial' | 'maintenance'
  alert: string
  liquidate_only: string
  auto_liquidate: string
}

export interface Service {
  version: string
  mode: 'live' | 'recorded'
  market: string | null
  speed: number
  now: string
  currency: string
  /** Decimal places of the currency's units in the engine. */
  places: number
  rulebook: string
  rulebook_version: string
  /** Whether a customer owes what is missing beyond his money. */
  liability: 'unlimited' | 'limited'
  time_zone: string
  disclosure: string | null
  how_to_pay: string | null
  venue: string
  simulated_venue: boolean
  windows: Record<string, WindowRule>
}

export interface State {
  level: Level
  flags: string[]
}

export interface Position {
  contract: string
  held_as: string
  quantity: string
  lots: string
  margin_mode: 'cross' | 'isolated'
  entry_price: string
  mark: string | null
  notional: string
  unrealized_pnl: string
  initial_margin: string
  maintenance_margin: string
  intraday_margin: string | null
  requirement: string
  window: string
  liquidation_price: string | null
  bankruptcy_price: string | null
  isolated_margin?: string
  net_liq?: string
  usage?: string | null
  level?: Level
}

export interface FewestLots {
  contract: string
  lots: string | null
  quantity: string | null
}

export interface PartAhead {
  windows: Record<string, string>
  requirement: string
  usage: string | null
  level: Level
  excess: string
  estimated_liquidation_value: string
  auto_liquidation_distance: string
  short: string
  smallest_deposit: string
  fewest_lots: FewestLots[]
}

export interface LookAhead extends PartAhead {
  switch_at: string
  countdown_seconds: number
  isolated: (PartAhead & { contract: string })[]
}

export interface WorkingOrder {
  order_id: string
  contract: string
  quantity: string
  limit_price: string | null
}

export interface HeldContract {
  mark: string | null
  mark_time: string | null
  mark_source: string
  grade: 'ok' | 'jump' | 'stale' | 'missing'
  window: string
  is_open: boolean
  halted: boolean
  news_multiplier: string | null
  stale_after_seconds: number
}

export interface Receivable {
  owed: string
  status: string | null
  business_days: number | null
  receipt_id: string | null
}

export interface Account {
  account_id: string
  rulebook: string
  rulebook_version: string
  currency: string
  as_of: string
  net_liq: string
  cash: string
  open_trade_equity: string
  requirement: string
  usage: string | null
  initial_margin: string
  maintenance_margin: string
  intraday_margin: string | null
  initial_usage: string | null
  intraday_usage: string | null
  excess: string
  excess_intraday_margin: string | null
  excess_initial_margin: string
  excess_maintenance_margin: string
  lines: { alert: string; liquidate_only: string; auto_liquidation: string }
  state: State
  estimated_liquidation_value: string
  auto_liquidation_distance: string
  positions: Position[]
  could_owe: { move: string; amount: string; worst_minute: string | null }[]
  look_ahead: LookAhead | null
  account: {
    owner: string
    parent: string | null
    cash: string
    accrued_funding: string
    pending_fees: string
    withdrawable: string
    validate_with_intraday: boolean
    liquidations: number
    liquidating: string | null
    receivable: Receivable
    working_orders: WorkingOrder[]
    disclosure: { required: string | null; acknowledged: string | null }
    contracts: Record<string, HeldContract>
  }
}

/** A line of a list of accounts. */
export interface Summary {
  account_id: string
  owner: string
  level: Level
  flags: string[]
  net_liq: string
  requirement: string
  usage: string | null
  intraday_usage: string | null
  initial_usage: string | null
  initial_margin: string
  estimated_liquidation_value: string
  excess: string
  excess_intraday_margin: string | null
  excess_initial_margin: string
  excess_at_switch: string | null
  short_at_switch: string | null
  could_owe_10_percent: string
  notional: string
  owed: string
  largest_position: { contract: string; quantity: string } | null
  unrealized_pnl: string
}

export interface Contract {
  contract: string
  kind: 'linear' | 'inverse'
  tick: string
  lot: string
  contract_size: string
  mark: string | null
  mark_source: string
  mark_time: string | null
  mark_age_seconds: number | null
  grade: 'ok' | 'jump' | 'stale' | 'missing'
  window: string
  session: string | null
  is_open: boolean
  halted: boolean
  expired: boolean
  /** The desk's switches that are on, by the names of flags. */
  desk: string[]
  news_multiplier: string | null
  news_held: boolean | null
  margin_of_one_lot: Record<string, string> | null
  tiers: Record<string, string>[]
  holders: number
  open_interest: string
  short_interest: string
}

export interface Verdict {
  approved: boolean
  order_id: string
  code: string | null
  detail: string | null
  before: string
  change: string
  after: string
  available: string
  currency: string
  suggested_quantity: string | null
}

export interface CouldOwe {
  account_id: string
  currency: string
  as_of: string
  net_liq: string
  moves: string[]
  curves: {
    contract: string | null
    net_liq: string[]
    level: Level[]
    owed: string[]
    liquidation_move: string | null
    debt_move: string | null
  }[]
  gaps: { move: string; what: string; contracts: string[]; owed: string }[]
}

export interface Bar {
  time: string
  open: string
  high: string
  low: string
  close: string
}

/** An entry of the events feed; the other fields depend on `type`. */
export interface Event {
  type: string
  seq: number
  idx: number
  time: string
  account_id: string
  [field: string]: unknown
}

export interface Totals {
  as_of: string
  currency: string
  accounts: number
  levels: Record<Level, number>
  flags: Record<string, number>
  close_outs: number
  working_orders: number
  owed: string
  debtors: number
  cash: string
  net_liq: string
  requirement: string
  open_trade_equity: string
  ledger: Record<string, string>
  ledger_imbalance: string
  /** The firm's switches that are on, by the names of flags. */
  desk: string[]
}
