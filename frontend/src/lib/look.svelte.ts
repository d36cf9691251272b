/** How the pages look: the theme follows the system until somebody chooses; kept in this browser. */

type Theme = 'system' | 'light' | 'dark'
type Palette = 'green-red' | 'blue-orange'

function kept<T extends string>(name: string, allowed: readonly T[]): T {
  const found = localStorage.getItem(name) as T | null
  return found !== null && allowed.includes(found) ? found : (allowed[0] as T)
}

class Look {
  theme = $state<Theme>(kept<Theme>('closeout-theme', ['system', 'light', 'dark']))
  palette = $state<Palette>(kept<Palette>('closeout-palette', ['green-red', 'blue-orange']))
  private systemDark = $state(matchMedia('(prefers-color-scheme: dark)').matches)

  constructor() {
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', (event) => (this.systemDark = event.matches))
  }

  get dark(): boolean {
    return this.theme === 'system' ? this.systemDark : this.theme === 'dark'
  }

  apply(): void {
    document.documentElement.dataset.theme = this.dark ? 'dark' : 'light'
    document.documentElement.dataset.palette = this.palette
    localStorage.setItem('closeout-theme', this.theme)
    localStorage.setItem('closeout-palette', this.palette)
  }

  nextTheme(): void {
    this.theme = this.dark ? 'light' : 'dark'
  }

  nextPalette(): void {
    this.palette = this.palette === 'green-red' ? 'blue-orange' : 'green-red'
  }
}

export const look = new Look()

/** A colour of the theme, for charts, which draw on a canvas. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
}
