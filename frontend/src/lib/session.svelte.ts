/** Who looks at the page: the key, whose it is, and what the service says of itself. */

import { get, type Problem } from './api'
import type { Me, Service } from './types'

const STORED = 'closeout-key'

class Session {
  key = $state('')
  me = $state.raw<Me | null>(null)
  service = $state.raw<Service | null>(null)
  wrong = $state('')

  /** The key of the address's fragment (which then disappears from it), or of this tab's earlier visit. */
  async begin(): Promise<void> {
    const given = new URLSearchParams(location.hash.slice(1)).get('key')
    if (given !== null) {
      history.replaceState(null, '', location.pathname + location.search)
      if (this.me !== null) {
        // Another key, in a page that is open: it begins anew, with nothing of the one before.
        sessionStorage.setItem(STORED, given.trim())
        location.reload()
        return
      }
      await this.enter(given)
    } else if (this.me === null) {
      const kept = sessionStorage.getItem(STORED)
      if (kept) await this.enter(kept)
    }
  }

  async enter(key: string): Promise<void> {
    this.key = key.trim()
    this.wrong = ''
    try {
      const [me, service] = await Promise.all([get<Me>('/v1/me'), get<Service>('/v1/service')])
      sessionStorage.setItem(STORED, this.key)
      this.service = service
      this.me = me
    } catch (error) {
      this.key = ''
      this.wrong = `Not signed in: ${(error as Error).message}.`
    }
  }

  /** What the service says of itself may have changed after a break. */
  async refresh(): Promise<void> {
    this.service = await get<Service>('/v1/service')
  }

  /** The key is not known any more; one that never was is for who enters it to hear of. */
  lost(problem: Problem): void {
    if (this.me === null) return
    this.leave()
    this.wrong = `Signed out: ${problem.message}.`
  }

  leave(): void {
    sessionStorage.removeItem(STORED)
    this.key = ''
    this.me = null
  }

  get canAct(): boolean {
    return this.me?.role === 'desk' || this.me?.role === 'supervisor'
  }
}

export const session = new Session()
