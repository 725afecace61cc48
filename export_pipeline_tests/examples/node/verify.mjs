// Whether a public package accepts a request: node verify.mjs PACKAGE < {"secret", "headers", "body"}
import { text } from 'node:stream/consumers'

const { Webhook } = await import(process.argv[2])
const { secret, headers, body } = JSON.parse(await text(process.stdin))
try {
  new Webhook(secret).verify(body, headers)
  console.log('accepted')
} catch (error) {
  console.log(error.constructor.name === 'WebhookVerificationError' ? 'refused' : String(error))
}
