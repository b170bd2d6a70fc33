// A MoEngage sandbox and agents of the program, on loopback, in a temporary folder. They are ended by end().
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const writeKey = 'wk_sdk_check'
export const workspace = 'SDKCHECK'

export class World {
  constructor(binary) {
    this.binary = binary
    this.folder = mkdtempSync(join(tmpdir(), 'sdk-'))
    this.children = []
  }

  async startSandbox() {
    const port = await freePort()
    this.moengage = `http://127.0.0.1:${port}`
    this.#start('sandbox', '--listen', `127.0.0.1:${port}`)
    await until('the sandbox to answer', async () => (await fetch(`${this.moengage}/sandbox/stats`)).ok)
  }

  // Starts an agent with lines of [ingest] and returns where it listens.
  async startAgent(ingest) {
    const [listen, admin] = [await freePort(), await freePort()]
    const name = `agent${this.children.length}`
    const config = join(this.folder, `${name}.toml`)
    writeFileSync(config, `
data_dir = "${join(this.folder, name)}"
[ingest]
listen = "127.0.0.1:${listen}"
${ingest}
[admin]
listen = "127.0.0.1:${admin}"
[schedule]
max_delay = "10ms"
[moengage]
workspace_id = "${workspace}"
api_key = "not-a-secret"
base_url = "${this.moengage}"
`, { mode: 0o600 })
    this.#start('run', '--config', config)
    await until('the agent to be ready', async () => (await fetch(`http://127.0.0.1:${admin}/readyz`)).ok)
    return { url: `http://127.0.0.1:${listen}`, host: `127.0.0.1:${listen}` }
  }

  #start(...args) {
    const child = { process: spawn(this.binary, args, { stdio: ['ignore', 'pipe', 'pipe'] }), output: '' }
    child.gone = new Promise((resolve) => child.process.on('exit', resolve))
    for (const stream of [child.process.stdout, child.process.stderr]) stream.on('data', (d) => { child.output += d })
    this.children.push(child)
  }

  async profile(user) {
    const answer = await fetch(`${this.moengage}/sandbox/users/${encodeURIComponent(user)}`)
    return answer.ok ? answer.json() : { attributes: {}, events: [] }
  }

  // Waits until MoEngage holds these attributes of a user, and an event of each of these names.
  async arrived(user, attributes, events = []) {
    await until(`${JSON.stringify(attributes)} and the events ${JSON.stringify(events)} of ${user} at MoEngage`, async () => {
      const p = await this.profile(user)
      const names = (p.events ?? []).map((e) => e.action)
      return Object.entries(attributes).every(([name, value]) => p.attributes[name] === value) && events.every((name) => names.includes(name))
    })
  }

  async end() {
    for (const c of this.children) c.process.kill('SIGTERM')
    await Promise.all(this.children.map((c) => c.gone))
    rmSync(this.folder, { recursive: true })
  }
}

// Runs a check in a world of its own; says what went wrong with what the programs said.
export async function inWorld(check, success) {
  const binary = process.argv[2]
  if (!binary) {
    console.error(`usage: node ${process.argv[1]} PATH-TO-PERSONASYNC`)
    process.exit(2)
  }
  const world = new World(binary)
  try {
    await world.startSandbox()
    await check(world)
    console.log(success)
  } catch (err) {
    console.error(err)
    for (const c of world.children) console.error(c.output)
    process.exitCode = 1
  } finally {
    await world.end()
  }
}

export function personas(key) {
  return { computation_class: 'audience', computation_id: `aud_${key}`, computation_key: key, namespace: 'spa_check', space_id: 'spa_check' }
}

export async function until(what, holds) {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await new Promise((r) => setTimeout(r, 50))) {
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
