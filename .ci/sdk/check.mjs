// An unmodified Segment SDK, its host changed and nothing else, sends calls of the shape Engage sends.
// They must arrive at MoEngage (the sandbox) as an attribute and as an event.
//
//   node check.mjs PATH-TO-PERSONASYNC
//
// Starts and ends its own agent and sandbox, on loopback, in a temporary folder.
import { Analytics } from '@segment/analytics-node'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const binary = process.argv[2]
if (!binary) {
  console.error('usage: node check.mjs PATH-TO-PERSONASYNC')
  process.exit(2)
}
const folder = mkdtempSync(join(tmpdir(), 'sdk-'))
const children = []

try {
  await check()
  console.log('the SDK\'s identify arrived as an attribute and its track as an event')
} catch (err) {
  console.error(err.message)
  for (const c of children) console.error(c.output)
  process.exitCode = 1
} finally {
  for (const c of children) c.process.kill('SIGTERM')
  await Promise.all(children.map((c) => c.gone))
  rmSync(folder, { recursive: true })
}

async function check() {
  const [ingest, admin, moengage] = [await freePort(), await freePort(), await freePort()]
  start('sandbox', '--listen', `127.0.0.1:${moengage}`)
  const config = join(folder, 'agent.toml')
  writeFileSync(config, `
data_dir = "${join(folder, 'data')}"
[ingest]
listen = "127.0.0.1:${ingest}"
write_keys = ["wk_sdk_check"]
[admin]
listen = "127.0.0.1:${admin}"
[moengage]
workspace_id = "SDKCHECK"
api_key = "not-a-secret"
base_url = "http://127.0.0.1:${moengage}"
`, { mode: 0o600 })
  start('run', '--config', config)
  await until('the agent to be ready', async () => (await fetch(`http://127.0.0.1:${admin}/readyz`)).ok)

  const sdk = new Analytics({ writeKey: 'wk_sdk_check', host: `http://127.0.0.1:${ingest}`, flushAt: 2, maxRetries: 0 })
  const failures = []
  sdk.on('error', (err) => failures.push(err))
  sdk.identify({ userId: 'usr_sdk_1', traits: { high_value: true }, context: { personas: personas('high_value') } })
  sdk.track({
    userId: 'usr_sdk_1', event: 'Cart Went Cold',
    properties: { audience_key: 'cart_abandoners', cart_abandoners: true, items: 3 },
    context: { personas: personas('cart_abandoners') },
  })
  await sdk.closeAndFlush({ timeout: 10_000 })
  if (failures.length > 0) throw new Error(`the SDK reports: ${JSON.stringify(failures)}`)

  await until('both to arrive at MoEngage', async () => {
    const answer = await fetch(`http://127.0.0.1:${moengage}/sandbox/users/usr_sdk_1`)
    if (!answer.ok) return false
    const profile = await answer.json()
    const event = (profile.events ?? []).find((e) => e.action === 'Cart Went Cold')
    return profile.attributes?.high_value === true && event?.attributes?.items === 3
  })
}

function personas(key) {
  return { computation_class: 'audience', computation_id: `aud_${key}`, computation_key: key, namespace: 'spa_check', space_id: 'spa_check' }
}

function start(...args) {
  const child = { process: spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] }), output: '' }
  child.gone = new Promise((resolve) => child.process.on('exit', resolve))
  for (const stream of [child.process.stdout, child.process.stderr]) stream.on('data', (d) => { child.output += d })
  children.push(child)
}

async function until(what, holds) {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await new Promise((r) => setTimeout(r, 100))) {
    if (await holds().catch(() => false)) return
  }
  throw new Error(`waited 20 s for ${what}, in vain`)
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject)
    server.listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => resolve(port)) })
  })
}
