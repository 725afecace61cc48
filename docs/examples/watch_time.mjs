// Seconds watched by video, from a downloaded .jsonl.gz, line by line: node watch_time.mjs FILE
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { createGunzip } from 'node:zlib'

const [file] = process.argv.slice(2)
const lines = createInterface({ input: createReadStream(file).pipe(createGunzip()), crlfDelay: Infinity })
const seconds = {}
for await (const line of lines) {
  const { event, contentId, data } = JSON.parse(line)
  if (event === 'completion' && contentId) seconds[contentId] = (seconds[contentId] ?? 0) + data.watchTime
}
console.log(JSON.stringify(seconds))
