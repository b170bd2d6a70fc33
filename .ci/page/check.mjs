// The status page of a real agent, in a real browser: it says how to begin, what is wrong and what to type, its charts
// have data and gaps, it follows what happens, it does not stay green without an answer, it says nothing in the console and
// asks nobody else, axe finds no serious fault, and history is there after a restart.
//
//   node check.mjs PATH-TO-PERSONASYNC PATH-TO-CHROMIUM
//
// Starts and ends its own agent, sandbox and browser, on loopback, in a temporary folder.
import { spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const [binary, browserPath] = process.argv.slice(2)
if (!browserPath) {
  console.error('usage: node check.mjs PATH-TO-PERSONASYNC PATH-TO-CHROMIUM')
  process.exit(2)
}
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const shots = process.env.PAGE_SHOTS
const folder = mkdtempSync(join(tmpdir(), 'page-'))
const children = []
let browser, ingest, admin
let serial = 0 // of the events posted
const long = 'customers_who_bought_in_the_last_thirty_days_'.repeat(6)

try {
  await check()
  console.log('the status page renders, follows, survives a restart, asks nobody else, and axe finds no serious fault')
} catch (err) {
  console.error(err.stack)
  for (const c of children) console.error(c.output.slice(-2000))
  process.exitCode = 1
} finally {
  await browser?.close()
  for (const c of children) c.process.kill('SIGTERM')
  await Promise.all(children.map((c) => c.gone))
  rmSync(folder, { recursive: true })
}

async function check() {
  const moengage = await freePort()
  ;[ingest, admin] = [await freePort(), await freePort()]
  start('sandbox', '--listen', `127.0.0.1:${moengage}`)
  const config = join(folder, 'agent.toml')
  writeFileSync(join(folder, 'pilots.txt'), 'usr_1\nusr_2\n')
  writeFileSync(config, `
data_dir = "${join(folder, 'data')}"
[ingest]
listen = "127.0.0.1:${ingest}"
shared_secret = "hush"
[admin]
listen = "127.0.0.1:${admin}"
[moengage]
workspace_id = "PAGECHECK"
api_key = "not-a-secret"
base_url = "http://127.0.0.1:${moengage}"
[schedule]
max_delay = "50ms"
[guard]
exit_count = 30
[[computation]]
key = "nightly_winback"
schedule = "0 3 * * *"
[[computation]]
key = "told_to_few"
share = 0.25
holdout = 0.1
[[computation]]
key = "told_to_pilots"
only_users_file = "pilots.txt"
[[computation]]
key = "asks_first"
consent = ["Marketing"]
`, { mode: 0o600 })
  let agent = start('run', '--config', config)
  await ready()
  browser = await chromium.launch({ executablePath: browserPath, args: ['--no-sandbox', '--disable-background-networking'] })
  const faults = []
  const page = await look({ width: 1280, height: 900 }, 'light', faults)
  await page.goto(`http://127.0.0.1:${admin}/`)
  await page.waitForSelector('#live.on')
  await begins(page, faults)
  await traffic()
  await page.waitForSelector('#setup', { state: 'hidden' })
  await wrong(page, config)
  await itemsOfACause(page)
  await manyAudiences(page)
  await toldToSome(page)
  await shows(page, '#jobs', 'nightly_winback')
  await page.click('button[data-seconds="900"]')
  await until('each chart to have a line', async () => (await page.locator('#charts figure').count()) === 4
    && (await page.locator('#charts figure:not(:has(path.line))').count()) === 0)
  await until('each audience to have a line', async () => (await page.locator('#audiences td.spark path.line').count()) >= 3)

  // An event that arrives now is seen without a reload.
  const before = await figure(page, 'Received a minute')
  await post(audience('late_riser', 'ann', true, 1))
  await until('the new event to be shown', async () => (await figure(page, 'Received a minute')) !== before)
  await page.fill('#filter', 'late_riser')
  await shows(page, '#audiences', 'late_riser')
  await page.fill('#filter', '')

  // A user, masked.
  await page.fill('#user-id', 'usr_1')
  await page.click('#user-form button')
  await shows(page, '#user', 'Memberships')
  const user = await page.textContent('#user')
  expect(!user.includes('usr_1') && user.includes('u•••'), 'the user id is masked')
  await page.fill('#user-id', 'nobody-at-all')
  await page.click('#user-form button')
  await shows(page, '#user', 'Nothing is known of this user')
  await page.fill('#user-id', 'usr_1')
  await page.click('#user-form button')
  await shows(page, '#user', 'Memberships')
  await shows(page, '#user', 'it waits for the schedule nightly_winback') // why a change waits

  await accessible(page, 'light, 1280')
  await shot(page, 'light-1280')
  for (const [scheme, width] of [['dark', 1280], ['light', 768], ['dark', 768], ['light', 390], ['dark', 390]]) {
    const other = await look({ width, height: 844 }, scheme, faults)
    await other.goto(`http://127.0.0.1:${admin}/`)
    await other.waitForSelector('#audiences tbody tr')
    await other.waitForSelector('#charts path.line, #charts circle.spot')
    await other.click('#causes summary')
    await other.waitForSelector('#causes .items tbody tr')
    const wide = await other.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    expect(wide <= 0, `at ${width} px nothing sticks out, not ${wide} px`)
    await accessible(other, `${scheme}, ${width}`)
    await shot(other, `${scheme}-${width}`)
    await other.context().close()
  }
  await gaps(faults)
  expect(faults.length === 0, `the console is silent and nobody else is asked: ${faults.join('; ')}`)

  await busy(faults)
  await frozen(page, agent)

  // The agent goes away, and comes back with its history.
  const noticed = page.waitForSelector('#live.off')
  agent.process.kill('SIGTERM')
  await agent.gone
  await noticed
  await stale(page, config)
  agent = start('run', '--config', config)
  await ready()
  const kept = await (await fetch(`http://127.0.0.1:${admin}/api/page/series?seconds=3600`)).json()
  expect(kept.at.length > 0 && kept.at[0] < Date.now() - 2000 && kept.received.length === kept.at.length, 'history survives a restart')
  await page.waitForSelector('#live.on')

  // Another site's page gets nothing, whatever name it resolved to us.
  for (const headers of [{ Host: 'evil.example' }, { Origin: 'https://evil.example' }]) {
    expect(await status('/api/page', headers) === 403, `${JSON.stringify(headers)} is refused`)
  }
}

// begins: before the first event the page says how to begin, and calls nothing good.
async function begins(page, faults) {
  await shows(page, '#steps', `the agent listens at 127.0.0.1:${ingest}`)
  for (const text of ['/segment/webhook', 'ingest.shared_secret is set', 'preview -', 'tail --follow', 'doctor']) await shows(page, '#steps', text)
  expect(!(await page.textContent('#verdicts')).includes('Good'), 'nothing is called good before the first event')
  await accessible(page, 'before the first event')
  await shot(page, 'begin-1280')
  const phone = await look({ width: 390, height: 844 }, 'dark', faults)
  await phone.goto(`http://127.0.0.1:${admin}/`)
  await phone.waitForSelector('#steps li')
  expect(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the first steps fit a phone')
  await accessible(phone, 'before the first event, 390')
  await phone.context().close()
}

// wrong: each condition says what is lost, since when, what happens by itself and what to type, and a key copies that.
async function wrong(page, config) {
  for (const text of ['Warning:', 'Too many members left at once', 'parked until you decide', 'docs/operating.md#personasyncheld']) await shows(page, '#verdicts', text)
  const held = page.locator('#verdicts li[data-key=held]')
  const facts = await held.locator('dl').innerText()
  for (const text of ['Lost', 'Nothing. The changes are held', 'Since', ' UTC, for ', 'By itself', 'until you decide']) expect(facts.includes(text), `the condition says ${text}, not ${facts}`)
  const release = `personasync --config ${config} audience release high_value_shoppers`
  const button = held.locator('button').first()
  await button.focus()
  const before = await page.textContent('#tiles')
  await post(audience('cart_abandoners', 'focus', true, 20))
  await until('a change of the page', async () => (await page.textContent('#tiles')) !== before)
  expect(await button.evaluate((b) => b === document.activeElement), 'the focus stays through an update')
  await page.keyboard.press('Enter')
  await shows(page, '#told', 'Copied: ' + release)
  expect(await page.evaluate(() => navigator.clipboard.readText()) === release, 'the whole command is copied')
}

// itemsOfACause: a cause unfolds by keyboard to its items, none of which names a user, and stays unfolded.
async function itemsOfACause(page) {
  for (const text of ['held', 'mass_exit', 'parked', 'undetermined', '<img src=x onerror=alert(1)>', '\\u202eevil']) await shows(page, '#causes', text) // as text
  const cause = page.locator('#causes details', { hasText: 'undetermined' }).filter({ hasText: 'high_value_shoppers' })
  await cause.locator('summary').focus()
  await page.keyboard.press('Enter')
  await until('the items', async () => (await cause.locator('.items tbody tr').count()) === 1)
  const text = await cause.textContent()
  expect(text.includes('u•••') && !text.includes('usr_1'), 'the user of an item is masked')
  for (const part of ['does not say whether the user is in it', 'outbox retry --reason undetermined --computation high_value_shoppers']) expect(text.includes(part), `the cause says ${part}`)
  await new Promise((r) => setTimeout(r, 2500)) // an update
  expect(await cause.getAttribute('open') !== null && await cause.locator('.items tbody tr').count() === 1, 'an update folds nothing')
  const exits = page.locator('#causes details', { hasText: 'mass_exit' })
  await exits.locator('summary').click()
  await until('a page of exits', async () => (await exits.locator('.items tbody tr').count()) === 20)
  await exits.locator('.more').click()
  await until('more exits', async () => (await exits.locator('.items tbody tr').count()) > 20)
  await accessible(page, 'causes unfolded')
  await exits.locator('summary').click()
}

// manyAudiences: sixty are folded to a few, those with held changes first, and a filter finds any.
async function manyAudiences(page) {
  const names = () => page.locator('#audiences tbody th').allTextContents()
  expect((await names()).length === 12 && (await names())[0] === 'high_value_shoppers', `12 rows are shown, the one that is held first, not ${await names()}`)
  await page.click('#fold')
  expect((await names()).length > 60, 'all are shown')
  for (const key of ['3_' + long, '<script>alert(1)</script>', '\\u202ertl🛒']) expect((await names()).includes(key), `${key} is listed as text`)
  await page.click('#fold')
  await page.fill('#filter', 'AUDIENCE_59')
  await until('the filter to find one', async () => (await names()).join() === 'audience_59')
  await page.fill('#filter', '')
  await until('the rows to be back', async () => (await names()).length === 12)
}

// toldToSome: an audience says whom MoEngage is not told of, in its row and for a user.
async function toldToSome(page) {
  for (const [key, ...texts] of [
    ['told_to_few', 'MoEngage is told of 25 % of the users, holdout 10 %', 'of the held changes wait for the rollout'],
    ['told_to_pilots', 'MoEngage is told of 2 listed users'],
    ['asks_first', '20 members withheld without consent'],
  ]) {
    await page.fill('#filter', key)
    for (const text of texts) await shows(page, '#audiences tbody th', text)
  }
  await accessible(page, 'an audience that some are told of')
  await shot(page, 'some-1280')
  await page.fill('#filter', '')
  await until('the rows to be back', async () => (await page.locator('#audiences tbody th').count()) === 12)
  await page.fill('#user-id', 'usr_5')
  await page.click('#user-form button')
  for (const text of ['withheld without consent', 'the user is not in only_users_file']) await shows(page, '#user', text)
}

// gaps: a line ends where nothing is known, and does not reach the present without samples.
async function gaps(faults) {
  const page = await look({ width: 1280, height: 900 }, 'light', faults)
  const now = Date.now(), n = 60
  const at = Array.from({ length: n }, (_, i) => now - (n - i + 30) * 10e3) // the last five minutes ago
  const column = (of) => at.map((_, i) => of(i))
  const series = { at, audiences: [], pending: column(() => 5), parked: column(() => 0), held: column(() => 0), oldest_s: column(() => 1), received: column(() => 9), delivered: column((i) => i < 20 ? 9 : 0),
    p50_ms: column((i) => i < 20 || i >= 40 ? 30 : null), p95_ms: column(() => null) }
  await page.route('**/api/page/series*', (r) => r.fulfill({ json: series }))
  await page.goto(`http://127.0.0.1:${admin}/`)
  await page.waitForSelector('#charts path.line', { state: 'attached' })
  const chart = (i) => page.locator('#charts figure').nth(i)
  expect(await chart(3).locator('path.line.a').count() === 2 && await chart(3).locator('path.line.b').count() === 0, 'no line is drawn through an outage')
  const end = await chart(0).locator('path.line.a').evaluate((p) => p.getBBox().x + p.getBBox().width)
  const shade = await chart(0).locator('rect.unknown').evaluate((r) => [r.getBBox().x, r.getBBox().width])
  expect(Math.abs(end - shade[0]) < 2 && shade[1] > 50, `the line ends where the samples do: ${end}, ${shade}`)
  expect((await chart(0).locator('svg').getAttribute('aria-label')).includes('pending unknown since'), 'the label says that the present is unknown')
  await page.context().close()
}

// busy: a page that is refused a stream says so, tries again without haste, and goes on when there is room.
async function busy(faults) {
  const closing = new AbortController(), streams = []
  for (let i = 0; i < 64; i++) {
    const answer = await fetch(`http://127.0.0.1:${admin}/api/page/stream`, { signal: closing.signal })
    if (answer.status === 503) break
    streams.push(answer)
  }
  const page = await look({ width: 1280, height: 900 }, 'light', faults)
  let asked = 0
  page.on('request', (r) => { if (r.url().endsWith('/stream')) asked++ })
  await page.goto(`http://127.0.0.1:${admin}/`)
  await page.waitForSelector('#live.off')
  await shows(page, '#gone', 'The agent does not answer this page.')
  closing.abort()
  for (const s of streams) await s.body.cancel().catch(() => {})
  await page.waitForSelector('#live.on')
  expect(asked <= 4, `a refused page asks again without haste, not ${asked} times`)
  await page.context().close()
}

// frozen: an agent that neither answers nor ends is one that does not answer.
async function frozen(page, agent) {
  agent.process.kill('SIGSTOP')
  await page.waitForSelector('#live.off')
  await shows(page, '#gone', 'The agent does not answer this page since')
  agent.process.kill('SIGCONT')
  await page.waitForSelector('#live.on')
  await page.waitForSelector('#gone', { state: 'hidden' })
  expect(!await page.evaluate(() => document.body.classList.contains('stale')), 'with an answer the page is current again')
}

// stale: without an answer nothing stays green, and the page says what is old and what to type.
async function stale(page, config) {
  await shows(page, '#gone', 'The agent does not answer this page since')
  for (const text of ['Nothing yet. Segment sends the events again', `personasync --config ${config} status`, 'systemctl status personasync', 'docs/operating.md#personasyncdown']) await shows(page, '#gone', text)
  await shows(page, '#as-of', 'As it was at')
  expect((await page.title()).startsWith('✖ no answer'), 'the title says so')
  expect(!/accepted|answers$/m.test(await page.locator('#tiles dd.words').allInnerTexts().then((t) => t.join('\n'))), 'no tile claims that events are accepted')
  const ok = await page.evaluate(() => getComputedStyle(document.body).getPropertyValue('--ok'))
  expect(ok === await page.evaluate(() => getComputedStyle(document.body).getPropertyValue('--soft')), 'nothing is green')
  await accessible(page, 'without an answer')
  await shot(page, 'stale-1280')
}

// traffic is Segment for some seconds: enters and exits of three audiences, and an event that says nothing.
async function traffic() {
  for (let round = 0; round < 14; round++) {
    const events = []
    for (let u = 0; u < 20; u++) {
      events.push(audience('high_value_shoppers', `usr_${u + round * 5}`, true, round))
      if (round % 3 === 2) events.push(audience('high_value_shoppers', `usr_${u + round}`, false, round))
      if (u % 2 === 0) events.push(audience('cart_abandoners', `usr_${u}`, round % 2 === 0, round))
      if (round === 5) for (const key of ['nightly_winback', 'told_to_few', 'told_to_pilots', 'asks_first']) events.push(audience(key, `usr_${u}`, true, round))
    }
    for (const e of events) await post(e)
    await new Promise((r) => setTimeout(r, 1000))
  }
  for (const key of [...Array.from({ length: 60 }, (_, i) => i % 3 ? `audience_${i}` : i + '_' + long), '<script>alert(1)</script>', '\u202ertl🛒']) await post(audience(key, 'usr_1', true, 1))
  for (let u = 0; u < 60; u++) await post(audience('high_value_shoppers', `usr_${u}`, false, 30)) // more than the guard lets go
  await post({ ...audience('\u202eevil', 'usr_1', true, 99), traits: {} })
  const { traits, ...empty } = audience('high_value_shoppers', 'usr_1', true, 99)
  await post({ ...empty, traits: {} })
  await post({ ...audience('<img src=x onerror=alert(1)>', 'usr_1', true, 99), traits: {} })
  const trait = audience('lifetime_value', 'usr_1', 129.5, 3)
  trait.context.personas.computation_class = 'trait'
  await post(trait)
}

function audience(key, user, value, round) {
  const at = new Date(Date.now() - 60e3 + round * 1000 + (serial++ % 1000)).toISOString()
  return {
    type: 'identify', userId: user, messageId: `m-${serial}`, originalTimestamp: at, timestamp: at, traits: { [key]: value },
    context: { personas: { computation_class: 'audience', computation_id: `aud_${key}`, computation_key: key, space_id: 'spa_check' } },
  }
}

async function post(event) {
  const body = JSON.stringify(event)
  const answer = await fetch(`http://127.0.0.1:${ingest}/segment/webhook`, {
    method: 'POST', body,
    headers: { 'Content-Type': 'application/json', 'X-Signature': createHmac('sha1', 'hush').update(body).digest('hex') },
  })
  if (!answer.ok) throw new Error(`the agent answered ${answer.status}: ${await answer.text()}`)
}

// look opens a page that notes everything which should not be.
async function look(viewport, colorScheme, faults) {
  const context = await browser.newContext({ viewport, colorScheme, permissions: ['clipboard-read', 'clipboard-write'] })
  const page = await context.newPage()
  page.on('console', (m) => { if (!/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|503 \(Service|404 \(Not Found\)/.test(m.text())) faults.push(`console: ${m.text()}`) })
  page.on('pageerror', (e) => faults.push(`script: ${e.message}`))
  page.on('request', (r) => { if (new URL(r.url()).host !== `127.0.0.1:${admin}`) faults.push(`asked ${r.url()}`) })
  return page
}

// accessible runs axe, past the page's own policy, which would not let it in.
async function accessible(page, name) {
  const result = await page.evaluate(`(() => { const module = undefined; ${axe}; return axe.run() })()`)
  const serious = result.violations.filter((v) => ['serious', 'critical'].includes(v.impact))
  const told = serious.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(', ')} ${v.nodes[0].failureSummary}`)
  expect(serious.length === 0, `axe finds nothing serious (${name}): ${told.join('; ')}`)
  expect(result.passes.length > 15, `axe looked at something (${name})`)
}

async function shows(page, selector, text) {
  await until(`${selector} to say ${text}`, async () => (await page.textContent(selector)).includes(text))
}

async function figure(page, name) {
  return page.locator('#tiles div', { has: page.locator('dt', { hasText: name }) }).textContent()
}

async function shot(page, name) {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true })
}

async function ready() {
  await until('the agent to be ready', async () => (await fetch(`http://127.0.0.1:${admin}/readyz`)).ok)
}

// status asks with headers that fetch would not send.
async function status(path, headers) {
  const { request } = await import('node:http')
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port: admin, path, headers }, (r) => { r.resume(); resolve(r.statusCode) }).on('error', reject).end()
  })
}

function expect(holds, what) {
  if (!holds) throw new Error(`should be: ${what}`)
}

async function until(what, holds) {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await new Promise((r) => setTimeout(r, 100))) {
    if (await holds().catch(() => false)) return
  }
  throw new Error(`waited 20 s for ${what}, in vain`)
}

function start(...args) {
  const child = { process: spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] }), output: '' }
  child.gone = new Promise((resolve) => child.process.on('exit', resolve))
  for (const stream of [child.process.stdout, child.process.stderr]) stream.on('data', (d) => { child.output += d })
  children.push(child)
  return child
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject)
    server.listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => resolve(port)) })
  })
}
