// Segment's own destinations, as Segment runs them: Webhooks (Actions), Extensible Webhook and Webhook
// Audiences deliver to the agent, each event and batch by every method; the destination for MoEngage
// delivers to the sandbox.
import { createRequire } from 'node:module'
import { inWorld, personas, workspace } from './world.mjs'

const require = createRequire(import.meta.url)
const { Destination } = require('@segment/actions-core')
const destinations = '@segment/action-destinations/dist/destinations'
const load = (name) => new Destination(require(`${destinations}/${name}`).default)

const sharedSecret = 'a-secret-for-the-check'
const token = 'a-token-for-the-check'
const entire = { '@path': '$.' }

await inWorld(async (world) => {
  const signed = await world.startAgent(`shared_secret = "${sharedSecret}"`)
  const bearer = await world.startAgent(`bearer_token = "${token}"`)
  const authorization = { Authorization: `Bearer ${token}` }

  for (const name of ['webhook', 'webhook-extensible']) {
    for (const method of ['POST', 'PUT', 'PATCH']) {
      const mapping = { url: `${signed.url}/segment/webhook`, method, data: entire }
      await single(name, event(name, method), mapping)
      await batch(name, [event(name, method, 'batch'), event(name, method, 'next')], mapping)
      const to = { ...mapping, url: `${bearer.url}/segment/webhook`, headers: authorization }
      await batch(name, [event(name, method, 'token')], to)
      for (const which of ['alone', 'batch', 'next', 'token']) await world.arrived(user(name, method, which), { vip: true })
    }
  }

  // Webhook Audiences signs what it sends before it adds the extras, so only a token covers it.
  const audiences = { url: `${bearer.url}/segment/webhook`, method: 'POST', data: entire, headers: authorization }
  await single('webhook-audiences', withExtras('alone'), audiences)
  await batch('webhook-audiences', [withExtras('batch')], audiences)
  for (const which of ['alone', 'batch']) await world.arrived(user('webhook-audiences', 'POST', which), { vip: true })
  const refused = await single('webhook-audiences', withExtras('signed'), { ...audiences, url: `${signed.url}/segment/webhook`, headers: {} })
    .then(() => 'accepted', (err) => err.response?.status ?? String(err))
  if (refused !== 401) throw new Error(`extras under a shared secret: ${refused}, and the docs say 401`)

  await ownDestination(world)
}, 'the destinations: webhook, extensible and audiences reach the agent alone, in batches and by every method; Segment\'s own reaches the sandbox')

function user(name, method, which = 'alone') { return `usr_${name}_${method}_${which}` }

function event(name, method, which) {
  const now = new Date().toISOString()
  return {
    type: 'identify', userId: user(name, method, which), messageId: `personas_${user(name, method, which)}`,
    timestamp: now, originalTimestamp: now, receivedAt: now, sentAt: null,
    traits: { vip: true, note: 'ümläut <&> \u2028 "quoted"' }, context: { personas: personas('vip') },
  }
}

// The extras of an audience come to the destination in the event's own context.
function withExtras(which) {
  const e = event('webhook-audiences', 'POST', which)
  e.context.personas.audience_settings = { extras: '{"team":"growth"}' }
  return e
}

async function single(name, event, mapping) {
  return load(name).executeAction('send', { event, mapping, settings: { sharedSecret }, auth: {} })
}

async function batch(name, events, mapping) {
  const results = await load(name).executeBatch('send', { events, mapping: { ...mapping, enable_batching: true }, settings: { sharedSecret }, auth: {} })
  const bad = results.filter((r) => r.status !== 200)
  if (bad.length > 0) throw new Error(`a batch of ${name} was answered ${JSON.stringify(bad)}`)
}

// The destination knows MoEngage's hosts by a table, which is pointed at the sandbox.
async function ownDestination(world) {
  require(`${destinations}/moengage/regional-endpoints`).endpoints.DC_01 = world.moengage
  const settings = { api_id: workspace, api_key: 'not-a-secret', region: 'DC_01' }
  const own = load('moengage')
  await own.testAuthentication(settings)
  const at = new Date().toISOString()
  await own.executeAction('identifyUser', {
    event: { type: 'identify', userId: 'usr_own', traits: { vip: true }, timestamp: at }, settings,
    mapping: { type: { '@path': '$.type' }, userId: { '@path': '$.userId' }, traits: { '@path': '$.traits' }, timestamp: { '@path': '$.timestamp' } },
  })
  await own.executeAction('trackEvent', {
    event: { type: 'track', userId: 'usr_own', event: 'Audience Entered', properties: { audience_key: 'vip' }, timestamp: at }, settings,
    mapping: {
      type: { '@path': '$.type' }, event: { '@path': '$.event' }, userId: { '@path': '$.userId' },
      properties: { '@path': '$.properties' }, timestamp: { '@path': '$.timestamp' },
    },
  })
  await world.arrived('usr_own', { vip: true }, ['Audience Entered'])
}
