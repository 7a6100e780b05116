// Reads one S3 object in a loop, with the AWS SDK for JavaScript's default credential chain and a single attempt a call.
//
//   node loop.mjs ENDPOINT BUCKET KEY SECONDS PAUSE
//
// It prints a line "failure: …" on stderr for each call that fails, and a summary as JSON when the time is over or on
// SIGTERM.

import { setTimeout as sleep } from 'node:timers/promises';
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3';

const KEPT_ERRORS = 5;

if (process.argv.length !== 7) {
  console.error('usage: loop.mjs ENDPOINT BUCKET KEY SECONDS PAUSE');
  process.exit(2);
}
const [endpoint, Bucket, Key, seconds, pause] = process.argv.slice(2);

// The signal ends the loop, not the call: a call it cut short would count as a failure.
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
process.on('SIGINT', () => stop.abort());

const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, maxAttempts: 1 });
const summary = { client: 'node', calls: 0, failures: 0, errors: [] };
const deadline = performance.now() + Number(seconds) * 1000;
while (!stop.signal.aborted && performance.now() < deadline) {
  summary.calls += 1;
  try {
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }));
    await Body.transformToByteArray();
  } catch (error) {
    summary.failures += 1;
    const text = `${error.name}: ${error.message}`;
    if (summary.errors.length < KEPT_ERRORS) summary.errors.push(text);
    console.error(`failure: node: ${text}`);
  }
  const left = Math.max(0, deadline - performance.now());
  await sleep(Math.min(Number(pause) * 1000, left), undefined, { signal: stop.signal }).catch(() => {});
}
client.destroy();
console.log(JSON.stringify(summary));
