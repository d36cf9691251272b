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
  try {
    response = await fetch(address(path), {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      cache: 'no-store',
    })
  } catch {
    throw new Problem(0, 'unreachable', 'the service does not answer')
  }
  const document = (await response.json().catch(() => null)) as Record<string, unknown> | null
  if (response.ok) return document as T
  const code = String(document?.code ?? `http_${response.status}`)
  const pointer = typeof document?.pointer === 'string' ? document.pointer : null
  const problem = new Problem(response.status, code, String(document?.detail ?? response.statusText), pointer)
  if (response.status === 401) session.lost(problem)
  throw problem
}
