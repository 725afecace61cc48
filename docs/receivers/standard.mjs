// Verify the Standard Webhooks signature: WEBHOOK_SECRET=whsec_… node standard.mjs HEADERS BODY
import { createHmac, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'

// Throws unless a request is ours and fresh; headers by name in lower case, body as a Buffer.
export function verify (secret, headers, body) {
  const sent = headers['webhook-timestamp']
  if (!(Math.abs(Date.now() / 1000 - Number(sent)) <= 300)) throw new Error('older or newer than 5 minutes')
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
  const expected = createHmac('sha256', key).update(`${headers['webhook-id']}.${sent}.`).update(body).digest()
  const right = (headers['webhook-signature'] ?? '').split(' ').some(entry => {
    const given = Buffer.from(entry.replace(/^v1,/, ''), 'base64')
    return entry.startsWith('v1,') && given.length === expected.length && timingSafeEqual(given, expected)
  })
  if (!right) throw new Error('no signature is right')
}

const lines = readFileSync(process.argv[2], 'utf8').split(/\r?\n/).filter(Boolean).map(line => line.split(': '))
const headers = Object.fromEntries(lines.map(([name, ...value]) => [name.toLowerCase(), value.join(': ')]))
try {
  verify(process.env.WEBHOOK_SECRET, headers, readFileSync(process.argv[3]))
  console.log('ok')
} catch (error) {
  console.error(`refused: ${error.message}`)
  process.exitCode = 1
}
