// Draws the past. A line ends where nothing is known: while the agent did not run or does not answer, and while MoEngage
// accepts nothing.
import { el, millis, number, plain, span, svg } from './dom.js'

const charts = [
  { title: 'Pending and parked', lines: [['pending', 'pending', 'a'], ['parked', 'parked', 'b']], text: number },
  { title: 'Events and changes a minute', lines: [['received', 'received', 'a'], ['delivered', 'delivered', 'b']], text: number },
  { title: 'Oldest pending', lines: [['age', 'oldest_s', 'a']], text: span, nice: niceSpan },
  { title: 'MoEngage answers within', lines: [['half', 'p50_ms', 'a'], ['95 %', 'p95_ms', 'b']], text: millis },
]

// draw fits the charts to the room they have, so that their text is as large as all other. end is the present, in ms.
export function draw(node, series, seconds, end) {
  const column = parseFloat(getComputedStyle(node).gridTemplateColumns)
  const width = Math.max(200, Math.floor(column) - 26) // less the figure's border and padding
  node.replaceChildren(...charts.map((c) => chart(c, series, width, frame(series.at, seconds, end))))
}

// frame is the range chosen, or as much of it as there is, so that a young agent's day is no empty picture with a line at
// its edge.
function frame(at, seconds, end) {
  const start = end - seconds * 1000
  return { start: at.length > 0 ? Math.min(Math.max(start, at[0]), end - 120e3) : start, end }
}
const tick = (ms, f) => new Date(ms).toISOString().slice(11, f.end - f.start < 360e3 ? 19 : 16)

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

// gapAfter is the longest pause before a sample that a line bridges: samples are 5 s apart, and older ones a minute.
const gapAfter = (at, i) => i > 1 && at[i - 1] - at[i - 2] > 30e3 || i === 1 && at[1] - at[0] > 30e3 ? 150e3 : 30e3

function runsOf(at, values) {
  const runs = []
  values.forEach((v, i) => {
    if (v === null) return
    const run = runs.at(-1)
    if (run?.at(-1) === i - 1 && at[i] - at[i - 1] <= gapAfter(at, i)) run.push(i)
    else runs.push([i])
  })
  return runs
}

function chart(c, series, W, f) {
  const at = series.at, { start, end } = f
  const top = (c.nice ?? nice)(Math.max(...c.lines.flatMap(([, column]) => series[column]), 0))
  const x = (ms) => LEFT + (ms - start) / (end - start) * (W - LEFT - RIGHT)
  const y = (v) => H - BOTTOM - v / top * (H - TOP - BOTTOM)
  const picture = svg('svg', { viewBox: `0 0 ${W} ${H}`, role: 'img' })
  const silent = at.length > 0 && end - at.at(-1) > 30e3 // no sample came lately
  if (silent) picture.append(svg('rect', { class: 'unknown', x: x(at.at(-1)), y: TOP, width: x(end) - x(at.at(-1)), height: H - TOP - BOTTOM }))
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
    for (const run of runsOf(at, values)) line(picture, kind, run.map((i) => [x(at[i]), y(values[i])]), y(0))
    if (c.lines.length > 1) caption.append(el('span', { class: 'key' }, el('i', { class: kind }), name))
    const most = values.some((v) => v !== null) ? `, at most ${c.text(Math.max(...values))}` : ''
    told.push(values.length === 0 ? `${name}: nothing yet` : silent ? `${name} unknown since ${tick(at.at(-1), f)} UTC${most}` : `${name} ${c.text(values.at(-1))} now${most}`)
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

// line draws a run of points, and fills what is below.
function line(picture, kind, points, floor) {
  const [[left], [right]] = [points[0], points.at(-1)]
  if (points.length === 1) {
    picture.append(svg('circle', { class: 'spot ' + kind, cx: left, cy: points[0][1], r: 2 }))
    return
  }
  const way = points.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join('L')
  picture.append(svg('path', { class: 'area ' + kind, d: `M${left} ${floor}L${way}L${right} ${floor}Z` }), svg('path', { class: 'line ' + kind, d: 'M' + way }))
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

// members draws the members of an audience.
export function members(at, a, seconds, now) {
  const known = a.members.filter((m) => m !== null)
  const low = Math.min(...known), high = Math.max(...known)
  const { start, end } = frame(at, seconds, now)
  const x = (ms) => (ms - start) / (end - start) * SW
  const y = (v) => high === low ? SH / 2 : SH - 3 - (v - low) / (high - low) * (SH - 6)
  const picture = svg('svg', { viewBox: `0 0 ${SW} ${SH}`, role: 'img', 'aria-label': `members of ${plain(a.key)}: from ${number(known[0] ?? 0)} to ${number(known.at(-1) ?? 0)}` })
  for (const run of runsOf(at, a.members)) {
    if (run.length > 1) picture.append(svg('path', { class: 'line a', d: 'M' + run.map((i) => `${x(at[i]).toFixed(1)} ${y(a.members[i]).toFixed(1)}`).join('L') }))
  }
  const last = at.length - 1
  if (last >= 0 && a.members[last] !== null) picture.append(svg('circle', { class: 'spot a', cx: Math.min(x(at[last]), SW - 2), cy: y(a.members[last]), r: 2 }))
  return picture
}

// moves draws enters upwards and exits downwards, in at most 36 bars.
export function moves(at, a, seconds, now) {
  const bars = 36, up = new Array(bars).fill(0), down = new Array(bars).fill(0)
  const { start, end } = frame(at, seconds, now)
  at.forEach((ms, i) => {
    const b = Math.min(bars - 1, Math.max(0, Math.floor((ms - start) / (end - start) * bars)))
    up[b] += a.entered[i]
    down[b] += a.exited[i]
  })
  const most = Math.max(...up, ...down, 1)
  const sum = (list) => list.reduce((x, y) => x + y, 0)
  const picture = svg('svg', { viewBox: `0 0 ${SW} ${SH}`, role: 'img', 'aria-label': `${plain(a.key)}: ${number(sum(up))} entered, ${number(sum(down))} exited` })
  picture.append(svg('line', { class: 'grid', x1: 0, x2: SW, y1: SH / 2, y2: SH / 2 }))
  for (let b = 0; b < bars; b++) {
    const h = up[b] / most * (SH / 2 - 1), d = down[b] / most * (SH / 2 - 1)
    if (h > 0) picture.append(svg('rect', { class: 'bars a', x: b * 4, width: 3, y: SH / 2 - Math.max(h, 1), height: Math.max(h, 1) }))
    if (d > 0) picture.append(svg('rect', { class: 'bars b', x: b * 4, width: 3, y: SH / 2, height: Math.max(d, 1) }))
  }
  return picture
}
