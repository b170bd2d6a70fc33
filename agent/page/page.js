// The status page: asks for the past once and again each minute, is told of the present every two
// seconds, and only ever shows text as text.
'use strict'

const $ = (id) => document.getElementById(id)
const SVG = 'http://www.w3.org/2000/svg'

// el makes an element: el('td', {class: 'n'}, 'text', child…).
function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children)
}
function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children)
}
function fill(node, attributes, children) {
  for (const [k, v] of Object.entries(attributes ?? {})) node.setAttribute(k, v)
  node.append(...children)
  return node
}

// renew changes what is in a node only if it would look different, so that a selection survives.
function renew(node, ...children) {
  const next = node.cloneNode(false)
  next.append(...children)
  if (next.innerHTML !== node.innerHTML) node.replaceChildren(...next.childNodes)
}
const say = (node, text) => { if (node.textContent !== text) node.textContent = text }

const whole = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 })
const tenth = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 1 })
const short = new Intl.NumberFormat('en-GB', { notation: 'compact', maximumFractionDigits: 1 })
const number = (n) => n >= 1e7 ? short.format(n) : n < 100 ? tenth.format(n) : whole.format(n)

function span(s) {
  if (s < 1) return s > 0 ? '< 1 s' : '0 s'
  if (s < 60) return `${Math.floor(s)} s`
  if (s < 3600) return `${Math.floor(s / 60)} min`
  const two = (a, large, b, small) => b ? `${a} ${large} ${b} ${small}` : `${a} ${large}`
  if (s < 86400) return two(Math.floor(s / 3600), 'h', Math.floor(s % 3600 / 60), 'min')
  return two(Math.floor(s / 86400), 'd', Math.floor(s % 86400 / 3600), 'h')
}
const millis = (ms) => ms === 0 ? '0' : ms < 1000 ? `${number(ms)} ms` : `${tenth.format(ms / 1000)} s`
function bytes(n) {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  let u = 0
  for (; n >= 1024 && u < units.length - 1; u++) n /= 1024
  return `${u ? tenth.format(n) : n} ${units[u]}`
}
const ago = (text, now) => text ? span(Math.max(0, (now - Date.parse(text)) / 1000)) + ' ago' : 'never'
const clock = (ms) => new Date(ms).toISOString().slice(11, 16)
const moment = (text) => text ? text.slice(0, 19).replace('T', ' ') + ' UTC' : ''

// --- now ---

function show(s) {
  const st = s.status
  const now = Date.parse(s.now)
  document.title = (s.verdicts[0].level === 'ok' ? '' : s.verdicts[0].level === 'bad' ? '✖ ' : '! ') + 'personasync'
  say($('facts'), `${st.version}, up ${span(st.uptime_s)}, ${number(st.users)} user${st.users === 1 ? '' : 's'}`)
  renew($('verdicts'), ...s.verdicts.map(verdict))
  renew($('tiles'), ...tiles(s))
  showComputations(s, now)
  rows('parked', s.parked.map((c) => [[c.reason, 'id'], [number(c.count), 'n'], [c.computation, 'wide id'], [c.kind]]))
  $('parked-note').textContent = s.parked.length === 0 ? 'Nothing is parked.'
    : (s.parked_more ? `${s.parked_more} more causes. ` : '') + 'personasync outbox list --state parked'
  rows('jobs', s.jobs.map((j) => [[j.job, 'wide id'], [j.spec, 'id'], [j.running ? 'running' : j.next ? `${j.local}, in ${span((Date.parse(j.next) - now) / 1000)}` : 'on demand', 'n wrap'], [j.last ? ago(j.last, now) : 'never', 'n'], [number(j.missed), 'n']]))
  $('jobs-note').textContent = s.jobs.length === 0 ? 'No schedule: changes leave as they come.'
    : st.failed_jobs.map((j) => `${j.job} failed ${ago(j.failed_at, now)} (${j.code}): ${j.error}`).join(' ')
  ledger(st)
}

function verdict(v) {
  const word = { ok: 'Good.', warn: 'Look:', bad: 'Act:' }[v.level]
  const li = el('li', { class: 'verdict ' + v.level }, el('span', { class: 'text' }, el('span', { class: 'word' }, word), v.text))
  for (const c of v.commands) li.append(el('code', {}, c))
  return li
}

function tiles(s) {
  const st = s.status
  const m = { ok: 'answers', failing: 'failing', unknown: 'not asked yet' }[st.moengage.state]
  const asked = s.requests_last_minute, answered = asked > s.failures_last_minute
  return [
    tile('Events', st.ready ? 'accepted' : 'refused', st.unapplied ? `${number(st.unapplied)} not applied yet` : '', st.ready ? 'words good' : 'words alarm'),
    tile('MoEngage', m, asked ? `${number(asked)} requests, ${number(s.failures_last_minute)} failed, last minute` : 'no request in the last minute', { failing: 'words alarm', ok: 'words good' }[st.moengage.state] ?? 'words'),
    tile('Pending changes', number(st.pending), 'drain: ' + s.forecast.drain),
    tile('Oldest pending', span(st.oldest_pending_s), st.next_flush ? 'next flush ' + clock(Date.parse(st.next_flush)) + ' UTC' : ''),
    tile('Parked', number(st.parked), st.parked ? 'wait for a decision' : '', st.parked ? 'attention' : ''),
    tile('Held', number(st.held), st.held ? 'wait for a decision' : '', st.held ? 'attention' : ''),
    tile('Received a minute', number(s.received_per_minute), `${number(st.received)} ever, ${number(st.rejected)} refused`, st.conditions.some((c) => c.name === 'intake_refused') ? 'attention' : ''),
    tile('Delivered a minute', number(s.delivered_per_minute), `${number(st.delivered)} ever`),
    tile('MoEngage answers in', answered ? millis(s.latency_p50_ms) : '–', answered ? `95 % within ${millis(s.latency_p95_ms)}` : ''),
    ...(st.notify ? [notifyTile(st.notify.receivers)] : []),
    tile('Disk lasts', s.forecast.disk, `data ${bytes(s.space.data_bytes)}${s.space.max_data_bytes ? ' of ' + bytes(s.space.max_data_bytes) : ''}, ${bytes(s.space.free_bytes)} free`, 'words'),
  ]
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
  renew(table.tBodies[0], ...list.map((cells) => el('tr', {}, ...cells.map(([text, kind], i) => {
    const cell = el(i === 0 ? 'th' : 'td', i === 0 ? { scope: 'row' } : {})
    if (kind) cell.className = kind
    cell.append(text)
    return cell
  }))))
  table.parentElement.hidden = list.length === 0
}

// The sparklines change with the past, the figures beside them with the present.
let sparks = new Map()
function showComputations(s, now) {
  rows('audiences', s.computations.map((c) => {
    const trait = c.class === 'trait'
    const spark = sparks.get(JSON.stringify([c.space, c.key, c.id]))
    return [
      [c.key, 'wide id'], [trait ? 'trait' : number(c.members), 'n'],
      [spark ? spark.members() : '', 'spark'], [spark ? spark.moves() : '', 'spark'],
      [trait ? '' : number(c.entered), 'n'], [trait ? '' : number(c.exited), 'n'], [number(c.held), 'n'], [ago(c.last_event, now), 'n'],
    ]
  }))
  $('audiences-note').textContent = s.computations.length === 0 ? 'None seen yet: one appears with its first event.'
    : s.more ? `${s.more} more: personasync audience list` : ''
}

function ledger(st) {
  const book = (name, sum, terms) => {
    const p = el('p', { class: 'books' }, el('span', { class: 'sum' }, `${name} ${whole.format(sum)} =`))
    for (const [k, v] of Object.entries(terms).filter(([, v]) => v > 0)) p.append(el('span', {}, `${whole.format(v)} `, el('i', {}, k)))
    return p
  }
  const { accepted, ...events } = st.events
  const { created, ...changes } = st.changes
  renew($('ledger'), book('events', accepted, events), book('changes', created, changes))
}

// --- the past ---

const charts = [
  { title: 'Pending and parked', lines: [['pending', 'pending', 'a'], ['parked', 'parked', 'b']], text: number },
  { title: 'Events and changes a minute', lines: [['received', 'received', 'a'], ['delivered', 'delivered', 'b']], text: number },
  { title: 'Oldest pending', lines: [['age', 'oldest_s', 'a']], text: span, nice: niceSpan },
  { title: 'MoEngage answers within', lines: [['half', 'p50_ms', 'a'], ['95 %', 'p95_ms', 'b']], text: millis },
]
let seconds = 3600
let chosen = false // the range, by somebody
let past = null

// span of the charts: the range chosen, or as much of it as there is, so that a young agent's day is no
// empty picture with a line at its edge.
function frame(at) {
  const end = Date.now()
  const start = end - seconds * 1000
  return { start: at.length > 0 ? Math.min(Math.max(start, at[0]), end - 120e3) : start, end }
}
const tick = (ms, f) => new Date(ms).toISOString().slice(11, f.end - f.start < 360e3 ? 19 : 16)

// draw fits the charts to the room they have, so that their text is as large as all other.
function draw() {
  const column = parseFloat(getComputedStyle($('charts')).gridTemplateColumns)
  const width = Math.max(200, Math.floor(column) - 26) // less the figure's border and padding
  $('charts').replaceChildren(...charts.map((c) => chart(c, past, width)))
}
new ResizeObserver(() => { if (past) draw() }).observe($('charts'))

async function loadPast() {
  const answer = await fetch('/api/page/series?seconds=' + seconds)
  if (!answer.ok) throw new Error(`the past: ${answer.status}`)
  const series = await answer.json()
  if (!chosen && series.at.length > 0 && Date.now() - series.at[0] < 900e3) return choose(900) // a young agent
  past = series
  draw()
  sparks = new Map(series.audiences.map((a) => [JSON.stringify([a.space, a.key, a.id]), {
    members: () => spark(series.at, a),
    moves: () => moves(series.at, a),
  }]))
  if (present) show(present)
}

// nice rounds a maximum up to what reads well on an axis.
function nice(max) {
  if (max <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(max))
  return [1, 2, 5, 10].find((m) => m * power >= max) * power
}

// niceSpan does the same for seconds, whose round numbers are others.
function niceSpan(max) {
  return [2, 10, 20, 60, 120, 600, 1200, 3600, 7200, 14400, 28800, 57600, 86400].find((s) => s >= max) ?? 172800 * Math.ceil(max / 172800)
}

const H = 150, LEFT = 56, RIGHT = 8, TOP = 10, BOTTOM = 20

// gapAfter is the longest pause between samples that a line bridges: beyond, the agent was not running.
const gapAfter = (at) => at.length > 2 && at[at.length - 1] - at[0] > 30 * 60e3 ? 150e3 : 90e3

function runsOf(at, values) {
  const runs = []
  const gap = gapAfter(at)
  values.forEach((v, i) => {
    if (v === null) return
    const run = runs.at(-1)
    if (run && at[i] - at[run.at(-1)] <= gap) run.push(i)
    else runs.push([i])
  })
  return runs
}

function chart(c, series, W) {
  const at = series.at
  const f = frame(at), { start, end } = f
  const top = (c.nice ?? nice)(Math.max(...c.lines.flatMap(([, column]) => series[column]), 0))
  const x = (ms) => LEFT + (ms - start) / (end - start) * (W - LEFT - RIGHT)
  const y = (v) => H - BOTTOM - v / top * (H - TOP - BOTTOM)
  const picture = svg('svg', { viewBox: `0 0 ${W} ${H}`, role: 'img' })
  for (const v of [0, top / 2, top]) {
    picture.append(svg('line', { class: 'grid', x1: LEFT, x2: W - RIGHT, y1: y(v), y2: y(v) }),
      svg('text', { x: LEFT - 6, y: y(v) + 4, 'text-anchor': 'end' }, c.text(v)))
  }
  for (let i = 0; i <= 3; i++) {
    const ms = start + (end - start) * i / 3
    picture.append(svg('text', { x: x(ms), y: H - 4, 'text-anchor': i === 0 ? 'start' : i === 3 ? 'end' : 'middle' }, tick(ms, f)))
  }
  const caption = el('figcaption', {}, c.title)
  const told = []
  for (const [name, column, kind] of c.lines) {
    const values = series[column]
    for (const run of runsOf(at, values)) {
      const points = run.map((i) => `${x(at[i]).toFixed(1)} ${y(values[i]).toFixed(1)}`)
      if (run.length > 1) {
        picture.append(svg('path', { class: 'area ' + kind, d: `M${x(at[run[0]])} ${y(0)}L${points.join('L')}L${x(at[run.at(-1)])} ${y(0)}Z` }))
        picture.append(svg('path', { class: 'line ' + kind, d: 'M' + points.join('L') }))
      } else {
        picture.append(svg('circle', { class: 'spot ' + kind, cx: x(at[run[0]]), cy: y(values[run[0]]), r: 2 }))
      }
    }
    if (c.lines.length > 1) caption.append(el('span', { class: 'key' }, el('i', { class: kind }), name))
    told.push(values.length ? `${name} ${c.text(values.at(-1))} now, at most ${c.text(Math.max(...values))}` : `${name}: nothing yet`)
  }
  if (at.length === 0) picture.append(svg('text', { class: 'empty', x: (W + LEFT) / 2, y: H / 2, 'text-anchor': 'middle' }, 'nothing yet'))
  picture.setAttribute('aria-label', `${c.title}, ${told.join('; ')}`)
  const read = el('span', { class: 'read' })
  caption.append(read)
  point(picture, W, at, x, (i) => {
    read.textContent = i < 0 ? '' : `${new Date(at[i]).toISOString().slice(11, 19)} UTC: ${c.lines.map(([, column]) => c.text(series[column][i])).join(', ')}`
  })
  return el('figure', {}, caption, picture)
}

// point has tell called with the sample under the pointer, and with -1 when it leaves.
function point(picture, W, at, x, tell) {
  const cursor = svg('line', { class: 'cursor', y1: TOP, y2: H - BOTTOM, visibility: 'hidden' })
  picture.append(cursor)
  picture.addEventListener('pointermove', (e) => {
    const box = picture.getBoundingClientRect()
    const px = (e.clientX - box.left) / box.width * W
    let best = -1
    at.forEach((ms, i) => { if (best < 0 || Math.abs(x(ms) - px) < Math.abs(x(at[best]) - px)) best = i })
    if (best < 0) return
    cursor.setAttribute('x1', x(at[best]))
    cursor.setAttribute('x2', x(at[best]))
    cursor.setAttribute('visibility', 'visible')
    tell(best)
  })
  picture.addEventListener('pointerleave', () => {
    cursor.setAttribute('visibility', 'hidden')
    tell(-1)
  })
}

const SW = 144, SH = 26

function spark(at, a) {
  const known = a.members.filter((m) => m !== null)
  const low = Math.min(...known), high = Math.max(...known)
  const { start, end } = frame(at)
  const x = (ms) => (ms - start) / (end - start) * SW
  const y = (v) => high === low ? SH / 2 : SH - 3 - (v - low) / (high - low) * (SH - 6)
  const picture = svg('svg', { viewBox: `0 0 ${SW} ${SH}`, role: 'img', 'aria-label': `members of ${a.key}: from ${number(known[0] ?? 0)} to ${number(known.at(-1) ?? 0)}` })
  for (const run of runsOf(at, a.members)) {
    if (run.length > 1) picture.append(svg('path', { class: 'line a', d: 'M' + run.map((i) => `${x(at[i]).toFixed(1)} ${y(a.members[i]).toFixed(1)}`).join('L') }))
  }
  const last = at.length - 1
  if (last >= 0 && a.members[last] !== null) picture.append(svg('circle', { class: 'spot a', cx: Math.min(x(at[last]), SW - 2), cy: y(a.members[last]), r: 2 }))
  return picture
}

// moves draws enters upwards and exits downwards, in at most 36 bars.
function moves(at, a) {
  const bars = 36, up = new Array(bars).fill(0), down = new Array(bars).fill(0)
  const { start, end } = frame(at)
  at.forEach((ms, i) => {
    const b = Math.min(bars - 1, Math.max(0, Math.floor((ms - start) / (end - start) * bars)))
    up[b] += a.entered[i]
    down[b] += a.exited[i]
  })
  const most = Math.max(...up, ...down, 1)
  const sum = (list) => list.reduce((x, y) => x + y, 0)
  const picture = svg('svg', { viewBox: `0 0 ${SW} ${SH}`, role: 'img', 'aria-label': `${a.key}: ${number(sum(up))} entered, ${number(sum(down))} exited` })
  picture.append(svg('line', { class: 'grid', x1: 0, x2: SW, y1: SH / 2, y2: SH / 2 }))
  for (let b = 0; b < bars; b++) {
    const h = up[b] / most * (SH / 2 - 1), d = down[b] / most * (SH / 2 - 1)
    if (h > 0) picture.append(svg('rect', { class: 'bars a', x: b * 4, width: 3, y: SH / 2 - Math.max(h, 1), height: Math.max(h, 1) }))
    if (d > 0) picture.append(svg('rect', { class: 'bars b', x: b * 4, width: 3, y: SH / 2, height: Math.max(d, 1) }))
  }
  return picture
}

for (const button of $('ranges').children) {
  button.addEventListener('click', () => {
    choose(Number(button.dataset.seconds)).catch(disconnected)
  })
}

function choose(range) {
  chosen = true
  seconds = range
  for (const b of $('ranges').children) b.setAttribute('aria-pressed', String(Number(b.dataset.seconds) === range))
  return loadPast()
}

async function refresh() {
  try {
    await loadPast()
  } catch {
    disconnected()
  }
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
    el('p', {}, 'User ', el('span', { class: 'id' }, u.user), present && !present.show_users ? '. Identifiers and values are masked here; personasync user show ID shows them.' : ''),
    ...section('Memberships', ['Computation', 'In', 'Since', 'MoEngage was told'], u.memberships.map((m) => [m.computation, m.in ? 'in' : 'out', moment(m.since), ({ in: 'in', out: 'out', nothing: 'nothing', uncertain: 'not certain' }[m.told] ?? '') + (m.delivered ? '' : ' (not this yet)')])),
    ...section('Traits', ['Trait', 'Value'], Object.entries(u.traits).map(([k, v]) => [k, value(v)])),
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

let present = null
let minute = 0
let silence = 0

function connected() {
  $('live').className = 'on'
  say($('live-text'), 'live')
  clearTimeout(silence)
  silence = setTimeout(disconnected, 10_000)
}

function disconnected() {
  $('live').className = 'off'
  say($('live-text'), present ? `no answer since ${present.now.slice(11, 19)} UTC: what is shown is old` : 'the agent does not answer')
}

const stream = new EventSource('/api/page/stream')
stream.addEventListener('now', (e) => {
  const was = present
  present = JSON.parse(e.data)
  connected()
  const m = Math.floor(Date.parse(present.now) / (seconds <= 900 ? 5e3 : 60e3))
  if (!was || m !== minute) refresh()
  minute = m
  show(present)
})
stream.addEventListener('error', disconnected)
