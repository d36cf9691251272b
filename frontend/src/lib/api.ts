/** Calls of the API with the viewer's key. */

import { session } from './session.svelte'

/** What the service refused: `code` is stable, `detail` is for people. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly pointer: string | null = null,
  ) {
    super(detail || code)
  }

  /** Whether this, or an earlier try with the same key, may have been done all the same: to be sent again as it is. */
  get isUncertain(): boolean {
    return this.status === 0 || this.status >= 500 || [408, 425, 429].includes(this.status) || this.code === 'key_busy'
  }
}

export type Method = 'POST' | 'PUT' | 'DELETE'

/** Relative to the page, so that it works behind a proxy's prefix too. */
export function address(path: string): string {
  return new URL(`.${path}`, document.baseURI).toString()
}

export async function get<T>(path: string): Promise<T> {
  return call<T>('GET', path)
}

/** An act. `key` makes it act once however often it is sent; a new one unless the caller keeps one for a repetition. */
export async function write<T>(method: Method, path: string, body?: unknown, key: string = newKey()): Promise<T> {
  return call<T>(method, path, body, key)
}

export function newKey(): string {
  return crypto.getRandomValues(new Uint32Array(4)).reduce((text, part) => text + part.toString(36), 'web-')
}

async function call<T>(method: string, path: string, body?: unknown, key?: string): Promise<T> {
  const headers: Record<string, string> = { Authorization: `Bearer ${session.key}` }
  if (key !== undefined) headers['Idempotency-Key'] = key
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  let response: Response
  let document: Record<string, unknown> | null
  try {
    response = await fetch(address(path), {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      cache: 'no-store',
    })
    document = parsed(await response.text())
  } catch {
    throw new Problem(0, 'unreachable', 'the service does not answer')
  }
  if (response.ok && document === null) throw new Problem(0, 'cut_off', 'the answer did not arrive whole')
  if (response.ok) return document as T
  const code = String(document?.code ?? `http_${response.status}`)
  const pointer = typeof document?.pointer === 'string' ? document.pointer : null
  const problem = new Problem(response.status, code, String(document?.detail ?? response.statusText), pointer)
  if (response.status === 401) session.lost(problem)
  throw problem
}

/** null where it is no JSON: a page of a proxy's, or half an answer. */
function parsed(text: string): Record<string, unknown> | null {
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    return null
  }
}
