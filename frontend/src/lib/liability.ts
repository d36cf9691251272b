import type { Service } from './types'

/** What a loss beyond an account's money is called, by who bears it under the rulebook: the customer, as a debt, or
 * the stages of the rulebook's waterfall. */
interface Words {
  /** Heading of what a move could do to the account. */
  after: string
  /** The curve below zero. */
  below: string
  /** Beyond the bankruptcy price. */
  beyond: string
  /** What the desk's stress counts, for all customers. */
  newDebts: string
  newDebtsMean: string
  /** Accounts below zero after a move. */
  would: string
  cash: string
  /** The desk's figure for one account. */
  deskAfter: string
}

const WORDS: Record<Service['liability'], Words> = {
  unlimited: {
    after: 'What I could owe',
    below: 'below zero: it would be owed',
    beyond: 'beyond it money is owed',
    newDebts: 'New debts',
    newDebtsMean: 'What customers would owe more than now',
    would: 'would owe',
    cash: 'What the firm must have in cash at once: the new debts, which it covers, and the variation',
    deskAfter: 'Could owe if all its contracts move',
  },
  limited: {
    after: 'What I could lose',
    below: 'below zero: not borne by the customer',
    beyond: 'what is missing beyond it is not borne by the customer',
    newDebts: 'Deficits',
    newDebtsMean: 'What close-outs would leave below zero: not borne by the customers, but by the stages of the rulebook’s waterfall',
    would: 'would be below zero by',
    cash: 'What must be there in cash at once: the deficits, whoever bears them under the rulebook, and the variation',
    deskAfter: 'Due if all its contracts move: a deficit is not borne by the customer',
  },
}

export function borne(service: Service | null): Words {
  return WORDS[service?.liability ?? 'unlimited']
}
