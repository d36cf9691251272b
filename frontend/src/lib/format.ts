/** Numbers and times as people read them. The exact text stays in a tooltip. One cached formatter each. */

const MINUS = '\u2212'
const money2 = new Intl.NumberFormat('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })
const money0 = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })
const whole = new Intl.NumberFormat('en-US')
const NOTHING = '\u2013'

function typographic(text: string): string {
  return text.startsWith('-') ? MINUS + text.slice(1) : text
}

/** Two decimals, grouped, a real minus sign. */
export function money(text: string | null | undefined): string {
  if (text == null) return NOTHING
  const shown = money2.format(Number(text))
  return shown === '-0.00' ? '0.00' : typographic(shown)
}

/** An amount in the engine's units, which have so many decimal places, as the API writes amounts. */
export function scaled(units: unknown, places: number): string {
  const text = String(units ?? 0)
  const digits = text.replace('-', '').padStart(places + 1, '0')
  return `${text.startsWith('-') ? '-' : ''}${digits.slice(0, digits.length - places)}.${digits.slice(digits.length - places)}`
}

/** With a plus sign where it is above zero. */
export function signed(text: string | null | undefined): string {
  const shown = money(text)
  return text != null && Number(text) > 0 ? `+${shown}` : shown
}

/** Without decimals, for dense tables. */
export function dollars(text: string | null | undefined): string {
  if (text == null) return NOTHING
  const shown = money0.format(Number(text))
  return shown === '-0' ? '0' : typographic(shown)
}

export function count(value: number | null | undefined): string {
  return value == null ? NOTHING : whole.format(value)
}

/** A price or quantity: its own decimals, grouped. */
export function exact(text: string | null | undefined): string {
  if (text == null || text === '') return NOTHING
  const [integer = '0', fraction] = text.replace('-', '').split('.')
  const grouped = integer.replace(/\B(?=(\d{3})+$)/g, ',')
  return `${text.startsWith('-') ? MINUS : ''}${grouped}${fraction === undefined ? '' : `.${fraction}`}`
}

/** An average price, which may have many decimals: at most two. The exact text belongs in a tooltip. */
export function average(text: string | null | undefined): string {
  const decimals = text?.split('.')[1]?.length ?? 0
  return exact(decimals > 2 ? Number(text).toFixed(2) : text)
}

/** A usage as a percentage, rounded up: what is over 100 % never reads 100.0 %. */
export function usage(text: string | null | undefined): string {
  if (text == null) return NOTHING
  if (text === 'over') return 'over'
  const tenths = Math.ceil(Number(text) * 1000 - 1e-6)
  return tenths >= 100_000 ? `${whole.format(Math.ceil(tenths / 10))} %` : `${(tenths / 10).toFixed(1)} %`
}

/** A rate as a signed percentage: a move. */
export function move(text: string): string {
  const percent = Number(text) * 100
  const shown = Number.isInteger(Math.round(percent * 1e6) / 1e6) ? percent.toFixed(0) : percent.toFixed(2)
  return percent > 0 ? `+${shown} %` : `${typographic(shown)} %`
}

/** A share of one as a percentage. */
export function share(text: string): string {
  return `${(Number(text) * 100).toFixed(1)} %`
}

// -- time ---------------------------------------------------------------------------------------------

const formatters = new Map<string, Intl.DateTimeFormat>()

function formatter(zone: string | undefined, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const name = `${zone} ${JSON.stringify(options)}`
  let found = formatters.get(name)
  if (found === undefined) {
    found = new Intl.DateTimeFormat('en-GB', { ...options, timeZone: zone, hourCycle: 'h23' })
    formatters.set(name, found)
  }
  return found
}

/** `15:45:00` in a zone; the viewer's own where none is given. */
export function timeOfDay(milliseconds: number, zone?: string): string {
  return formatter(zone, { hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(milliseconds)
}

/** `Thu 12 Mar 2020`. */
export function day(milliseconds: number, zone?: string): string {
  return formatter(zone, { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' })
    .format(milliseconds)
    .replaceAll(',', '')
}

const namers = new Map<string | undefined, Intl.DateTimeFormat>()

/** `CDT`, `CET`, `UTC`: what the zone's clocks are called at that instant. */
export function zoneName(milliseconds: number, zone?: string): string {
  let namer = namers.get(zone)
  if (namer === undefined) {
    namer = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'short' })
    namers.set(zone, namer)
  }
  return namer.formatToParts(milliseconds).find((part) => part.type === 'timeZoneName')?.value ?? ''
}

/** An instant in the exchange's zone, for tables and timelines. */
export function instant(text: string, zone: string): string {
  const at = Date.parse(text)
  return `${timeOfDay(at, zone)} ${zoneName(at, zone)}`
}

/** The same instant in UTC and in the viewer's zone, for a tooltip. */
export function elsewhere(text: string): string {
  const at = Date.parse(text)
  return `${day(at, 'UTC')} ${timeOfDay(at, 'UTC')} UTC, ${timeOfDay(at)} ${zoneName(at)} where you are`
}

/** `1:02:03` or `4:59`. */
export function countdown(seconds: number): string {
  const left = Math.max(0, Math.floor(seconds))
  const [hours, minutes, rest] = [Math.floor(left / 3600), Math.floor((left % 3600) / 60), left % 60]
  const two = (part: number) => String(part).padStart(2, '0')
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}

/** `3 s`, `2 min`, `5 h`, `3 d`: how old something is. */
export function age(seconds: number): string {
  if (seconds < 90) return `${Math.max(0, Math.floor(seconds))} s`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`
}
