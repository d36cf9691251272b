/** The contracts that can be ordered, for the ticket: read again every few seconds while it is looked at. */

import { get } from '../lib/api'
import { stream } from '../lib/stream.svelte'
import type { Contract } from '../lib/types'

const EVERY = 5_000

class Market {
  contracts = $state.raw<Contract[]>([])

  /** Keep reading; what is returned ends it. */
  watch(): () => void {
    void this.read()
    const timer = setInterval(() => {
      if (!document.hidden && stream.state === 'live') void this.read()
    }, EVERY)
    return () => clearInterval(timer)
  }

  private async read(): Promise<void> {
    const found = await get<{ items: Contract[] }>('/v1/contracts').catch(() => null)
    if (found !== null) this.contracts = found.items.filter((contract) => !contract.expired)
  }
}

export const market = new Market()
