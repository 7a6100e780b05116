// Does with an S3 server what programs do with one, once, with the AWS SDK for JavaScript's default credential chain and a single
// attempt a call.
//
//   node objects.mjs ENDPOINT BUCKET PLAN
//
// PLAN is JSON: {"prefix": "…", "keys": ["…"], "lists": ["…"], "large": BYTES, "stream": BYTES}. Keys and lists begin with the
// prefix; 0 leaves large (an upload in parts) or stream (one whose body is a stream) out. It leaves the objects of "keys" behind.
//
// It prints one line of JSON: {"outcomes": {STEP: "ok", or the error's name}}.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import {
  CompleteMultipartUploadCommand, CopyObjectCommand, CreateMultipartUploadCommand, DeleteObjectCommand, DeleteObjectsCommand,
  GetObjectCommand, HeadObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client, UploadPartCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';

if (process.argv.length !== 5) {
  console.error('usage: objects.mjs ENDPOINT BUCKET PLAN');
  process.exit(2);
}
const [endpoint, Bucket, planText] = process.argv.slice(2);
const plan = JSON.parse(planText);
const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, maxAttempts: 1 });
const outcomes = {};
const at = (key) => plan.prefix + key;

async function step(name, call) {
  try {
    await call();
    outcomes[name] = 'ok';
  } catch (error) {
    outcomes[name] = error.$metadata ? error.name : `${error.name}: ${error.message}`;
  }
}

const put = (Key, Body, more = {}) => client.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
const open = async (Key, more = {}) => (await client.send(new GetObjectCommand({ Bucket, Key, ...more }))).Body;
const get = async (Key, more) => (await open(Key, more)).transformToString();
const remove = (Key) => client.send(new DeleteObjectCommand({ Bucket, Key }));

async function digestOf(body) {
  const hash = createHash('sha256');
  for await (const block of body) hash.update(block);
  return hash.digest('hex');
}

function* zeros(size) {
  const block = Buffer.alloc(1 << 16);
  for (let left = size; left > 0; left -= block.length) yield block.subarray(0, Math.min(left, block.length));
}

const zerosDigest = (size) => digestOf(Readable.from(zeros(size)));

async function whole(url, init) {
  const answer = await fetch(url, init);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${answer.status} ${text.slice(0, 300)}`);
  return { text, answer };
}

const steps = {
  async empty() {
    await put(at('empty'), '');
    assert.equal(await get(at('empty')), '');
  },
  async ranges() {
    await put(at('range'), '0123456789');
    assert.equal(await get(at('range'), { Range: 'bytes=3-5' }), '345');
    assert.equal(await get(at('range'), { Range: 'bytes=-2' }), '89');
  },
  async metadata() {
    await put(at('metadata'), 'x', { Metadata: { words: 'two  of them', sign: 'a;b=c' }, ContentType: 'text/plain; charset=utf-8' });
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: at('metadata') }));
    assert.equal(head.ContentType, 'text/plain; charset=utf-8');
    assert.equal(head.Metadata.sign, 'a;b=c');
  },
  async copy() {
    await put(at('from here;+'), 'copied');
    const CopySource = `${Bucket}/${at('from here;+').split('/').map(encodeURIComponent).join('/')}`;
    await client.send(new CopyObjectCommand({ Bucket, Key: at('to'), CopySource }));
    assert.equal(await get(at('to')), 'copied');
  },
  async presigned_get() {
    const Key = at('presigned get;+ ü');
    await put(Key, 'presigned');
    const url = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key, ResponseContentType: 'text/x; a=b' }), { expiresIn: 60 });
    const { text, answer } = await whole(url);
    assert.equal(text, 'presigned');
    assert.equal(answer.headers.get('content-type'), 'text/x; a=b');
  },
  async presigned_put() {
    const Key = at('presigned put;+ ü');
    const url = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key }), { expiresIn: 60 });
    await whole(url, { method: 'PUT', body: 'by URL' });
    assert.equal(await get(Key), 'by URL');
  },
  async delete() {
    const Key = at('delete me;+ ü');
    await put(Key, 'x');
    await remove(Key);
    await assert.rejects(get(Key), { name: 'NoSuchKey' });
  },
  async delete_many() {
    const keys = ['many/1;', 'many/2+', 'many/3 ü'].map(at);
    for (const key of keys) await put(key, 'x');
    const answer = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: keys.map((Key) => ({ Key })) } }));
    assert.deepEqual(answer.Deleted.map((d) => d.Key).sort(), keys.sort());
  },
  async large() {
    const Key = at('large');
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    const size = 5 << 20;
    const parts = [];
    for (let left = plan.large, PartNumber = 1; left > 0; left -= size, PartNumber += 1) {
      const Body = Buffer.alloc(Math.min(left, size));
      parts.push(client.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body })).then(({ ETag }) => ({ ETag, PartNumber })));
    }
    await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts: await Promise.all(parts) } }));
    assert.equal(await digestOf(await open(Key)), await zerosDigest(plan.large));
    await remove(Key);
  },
  async stream() {
    const Key = at('stream');
    await put(Key, Readable.from(zeros(plan.stream)), { ContentLength: plan.stream });
    assert.equal(await digestOf(await open(Key)), await zerosDigest(plan.stream));
    await remove(Key);
  },
};

async function listed(prefix) {
  const found = [];
  for (let ContinuationToken; ;) {
    const page = await client.send(new ListObjectsV2Command({ Bucket, Prefix: at(prefix), MaxKeys: 2, ContinuationToken }));
    found.push(...(page.Contents ?? []).map((o) => o.Key));
    ContinuationToken = page.NextContinuationToken;
    if (!page.IsTruncated) break;
  }
  const stored = plan.keys.filter((k) => outcomes[`key ${k}`] === 'ok' && k.startsWith(prefix)).map(at);
  assert.deepEqual(found.sort(), stored.sort());
}

for (const key of plan.keys) {
  await step(`key ${key}`, async () => {
    const body = `this is ${at(key)}`;
    await put(at(key), body);
    assert.equal(await get(at(key)), body);
  });
}
for (const prefix of plan.lists) await step(`list ${prefix}`, () => listed(prefix));
for (const [name, call] of Object.entries(steps)) {
  if (name in plan && !plan[name]) continue;
  await step(name, call);
}
client.destroy();
console.log(JSON.stringify({ outcomes }));
