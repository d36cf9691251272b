/** What is wrong with a contract's market data, in words. */

import { age } from '../lib/format'
import type { Contract } from '../lib/types'

const GRADES: Record<string, string> = {
  jump: 'the mark jumped and awaits confirmation',
  stale: 'the mark is old',
  missing: 'no mark',
}

/** Only what matters: a contract that nobody holds and that has no price is quiet. */
export function troubles(contract: Contract): string[] {
  const found: string[] = []
  if (contract.grade !== 'ok' && contract.is_open && (contract.holders > 0 || contract.mark !== null)) {
    found.push(GRADES[contract.grade] ?? contract.grade)
  }
  if (contract.halted) found.push('halted')
  return found
}

export function markAge(contract: Contract): string {
  return contract.mark_age_seconds === null ? '–' : age(contract.mark_age_seconds)
}
