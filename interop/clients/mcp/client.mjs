// Does with a server what it is told, by one of the official SDKs for TypeScript.
//
//   node client.mjs sdk        @modelcontextprotocol/sdk 1, which knows the revisions up to 2025-11-25
//   node client.mjs client     @modelcontextprotocol/client 2, which knows 2026-07-28 too
//
// Standard input: the settings as one line of JSON, then what is to be done, a line each, all at once unless one waits for another.
//
//   {"url": "http://…/mcp", "headers": {…}} or {"command": ["freshet", "mcp", …], "env": {…}}, both with
//   "version": "auto", a revision that it has to be, or nothing for that of the first handshakes; "bare": true for a client without capabilities;
//   "answer": {"action": "decline"} for every elicitation
//   {"id": 1, "method": "tools/call", "params": {…}, "timeout": ms, "progress": true, "cancel": ms}; after one with "wait": true, what follows
//   waits for its end
//
// Standard output, a line each: {"ready": {…}} or {"failed": {…}}; {"id": 1, "result": {…}} or {"id": 1, "error": {…}}, with the
// progress that was reported and "took", in ms; {"heard": NOTIFICATION}; {"asked": REQUEST} of the server; {"trouble": MESSAGE}.
// The end of standard input is the end of the session, and then of the program.

import { createInterface } from 'node:readline';

const [kind] = process.argv.slice(2);
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const failure = (error) => ({ name: error?.constructor?.name, code: error?.code, message: String(error?.message ?? error), data: error?.data });

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const settings = JSON.parse((await lines.next()).value);

const answers = {
  'elicitation/create': ({ params }) => settings.answer ?? (params.mode === 'url' ? { action: 'accept' } : { action: 'accept', content: content(params.requestedSchema) }),
  'sampling/createMessage': ({ params }) => ({ model: 'none', role: 'assistant', stopReason: 'endTurn', content: { type: 'text', text: `sampled: ${params.messages.length}` } }),
  'roots/list': () => ({ roots: [{ uri: 'file:///one', name: 'one' }, { uri: 'file:///two', name: 'two' }] }),
};

// content is something that a form may be filled with.
function content(schema) {
  const pick = {
    string: (p) => p.enum?.[0] ?? p.oneOf?.[0]?.const ?? ({ email: 'a@example.com', uri: 'https://example.com/', date: '2026-01-02' }[p.format] ?? 'blue'),
    number: () => 5, integer: () => 5, boolean: () => true,
    array: (p) => [p.items.enum?.[0] ?? p.items.anyOf?.[0]?.const],
  };
  return Object.fromEntries(Object.entries(schema.properties).map(([name, p]) => [name, pick[p.type](p)]));
}

const capabilities = settings.bare ? {} : { elicitation: { form: {}, url: {} }, sampling: {}, roots: { listChanged: true } };
const info = { name: `interop-${kind}`, version: '1.0.0' };
const asked = (request) => {
  say({ asked: { method: request.method, params: request.params } });
  return answers[request.method](request);
};

async function open() {
  if (kind === 'sdk') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js');
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const types = await import('@modelcontextprotocol/sdk/types.js');
    const client = new Client(info, { capabilities });
    if (!settings.bare) {
      client.setRequestHandler(types.ElicitRequestSchema, asked);
      client.setRequestHandler(types.CreateMessageRequestSchema, asked);
      client.setRequestHandler(types.ListRootsRequestSchema, asked);
    }
    return { client, transport: transport(StdioClientTransport, StreamableHTTPClientTransport) };
  }
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const { StdioClientTransport } = await import('@modelcontextprotocol/client/stdio');
  const mode = { auto: 'auto', undefined: 'legacy' }[settings.version] ?? { pin: settings.version };
  const client = new Client(info, { capabilities, versionNegotiation: { mode } });
  if (!settings.bare) Object.keys(answers).forEach((method) => client.setRequestHandler(method, asked));
  return { client, transport: transport(StdioClientTransport, StreamableHTTPClientTransport) };
}

function transport(Stdio, HTTP) {
  if (settings.url) return new HTTP(new URL(settings.url), { requestInit: { headers: settings.headers } });
  return new Stdio({ command: settings.command[0], args: settings.command.slice(1), env: settings.env, stderr: 'inherit' });
}

const { client, transport: wire } = await open();
client.onerror = (error) => say({ trouble: String(error?.message ?? error) });
client.fallbackNotificationHandler = async ({ method, params }) => say({ heard: { method, params } });

const calls = {
  'ping': (params, options) => client.ping(options),
  'tools/list': (params, options) => client.listTools(params, options),
  'tools/call': (params, options) => (kind === 'sdk' ? client.callTool(params, undefined, options) : client.callTool(params, options)),
  'prompts/list': (params, options) => client.listPrompts(params, options),
  'prompts/get': (params, options) => client.getPrompt(params, options),
  'resources/list': (params, options) => client.listResources(params, options),
  'resources/templates/list': (params, options) => client.listResourceTemplates(params, options),
  'resources/read': (params, options) => client.readResource(params, options),
  'resources/subscribe': (params, options) => client.subscribeResource(params, options),
  'resources/unsubscribe': (params, options) => client.unsubscribeResource(params, options),
  'completion/complete': (params, options) => client.complete(params, options),
  'logging/setLevel': ({ level }, options) => client.setLoggingLevel(level, options),
  'roots/changed': () => client.sendRootsListChanged(),
  'listen': async (params) => ({ honored: (await client.listen(params)).honoredFilter }),
  'raise': () => { throw new Error('no such method here'); },
};

async function run({ id, method, params, timeout, progress, cancel }) {
  const steps = [];
  const gone = new AbortController();
  if (cancel !== undefined) setTimeout(() => gone.abort('the user has thought better of it'), cancel);
  const options = { timeout: timeout ?? 60_000, signal: gone.signal, ...(progress && { onprogress: (step) => steps.push(step), resetTimeoutOnProgress: true }) };
  const began = performance.now();
  const took = () => Math.round(performance.now() - began);
  try {
    const result = await (calls[method] ?? calls.raise)(params, options);
    say({ id, result, progress: steps, took: took() });
  } catch (error) {
    say({ id, error: failure(error), progress: steps, took: took() });
  }
}

try {
  await client.connect(wire, { timeout: 30_000 });
  say({ ready: { server: client.getServerVersion(), capabilities: client.getServerCapabilities(), instructions: client.getInstructions(), version: client.getNegotiatedProtocolVersion?.() ?? wire.protocolVersion, session: wire.sessionId } });
} catch (error) {
  say({ failed: failure(error) });
  await wire.close().catch(() => {});
  process.exit(1);
}
let earlier = [];
for (let next = await lines.next(); !next.done; next = await lines.next()) {
  if (next.value === '') continue;
  const call = JSON.parse(next.value);
  const running = run(call);
  if (call.wait) await running;
  else earlier = [...earlier.slice(-1000), running];
}
await Promise.all(earlier);
await wire.terminateSession?.().catch(() => {});
await client.close();
process.exit(0);
