import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

export default defineConfig({
  base: './', // relative addresses: the pages work behind a proxy's prefix too
  plugins: [svelte()],
  build: { outDir: 'dist', target: 'es2022', sourcemap: false, chunkSizeWarningLimit: 800, assetsInlineLimit: 0 },
})
