// Analytics.js in a real browser, on a page of another origin than the agent's: single calls and batches,
// with headers of the page's own and with credentials.
import { createServer } from 'node:http'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { chromium } from 'playwright-core'
import { inWorld, personas, writeKey } from './world.mjs'

const sdk = dirname(createRequire(import.meta.url).resolve('@segment/analytics-next/package.json'))

const strategies = {
  plain: undefined,
  headers: { config: { headers: { 'x-api-key': 'k', 'x-shop-region': 'eu' } } },
  credentials: { config: { credentials: 'include' } },
  batch: { strategy: 'batching', config: { size: 2, timeout: 100, headers: { 'x-api-key': 'k' } } },
}

await inWorld(async (world) => {
  const agent = await world.startAgent(`write_keys = ["${writeKey}"]`)
  const site = await serve()
  const browser = await chromium.launch({ executablePath: process.argv[3], args: ['--no-sandbox', '--disable-background-networking'] })
  try {
    for (const [name, deliveryStrategy] of Object.entries(strategies)) {
      const page = await browser.newPage()
      const complaints = []
      page.on('console', (m) => { if (m.type() === 'error') complaints.push(m.text()) })
      await page.goto(site.url)
      await page.evaluate(send, { user: `usr_browser_${name}`, host: agent.host, writeKey, deliveryStrategy, personas: personas('vip') })
      await world.arrived(`usr_browser_${name}`, { vip: true }, ['Audience Entered']).catch((err) => {
        throw new Error(`${name}: ${err.message}; the page says ${JSON.stringify(complaints)}`)
      })
      await page.close()
    }
  } finally {
    await browser.close()
    site.server.close()
  }
}, 'Analytics.js in Chromium: single calls, headers of its own, credentials and batches arrive')

// Runs in the page. With settings given, Analytics.js asks no CDN for any.
async function send({ user, host, writeKey, deliveryStrategy, personas }) {
  const { AnalyticsBrowser } = window.AnalyticsNext
  const analytics = AnalyticsBrowser.load({
    writeKey,
    cdnSettings: { integrations: { 'Segment.io': { apiKey: writeKey, apiHost: `${host}/v1`, protocol: 'http', deliveryStrategy } } },
  }, { integrations: { 'Segment.io': { apiHost: `${host}/v1`, protocol: 'http', deliveryStrategy } } })
  await analytics.identify(user, { vip: true }, { context: { personas } })
  await analytics.track('Audience Entered', { audience_key: 'vip', vip: true }, { context: { personas } })
}

function serve() {
  const bundle = readFileSync(join(sdk, 'dist/umd/index.js'))
  const server = createServer((request, response) => {
    if (request.url === '/') return response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>shop</title><script src="/sdk.js"></script>')
    if (request.url === '/sdk.js') return response.setHeader('Content-Type', 'text/javascript').end(bundle)
    response.statusCode = 404
    response.end()
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve({ server, url: `http://127.0.0.1:${server.address().port}/` })))
}
