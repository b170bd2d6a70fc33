// Segment's SDK for Go.
import { execFileSync } from 'node:child_process'
import { inWorld, writeKey } from './world.mjs'

await inWorld(async (world) => {
  const agent = await world.startAgent(`write_keys = ["${writeKey}"]`)
  execFileSync('go', ['run', '.', agent.url, writeKey, 'usr_go'], { cwd: new URL('go', import.meta.url), timeout: 120_000 })
  await world.arrived('usr_go', { vip: true }, ['Audience Entered'])
}, 'the SDK for Go: an identify arrived as an attribute and a track as an event')
