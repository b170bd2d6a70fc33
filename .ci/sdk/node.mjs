// Segment's SDK for Node, its host changed and nothing else, sends calls of the shape Engage sends.
import { Analytics } from '@segment/analytics-node'
import { inWorld, personas, writeKey } from './world.mjs'

await inWorld(async (world) => {
  const agent = await world.startAgent(`write_keys = ["${writeKey}"]`)
  const sdk = new Analytics({ writeKey, host: agent.url, flushAt: 2, maxRetries: 0 })
  const failures = []
  sdk.on('error', (err) => failures.push(err))
  sdk.identify({ userId: 'usr_node', traits: { high_value: true }, context: { personas: personas('high_value') } })
  sdk.track({
    userId: 'usr_node', event: 'Cart Went Cold',
    properties: { audience_key: 'cart_abandoners', cart_abandoners: true, items: 3 },
    context: { personas: personas('cart_abandoners') },
  })
  await sdk.closeAndFlush({ timeout: 10_000 })
  if (failures.length > 0) throw new Error(`the SDK reports: ${JSON.stringify(failures)}`)
  await world.arrived('usr_node', { high_value: true }, ['Cart Went Cold'])
  const { events } = await world.profile('usr_node')
  if (events[0].attributes.items !== 3) throw new Error(`the event has lost its properties: ${JSON.stringify(events)}`)
}, 'the SDK for Node: an identify arrived as an attribute and a track as an event')
