/** What stands in the order ticket; a position's Close button fills it in. */

import type { Position } from '../lib/types'

const DECIMAL = /^\d{1,18}(\.\d{1,18})?$/
/** A price may be below zero, where the contract's may. */
const PRICE = /^-?\d{1,18}(\.\d{1,18})?$/

export class Draft {
  contract = $state('')
  side = $state<'buy' | 'sell'>('buy')
  quantity = $state('')
  isLimit = $state(false)
  limit = $state('')

  /** What is missing before anybody is asked; "" nothing. */
  wrong(): string {
    if (this.contract === '') return 'Choose a contract.'
    if (this.quantity.trim() === '') return 'Say how many: then you see what it does to your margin.'
    if (!DECIMAL.test(this.quantity.trim()) || Number(this.quantity) === 0) return 'The quantity is a number above zero, such as 3.'
    if (this.isLimit && !PRICE.test(this.limit.trim())) return 'Say the limit price.'
    return ''
  }

  close(position: Position): void {
    this.contract = position.contract
    this.side = position.quantity.startsWith('-') ? 'buy' : 'sell'
    this.quantity = position.quantity.replace('-', '')
    this.isLimit = false
  }
}
