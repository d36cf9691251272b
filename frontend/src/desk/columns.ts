/** The table's columns: those that fit are shown, the most needed first. */

import type { Sort } from './desk.svelte'

export type Cell =
  | 'account' | 'owner' | 'state' | 'used' | 'intraday' | 'initial' | 'elv' | 'net_liq' | 'excess' | 'switch' | 'owe' | 'owed' | 'largest' | 'pnl'

export interface Column {
  cell: Cell
  label: string
  means: string
  /** Pixels it needs at least; what is left over is shared among all. */
  width: number
  /** The smaller, the longer it stays on a narrow screen. */
  rank: number
  sort?: Sort
  numeric?: boolean
}

export const COLUMNS: Column[] = [
  { cell: 'account', label: 'Account', means: 'The account', width: 90, rank: 0, sort: 'account_id' },
  { cell: 'owner', label: 'Owner', means: 'Whose account it is', width: 96, rank: 12 },
  { cell: 'state', label: 'State', means: 'Its level, and flags that are set', width: 180, rank: 1 },
  { cell: 'used', label: 'Used', means: 'Margin required now, as a share of net liq', width: 74, rank: 2, sort: 'usage', numeric: true },
  { cell: 'intraday', label: 'Intraday', means: 'Intraday margin as a share of net liq', width: 78, rank: 6, numeric: true },
  { cell: 'initial', label: 'Initial', means: 'Initial margin as a share of net liq', width: 78, rank: 7, numeric: true },
  {
    cell: 'elv', label: 'ELV', width: 66, rank: 3, numeric: true,
    means: 'Estimated Liquidation Value: what the account can lose before a close-out may start',
  },
  { cell: 'net_liq', label: 'Net liq', means: 'Cash and open trade equity', width: 78, rank: 11, sort: 'net_liq', numeric: true },
  { cell: 'excess', label: 'Excess now', means: 'Net liq less the margin required now', width: 104, rank: 4, sort: 'excess', numeric: true },
  { cell: 'switch', label: 'At switch', means: 'Net liq less the margin of the next window, at the present marks', width: 80, rank: 5, numeric: true },
  { cell: 'owe', label: 'Owe at 10 %', means: 'What it would owe after all contracts move by 10 %, the worse way', width: 104, rank: 8, numeric: true },
  { cell: 'owed', label: 'Owed', means: 'What it owes now', width: 74, rank: 9, sort: 'owed', numeric: true },
  { cell: 'largest', label: 'Largest position', means: 'Its largest position by notional; sorts by all notional', width: 148, rank: 10, sort: 'notional', numeric: true },
  { cell: 'pnl', label: 'P&L', means: 'Gains and losses of open positions', width: 76, rank: 9.5, sort: 'unrealized_pnl', numeric: true },
]

/** Below it the state is its word, and flags are in the tooltip. */
const NARROW = 620
const NARROWER: Partial<Record<Cell, number>> = { account: 84, state: 122, used: 74, elv: 66 }

export function fitting(width: number): Column[] {
  let left = width
  const columns = COLUMNS.map((column) => (width < NARROW ? { ...column, width: NARROWER[column.cell] ?? column.width } : column))
  const chosen = new Set<Column>()
  for (const column of [...columns].sort((a, b) => a.rank - b.rank)) {
    if (column.width > left && chosen.size > 0) break
    left -= column.width
    chosen.add(column)
  }
  return columns.filter((column) => chosen.has(column))
}
