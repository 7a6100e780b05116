// The identity provider of the interoperability tests: oidc-provider, a certified implementation, in the
// little configuration that client_credentials needs, plus a ledger and faults.
//
// Standard input: the settings as one line of JSON, then nothing. Standard input stays open for as long as the
// provider is wanted: its end is the order to leave, so that a test that dies leaves nothing behind.
//
//   {"port": 0, "ttl": 30, "clients": [oidc-provider client metadata…], "audiences": {"resource": "aud"},
//    "claims": {"policy": "readwrite"}}
//
// Standard output: `ready {"issuer": "http://127.0.0.1:PORT"}` once it answers.
//
// GET  /_counts    {"clients": {"id": {"requests": n, "successes": n}}, "faulted": n}: token requests
// GET  /_arrivals  [{"client": "id", "at_ms": n, "status": n}]: every token request, by when it came (Unix time) and how it was
//                  answered; the client is "" where nobody looked, as while a fault is everybody's
// POST /_fault     {"status": 503, "for_ms": 12000, "retry_after": 3, "delay_ms": 0, "client": "id"}: the token endpoint answers
//                  so from now on, for so long, that client or everybody; faulted requests never reach a client's count.
//                  A retry_after that is a string is sent as it is

import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { generateKeyPairSync } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import Provider from 'oidc-provider';

const HOST = '127.0.0.1';
const DEFAULT_TTL_SECONDS = 30;

const lines = createInterface({ input: process.stdin });
const settings = JSON.parse((await lines[Symbol.asyncIterator]().next()).value);
lines.on('close', () => process.exit(0));

// The issuer's name holds the port, and the provider wants its name at birth: so the socket comes first.
const server = createServer();
await new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(settings.port ?? 0, HOST, resolve);
});
const issuer = `http://${HOST}:${server.address().port}`;

const provider = new Provider(issuer, configuration(settings));

// The reply says "server_error" alone; the cause belongs on stderr, where the test finds it.
provider.on('server_error', (ctx, error) => console.error(error));

const clients = {}; // client id → its token requests
const arrivals = [];
let faulted = 0;
let fault = { until: 0 };

provider.use(async (ctx, next) => {
  if (ctx.method === 'GET' && ctx.path === '/_counts') {
    ctx.body = { clients, faulted };
    return;
  }
  if (ctx.method === 'GET' && ctx.path === '/_arrivals') {
    ctx.body = arrivals;
    return;
  }
  if (ctx.method === 'POST' && ctx.path === '/_fault') {
    const { for_ms: forMs, ...rest } = await json(ctx.req);
    fault = { ...rest, until: performance.now() + forMs };
    ctx.status = 204;
    return;
  }
  if (ctx.path !== '/token') {
    await next();
    return;
  }
  const arrival = { client: '', at_ms: Date.now(), status: 0 };
  arrivals.push(arrival);
  const active = performance.now() < fault.until ? fault : undefined;
  if (active === undefined || active.client !== undefined) {
    await next(); // whose request it is, the provider finds out
    arrival.client = clientOf(ctx);
  }
  if (active !== undefined && (active.client ?? arrival.client) === arrival.client) {
    faulted += 1;
    await respondWithFault(ctx, active);
  } else {
    count(ctx);
  }
  arrival.status = ctx.status;
});

server.on('request', provider.callback());
console.log(`ready ${JSON.stringify({ issuer })}`);

function configuration({ ttl = DEFAULT_TTL_SECONDS, clients: registered, audiences = {}, claims = {} }) {
  return {
    clients: registered.map((client) => ({
      grant_types: ['client_credentials'], redirect_uris: [], response_types: [], ...client,
    })),
    jwks: { keys: [signingKey()] },
    // Every party of a test reads the same clock, so a second of tolerance would only hide a wrong one.
    clockTolerance: 0,
    ttl: { ClientCredentials: () => ttl },
    extraTokenClaims: () => claims,
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        // Without a resource the provider would issue an opaque token, which no relying party here can read.
        defaultResource: () => 'urn:freshet:default',
        getResourceServerInfo: (ctx, resource) => ({
          audience: audiences[resource] ?? resource,
          scope: 'read write',
          accessTokenFormat: 'jwt',
          accessTokenTTL: ttl,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  };
}

// signingKey is RS256, the one algorithm every relying party of OpenID Connect must verify.
function signingKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'interop' };
}

function clientOf(ctx) {
  return ctx.oidc?.client?.clientId ?? ctx.oidc?.params?.client_id ?? '';
}

// count books a request that reached the provider. One that could not be tied to a client is booked under "".
function count(ctx) {
  const id = clientOf(ctx);
  clients[id] ??= { requests: 0, successes: 0 };
  clients[id].requests += 1;
  if (ctx.status === 200) clients[id].successes += 1;
}

async function respondWithFault(ctx, { status = 503, retry_after: retryAfter, delay_ms: delay = 0 }) {
  await pause(delay);
  ctx.status = status;
  if (retryAfter !== undefined) ctx.set('Retry-After', String(retryAfter));
  ctx.body = { error: 'temporarily_unavailable', error_description: 'injected by the test' };
}

async function json(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}
