// Verify the X-Shortform signature: WEBHOOK_SECRET=whsec_… node shortform.mjs HEADERS BODY
import { createHmac, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'

// Throws unless a request is ours and fresh; headers by name in lower case, body as a Buffer.
export function verify (secret, headers, body) {
  const sent = headers['x-shortform-timestamp']
  if (!(Math.abs(Date.now() / 1000 - Number(sent)) <= 300)) throw new Error('older or newer than 5 minutes')
  const expected = createHmac('sha256', secret).update(`${sent}.`).update(body).digest()
  const given = Buffer.from((headers['x-shortform-signature'] ?? '').replace(/^sha256=/, ''), 'hex')
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw new Error('the signature is wrong')
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
