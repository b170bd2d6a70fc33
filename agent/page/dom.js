// Makes and patches what the page shows, and words its figures. Text from outside is only ever shown as text.

export const $ = (id) => document.getElementById(id)
const SVG = 'http://www.w3.org/2000/svg'

// plain shows the characters that nobody sees, such as those that turn the direction of writing, as the commands do.
const unseen = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu
export const plain = (text) => String(text).replace(unseen, (c) => c === '\u200c' || c === '\u200d' ? c : '\\u' + c.codePointAt(0).toString(16).padStart(4, '0'))

// el makes an element: el('td', {class: 'n'}, 'text', child…).
export const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children)
export const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children)
function fill(node, attributes, children) {
  for (const [k, v] of Object.entries(attributes ?? {})) node.setAttribute(k, v)
  node.append(...children.map((c) => c instanceof Node ? c : plain(c)))
  return node
}

// patch makes the children of a node look like next. It keeps the nodes that are there, and with them the focus, a
// selection and what somebody unfolded. Children with a data-key are found by it, others by their place. The children of
// an element with data-own are left to it.
export function patch(node, ...next) {
  const keys = new Set(next.map(keyOf)), old = new Map()
  for (const child of [...node.children]) {
    if (!keyOf(child)) continue
    if (keys.has(keyOf(child))) old.set(keyOf(child), child)
    else child.remove()
  }
  let at = node.firstChild
  for (const n of next) {
    const is = keyOf(n) ? old.get(keyOf(n)) : at
    if (!is || is.nodeName !== n.nodeName || keyOf(is) !== keyOf(n)) {
      node.insertBefore(n, at)
      continue
    }
    if (is !== at) node.insertBefore(is, at)
    update(is, n)
    at = is.nextSibling
  }
  while (at) {
    const gone = at
    at = at.nextSibling
    gone.remove()
  }
}
const keyOf = (node) => node.dataset?.key

function update(is, n) {
  if (is.nodeType === Node.TEXT_NODE) {
    if (is.data !== n.data) is.data = n.data
    return
  }
  for (const { name } of [...is.attributes]) if (!n.hasAttribute(name) && name !== 'open') is.removeAttribute(name)
  for (const { name, value } of n.attributes) if (is.getAttribute(name) !== value) is.setAttribute(name, value)
  if (!n.hasAttribute('data-own')) patch(is, ...n.childNodes)
}

export const say = (node, text) => { if (node.textContent !== plain(text)) node.textContent = plain(text) }

// prose shows the commands in a sentence as such.
export const prose = (text) => text.split('`').map((part, i) => i % 2 ? el('code', {}, part) : part)

// command is a command, or another text to paste, with a button that copies it.
export const command = (text) => el('span', { class: 'command' }, el('code', {}, text), copyButton(text, 'Copy'))
export const copyButton = (text, label) => el('button', { type: 'button', 'data-copy': text, 'aria-label': `${label} ${plain(text)}` }, label)

document.addEventListener('click', async (e) => {
  const button = e.target.closest('[data-copy]')
  if (!button) return
  const text = button.dataset.copy
  tell(await copied(text) ? 'Copied: ' + text : 'The browser does not let this page copy. Mark the command and copy it by hand.')
})

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch { // beyond loopback without TLS a browser has the old way only
    const area = el('textarea', { readonly: '', class: 'hidden', 'aria-hidden': 'true' })
    const focus = document.activeElement
    area.value = text
    document.body.append(area)
    area.select()
    const done = document.execCommand('copy')
    area.remove()
    focus?.focus()
    return done
  }
}

let told = 0
function tell(text) {
  say($('told'), text)
  clearTimeout(told)
  told = setTimeout(() => say($('told'), ''), 4000)
}

const whole = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 })
const tenth = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 1 })
const short = new Intl.NumberFormat('en-GB', { notation: 'compact', maximumFractionDigits: 1 })
export const count = (n) => whole.format(n)
export const number = (n) => n >= 1e7 ? short.format(n) : n < 100 ? tenth.format(n) : whole.format(n)

export function span(s) {
  if (s < 1) return s > 0 ? '< 1 s' : '0 s'
  if (s < 60) return `${Math.floor(s)} s`
  if (s < 3600) return `${Math.floor(s / 60)} min`
  const two = (a, large, b, small) => b ? `${a} ${large} ${b} ${small}` : `${a} ${large}`
  if (s < 86400) return two(Math.floor(s / 3600), 'h', Math.floor(s % 3600 / 60), 'min')
  return two(Math.floor(s / 86400), 'd', Math.floor(s % 86400 / 3600), 'h')
}
export const millis = (ms) => ms === null ? 'unknown' : ms === 0 ? '0' : ms < 1000 ? `${number(ms)} ms` : `${tenth.format(ms / 1000)} s`
export function bytes(n) {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  let u = 0
  for (; n >= 1024 && u < units.length - 1; u++) n /= 1024
  return `${u ? tenth.format(n) : n} ${units[u]}`
}
export const ago = (text, now) => text ? span(Math.max(0, (now - Date.parse(text)) / 1000)) + ' ago' : 'never'
export const clock = (ms) => new Date(ms).toISOString().slice(11, 16)
export const second = (ms) => new Date(ms).toISOString().slice(11, 19) + ' UTC'
export const moment = (text) => text ? text.slice(0, 19).replace('T', ' ') + ' UTC' : ''
