// The status page: is told of the present every two seconds, asks for the past each minute, and says so when no answer comes.
import { $, ago, bytes, clock, command, copyButton, count, el, millis, moment, number, patch, prose, say, second, span } from './dom.js'
import { draw, members, moves } from './charts.js'

let present = null
let heard = 0 // when the present came, by this browser's clock
let skew = 0  // the agent's clock less this browser's
const now = () => Date.now() + skew

// --- what is wrong ---

const words = { critical: 'Critical:', warning: 'Warning:', info: 'Info:' }

function verdict(v) {
  const [, first, rest] = v.text.match(/^(.+?[.:?] )(?=[A-Z])(.*)$/s) ?? [, v.text, '']
  const li = el('li', { class: 'verdict ' + v.level, 'data-key': v.name || 'ok' },
    el('p', { class: 'text' }, el('span', { class: 'word' }, words[v.severity] ?? 'Good.'), el('strong', {}, ...prose(first)), ...prose(rest)))
  if (v.lost) {
    li.append(el('dl', {}, fact('Lost', v.lost), fact('Since', v.since ? `${moment(v.since)}, for ${span(Math.max(0, (now() - Date.parse(v.since)) / 1000))}` : 'unknown'),
      fact('By itself', v.by_itself + (v.next ? ` Next at ${next(v.next)}.` : ''))))
  }
  if (v.commands.length > 0) li.append(el('ul', { class: 'commands', 'aria-label': 'What to type' }, ...v.commands.map((c) => el('li', {}, command(c)))))
  if (v.runbook) li.append(el('p', { class: 'note' }, `${v.name}, in the runbook: `, el('span', { class: 'id' }, v.runbook)))
  return li
}
const fact = (name, text) => el('div', {}, el('dt', {}, name), el('dd', {}, ...prose(text)))

// next is a moment to come, with what is left until then.
function next(text) {
  const left = (Date.parse(text) - now()) / 1000
  const when = left > 86400 ? moment(text) : second(Date.parse(text))
  return left > 0 ? `${when}, in ${span(left)}` : `${when}, which is due`
}

// --- now ---

function show(s) {
  const st = s.status
  const worst = s.verdicts[0].level
  document.title = (worst === 'ok' ? '' : worst === 'bad' ? '✖ ' : '! ') + 'personasync'
  say($('facts'), `${s.host ? 'on ' + s.host + ', ' : ''}${st.version}, up ${span(st.uptime_s)}, ${number(st.users)} user${st.users === 1 ? '' : 's'}`)
  patch($('verdicts'), ...s.verdicts.filter((v) => !(s.setup && v.name === 'no_event_yet')).map(verdict))
  $('setup').hidden = !s.setup
  if (s.setup) patch($('steps'), ...steps(s))
  patch($('tiles'), ...tiles(s))
  showCauses(s)
  showComputations(s)
  rows('jobs', s.jobs.map((j) => [[j.job, 'wide id'], [j.spec, 'id'], [j.running ? 'running' : j.next ? `${j.local}, in ${span((Date.parse(j.next) - now()) / 1000)}` : 'on demand', 'n wrap'], [j.last ? ago(j.last, now()) : 'never', 'n'], [number(j.missed), 'n']]))
  say($('jobs-note'), s.jobs.length === 0 ? 'No schedule: changes leave as they come.'
    : st.failed_jobs.map((j) => `${j.job} failed ${ago(j.failed_at, now())} (${j.code}): ${j.error}`).join(' '))
  ledger(st)
}

const sample = `'{"type":"identify","userId":"usr_1","traits":{"vip":true},"context":{"personas":{"computation_class":"audience","computation_key":"vip"}}}'`

// steps are what is to do before the first event.
function steps(s) {
  const c = s.setup
  const secret = c.open ? 'ingest.auth is off: deliveries of any sender are accepted.'
    : c.secret ? 'ingest.shared_secret is set: give Segment the same one, in the field “Shared Secret”.' + (c.token ? '' : ' Set ingest.bearer_token, too, if you turn batching on.')
      : c.token ? 'ingest.bearer_token is set: give Segment the header “Authorization: Bearer …” with the same token.'
        : 'Neither ingest.shared_secret nor ingest.bearer_token is set: deliveries are answered 503, and Segment sends them again.'
  return [
    el('li', {}, el('strong', {}, 'Connect Segment.'), ' Add the destination Webhooks (Actions), map the whole event ($.), and paste this address: ', command(c.url),
      c.local ? ` Replace YOUR-HOST: the agent listens at ${c.listen}, which Segment does not reach, so put a proxy with TLS before it. ` : ' ',
      el('span', { class: c.secret || c.token || c.open ? '' : 'attention' }, secret), ' More is in docs/connecting-segment.md.'),
    el('li', {}, el('strong', {}, 'Try a delivery before it is live.'), ' This shows how it is read and what MoEngage would be told. Nothing is stored or sent. ',
      command(`echo ${sample} | ${s.command} preview -`)),
    el('li', {}, el('strong', {}, 'Send a test event from Segment and see it come.'), ' This page shows it within two seconds, and so does ', command(`${s.command} tail --follow`),
      ' If it does not come, ', command(`${s.command} doctor`), ' tests the address, the configuration and MoEngage.'),
  ]
}

function tiles(s) {
  const st = s.status
  const m = { ok: 'answers', failing: 'failing', unknown: 'not asked yet' }[st.moengage.state]
  const asked = s.requests_last_minute, answered = asked > s.failures_last_minute
  return [
    tile('Events', st.ready ? 'accepted' : 'refused', st.unapplied ? `${number(st.unapplied)} not applied yet` : '', st.ready ? 'words good' : 'words alarm'),
    st.store?.role === 'door' ? tile('MoEngage', 'the writer asks', `on ${st.store.writer || 'no agent'}`, 'words') : tile('MoEngage', m, asked ? `${number(asked)} requests, ${number(s.failures_last_minute)} failed, last minute` : 'no request in the last minute', { failing: 'words alarm', ok: 'words good' }[st.moengage.state] ?? 'words'),
    tile('Pending changes', number(st.pending), 'drain: ' + s.forecast.drain),
    tile('Oldest pending', span(st.oldest_pending_s), st.next_flush ? 'next flush ' + clock(Date.parse(st.next_flush)) + ' UTC' : ''),
    tile('Held', number(st.held), heldText(st), decide(st) ? 'attention' : ''),
    tile('Parked', number(st.parked), st.parked ? 'until you decide' : '', st.parked ? 'attention' : ''),
    tile('Received a minute', number(s.received_per_minute), `${number(st.received)} ever, ${number(st.rejected)} refused`, st.conditions.some((c) => c.name === 'intake_refused') ? 'attention' : ''),
    tile('Delivered a minute', number(s.delivered_per_minute), `${number(st.delivered)} ever`),
    tile('MoEngage answers in', answered ? millis(s.latency_p50_ms) : '–', answered ? `95 % within ${millis(s.latency_p95_ms)}` : ''),
    ...(st.notify ? [notifyTile(st.notify.receivers)] : []),
    st.store ? storeTile(st.store) : tile('Disk lasts', s.forecast.disk, `data ${bytes(s.space.data_bytes)}${s.space.max_data_bytes ? ' of ' + bytes(s.space.max_data_bytes) : ''}, ${bytes(s.space.free_bytes)} free`, 'words'),
  ]
}

function storeTile(p) {
  const who = p.error ? 'no answer' : !p.writer ? 'nobody writes' : p.role === 'writer' ? 'writes here' : 'another writes'
  const term = !p.writer ? (p.no_writer_since ? `since ${moment(p.no_writer_since)}, ` : '') : `${p.role === 'writer' ? '' : p.writer + ', '}term ${p.term}, `
  const more = p.error || `${term}${p.doors.length === 1 ? '1 agent' : p.doors.length + ' agents'} connected, a statement takes ${(p.round_trip_seconds * 1000).toFixed(1)} ms`
  return tile('PostgreSQL', who, more, p.error || !p.writer ? 'words alarm' : 'words good')
}

function notifyTile(receivers) {
  const broken = receivers.filter((r) => r.failures > 0).map((r) => r.receiver)
  const last = receivers.filter((r) => r.told).sort((a, b) => a.told_at < b.told_at ? 1 : -1)[0]
  const withheld = receivers.find((r) => r.withheld)
  const more = broken.length ? broken.join(', ') + ' failing' : withheld ? 'no heartbeat: ' + withheld.withheld
    : last ? `last: ${last.told} ${last.state}, ${moment(last.told_at)}` : 'nothing told yet'
  return tile('Notifications', broken.length ? 'failing' : 'on', more, broken.length ? 'words alarm' : withheld ? 'words attention' : 'words good')
}

function tile(name, value, more, kind) {
  const d = el('div', {}, el('dt', {}, name))
  const classes = (kind ?? '').split(' ')
  for (const c of classes) if (c === 'alarm' || c === 'attention' || c === 'good') d.classList.add(c)
  d.append(el('dd', classes.includes('words') ? { class: 'words' } : {}, value))
  if (more) d.append(el('dd', { class: 'small' }, more))
  return d
}

function rows(id, list) {
  const table = $(id)
  patch(table.tBodies[0], ...list.map((cells) => el('tr', {}, ...cells.map(([content, kind], i) => el(i === 0 ? 'th' : 'td', { ...(i === 0 ? { scope: 'row' } : {}), ...(kind ? { class: kind } : {}) }, content)))))
  table.parentElement.hidden = list.length === 0
}

// --- held and parked ---

// decide counts the held changes that do not leave by themselves.
function decide(st) { return st.held - st.held_rollout - st.held_paused }

function heldText(st) {
  return decide(st) ? 'until you decide' : st.held_paused ? 'paused' : st.held ? 'for a rollout' : ''
}

function showCauses(s) {
  patch($('causes'), ...s.causes.map((c) => el('details', { class: 'cause', 'data-key': JSON.stringify([c.state, c.reason, c.computation]) },
    el('summary', {}, el('span', { class: 'state' }, c.state), el('span', { class: 'n' }, count(c.count)), el('span', { class: 'id' }, c.reason), el('span', { class: 'id of' }, c.computation || 'no computation'),
      el('span', { class: 'note' }, c.first ? `${c.kinds}, the oldest ${ago(c.first, now())}` : 'too many to tell apart')),
    el('p', {}, ...prose([c.means, c.do].filter(Boolean).join(' '))),
    el('ul', { class: 'commands', 'aria-label': 'What to type' }, ...c.commands.map((x) => el('li', {}, command(x)))),
    el('div', { class: 'items', 'data-own': '' }))))
  say($('causes-note'), s.causes.length > 0 ? (s.causes_more ? `${count(s.causes_more)} more causes: ${s.command} outbox stats` : '')
    : s.status.held + s.status.parked > 0 ? (s.status.store?.role === 'door' ? 'The page of the writer lists them, and here personasync outbox stats.' : 'They are being counted.') : 'Nothing is held or parked.')
}

// An opened cause shows its items, and asks for them again whenever it is opened.
$('causes').addEventListener('toggle', (e) => { if (e.target.open) showItems(e.target, '') }, true)

async function showItems(cause, cursor) {
  const [state, reason, computation] = JSON.parse(cause.dataset.key)
  const box = cause.querySelector('.items')
  if (reason === 'none' || reason === 'uncounted') return
  try {
    const answer = await fetch('/api/page/items?' + new URLSearchParams({ state, reason, computation, cursor }))
    const body = await answer.json()
    if (!answer.ok) throw new Error(body.message)
    if (!cursor) box.replaceChildren(itemTable(reason))
    box.querySelector('tbody').append(...body.items.map(itemRow))
    box.querySelector('.more')?.remove()
    if (!body.next) return
    const more = el('button', { type: 'button', class: 'more' }, 'Show more')
    more.addEventListener('click', () => showItems(cause, body.next))
    box.append(more)
  } catch (err) {
    box.replaceChildren(el('p', { class: 'note' }, `The items cannot be shown: ${err.message}`))
  }
}

const itemTable = (reason) => el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Items of ' + reason }, el('table', {},
  el('thead', {}, el('tr', {}, ...['Change', 'User', 'Kind', 'Transition', 'Event time', 'Received', 'Attempts', 'Show all of it'].map((h) => el('th', { scope: 'col' }, h)))), el('tbody', {})))
const itemRow = (i) => el('tr', {}, el('th', { scope: 'row', class: 'id' }, i.id), el('td', { class: 'id' }, i.user), el('td', {}, i.kind), el('td', {}, i.transition), el('td', {}, moment(i.event_time)),
  el('td', {}, moment(i.received_at)), el('td', { class: 'n' }, count(i.attempts)), el('td', {}, copyButton(i.command, 'Copy command')))

// --- audiences and traits ---

const folded = 12
let unfolded = false
let everything = null // all computations, asked for when a filter looks beyond those of the page
let sparks = new Map()

function showComputations(s) {
  const wanted = $('filter').value.trim().toLowerCase()
  const list = (wanted && everything || s.computations).filter((c) => c.key && (c.key + '\n' + c.id).toLowerCase().includes(wanted))
  const shown = unfolded || wanted ? list.slice(0, 100) : list.slice(0, folded)
  rows('audiences', shown.map((c) => {
    const trait = c.class === 'trait'
    const spark = sparks.get(JSON.stringify([c.space, c.key, c.id]))
    return [
      [named(c), 'wide id'], [trait ? 'trait' : number(c.members), 'n'], [spark ? spark.members() : '', 'spark'], [spark ? spark.moves() : '', 'spark'],
      [trait ? '' : number(c.entered), 'n'], [trait ? '' : number(c.exited), 'n'], [number(c.held), c.held ? 'n attention' : 'n'], [ago(c.last_event, now()), 'n'],
    ]
  }))
  const all = s.computations.length + s.more
  $('find').hidden = all <= folded
  $('fold').hidden = Boolean(wanted) || s.computations.length <= folded
  say($('fold'), unfolded ? 'Show fewer' : `Show ${s.more ? 'more' : 'all ' + count(all)}`)
  $('fold').setAttribute('aria-expanded', String(unfolded))
  say($('audiences-note'), all === 0 ? 'None seen yet: one appears with its first event.'
    : shown.length < list.length || s.more || wanted ? `${count(shown.length)} of ${count(all)} shown. ${s.command} audience list shows all.` : '')
}

// named is the key, and whom MoEngage is not told of.
function named(c) {
  const r = c.rollout, percent = (share) => `${Number((100 * share).toFixed(2))} %`
  const notes = [
    r && `MoEngage is told of ${r.share < 1 || r.listed === undefined ? percent(r.share) + ' of ' : ''}${r.listed === undefined ? 'the users' : count(r.listed) + ' listed users'}${r.holdout ? `, holdout ${percent(r.holdout)}` : ''}`,
    r?.held && `${count(r.held)} of the held changes wait for the rollout`,
    c.withheld && `${count(c.withheld)} ${c.class === 'trait' ? 'values' : 'members'} withheld${r?.holdout ? ' (holdout, or no consent)' : ' without consent'}`,
  ].filter(Boolean)
  return notes.length ? el('span', {}, el('bdi', {}, c.key), el('span', { class: 'note' }, notes.join('; '))) : c.key
}

$('fold').addEventListener('click', () => {
  unfolded = !unfolded
  if (present) showComputations(present)
})
$('filter').addEventListener('input', async () => {
  if (!present) return
  if (present.more && !everything) {
    everything = await fetch('/api/computations').then((r) => r.ok ? r.json() : null, () => null)
    setTimeout(() => { everything = null }, 60e3) // asked for again
  }
  showComputations(present)
})
$('find').addEventListener('submit', (e) => e.preventDefault())

function ledger(st) {
  const book = (name, sum, terms) => {
    const p = el('p', { class: 'books' }, el('span', { class: 'sum' }, `${name} ${count(sum)} =`))
    for (const [k, v] of Object.entries(terms).filter(([, v]) => v > 0)) p.append(el('span', {}, `${count(v)} `, el('i', {}, k)))
    return p
  }
  const { accepted, ...events } = st.events
  const { created, ...changes } = st.changes
  patch($('ledger'), book('events', accepted, events), book('changes', created, changes))
}

// --- the past ---

let seconds = 3600
let chosen = false // the range, by somebody
let past = null

const drawPast = () => { if (past) draw($('charts'), past, seconds, now()) }
new ResizeObserver(drawPast).observe($('charts'))

async function loadPast() {
  const answer = await fetch('/api/page/series?seconds=' + seconds)
  if (!answer.ok) throw new Error(`the past: ${answer.status}`)
  const series = await answer.json()
  if (!chosen && series.at.length > 0 && now() - series.at[0] < 900e3) return choose(900) // a young agent
  past = series
  drawPast()
  sparks = new Map(series.audiences.map((a) => [JSON.stringify([a.space, a.key, a.id]), {
    members: () => members(series.at, a, seconds, now()),
    moves: () => moves(series.at, a, seconds, now()),
  }]))
  if (present) showComputations(present)
}

for (const button of $('ranges').children) button.addEventListener('click', () => { choose(Number(button.dataset.seconds)).catch(disconnected) })

function choose(range) {
  chosen = true
  seconds = range
  for (const b of $('ranges').children) b.setAttribute('aria-pressed', String(Number(b.dataset.seconds) === range))
  return loadPast()
}

// --- one user ---

$('user-form').addEventListener('submit', async (e) => {
  e.preventDefault()
  const id = $('user-id').value
  try {
    const answer = await fetch('/api/page/user?id=' + encodeURIComponent(id))
    const body = await answer.json()
    if (answer.ok) showUser(body)
    else $('user').replaceChildren(el('p', { class: 'note' }, answer.status === 404 ? 'Nothing is known of this user.' : body.message))
  } catch {
    $('user').replaceChildren(el('p', { class: 'note' }, 'The agent does not answer.'))
  }
})

function showUser(u) {
  const value = (v) => v === null ? '' : typeof v === 'string' ? v : JSON.stringify(v)
  const change = (c) => [c.id, c.state, c.kind, c.computation, c.transition, value(c.value), moment(c.event_time)]
  const head = ['Change', 'State', 'Kind', 'Computation', 'Transition', 'Value', 'Event time']
  const outcome = (c) => [c.reason, c.attempts > 1 ? `after ${c.attempts} attempts` : ''].filter(Boolean).join(' ')
  $('user').replaceChildren(
    el('p', {}, 'User ', el('span', { class: 'id' }, u.user), present && !present.show_users ? `. Identifiers and values are masked here; ${present.command} user show ID shows them.` : ''),
    ...section('Memberships', ['Computation', 'In', 'Since', 'MoEngage was told'], u.memberships.map((m) => [m.computation, m.in ? 'in' : 'out', moment(m.since), ({ in: 'in', out: 'out', nothing: 'nothing', uncertain: 'not certain' }[m.told] ?? '') + (m.delivered ? '' : m.withheld ? ', withheld' + (m.not_told ? '. ' + m.not_told : ' without consent') : m.not_told ? '. ' + m.not_told : ' (not this yet)')])),
    ...section('Traits', ['Trait', 'Value', ...(u.traits_not_told ? ['Not told to MoEngage'] : [])], Object.entries(u.traits).map(([k, v]) => [k, value(v), ...(u.traits_not_told ? [u.traits_not_told[k] ?? ''] : [])])),
    ...section('Waiting', [...head, 'Why it waits'], u.pending.map((c) => [...change(c), c.waits ?? ''])),
    ...section('History', [...head, 'Why'], u.history.map((c) => [...change(c), outcome(c)])),
  )
}

function section(title, head, list) {
  if (list.length === 0) return []
  return [el('h3', {}, title), el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': title }, el('table', {},
    el('thead', {}, el('tr', {}, ...head.map((h) => el('th', { scope: 'col' }, h)))),
    el('tbody', {}, ...list.map((cells) => el('tr', {}, ...cells.map((c, i) => el(i ? 'td' : 'th', i ? (c.length > 40 ? { class: 'long' } : {}) : { scope: 'row', class: 'id' }, c)))))))]
}

// --- live ---

// patience is how long an answer may be late, and how often another connection is tried: the agent tells every two seconds.
const patience = 10e3
let minute = 0
let silence = 0
let stream = null

// answered notes that the agent spoke.
function answered() {
  heard = Date.now()
  clearTimeout(silence)
  silence = setTimeout(again, patience)
  $('live').className = 'on'
  say($('live-text'), 'live')
}

// again tries another connection: a refusal ends one for good, and nothing is heard of one that was cut on the way.
function again() {
  listen()
  disconnected()
}

// disconnected says that what is shown is old.
function disconnected() {
  clearTimeout(silence)
  silence = setTimeout(again, patience)
  const at = heard + skew, since = present ? ` since ${second(at)}` : ''
  $('live').className = 'off'
  say($('live-text'), present ? `no answer since ${second(at)}` : 'no answer')
  const prefix = present?.command ?? 'personasync'
  old('✖ no answer: personasync', {
    name: 'not_running', level: 'bad', severity: 'critical',
    text: `The agent does not answer this page${since}${present ? `, for ${span((Date.now() - heard) / 1000)}. What is shown below is old.` : '.'} It may have ended, or only the way from here to it is cut.`,
    lost: 'Nothing yet. Segment sends the events again for about four hours, then it discards them.',
    since: present ? new Date(at).toISOString() : '', by_itself: 'The page tries again every few seconds, and goes on when the agent answers.', next: '',
    commands: [`${prefix} status`, 'systemctl status personasync', 'journalctl -u personasync -n 50'], runbook: 'docs/operating.md#personasyncdown',
  })
}

// old shows a verdict above what is no longer known to be so. Nothing stays green, and the charts go on without a line.
function old(title, v) {
  document.title = title
  document.body.classList.add('stale')
  patch($('gone'), verdict(v))
  $('gone').hidden = false
  say($('as-of'), present ? `As it was at ${second(Date.parse(present.now))}:` : '')
  for (const dd of document.querySelectorAll('#tiles .good dd.words, #tiles .alarm dd.words')) say(dd, 'unknown now')
  drawPast()
}

function listen() {
  stream?.close()
  stream = new EventSource('/api/page/stream')
  stream.addEventListener('now', (e) => {
    const was = present
    present = JSON.parse(e.data)
    answered()
    skew = Date.parse(present.now) - heard
    document.body.classList.remove('stale')
    $('gone').hidden = true
    say($('as-of'), '')
    const m = Math.floor(Date.parse(present.now) / (seconds <= 900 ? 5e3 : 60e3))
    if (!was || m !== minute) loadPast().catch(disconnected)
    minute = m
    show(present)
  })
  stream.addEventListener('fault', (e) => { // it answers, and its store does not
    answered()
    old('✖ personasync', JSON.parse(e.data))
  })
  stream.addEventListener('error', disconnected)
}
listen()

// A computer that slept shows the past until its timers run again.
document.addEventListener('visibilitychange', () => { if (!document.hidden && present && Date.now() - heard > patience) disconnected() })
