// A server of the stateless revision, 2026-07-28, by the official SDK: what a server of that revision can do, in small tools.
//
//   node server.mjs          requests of earlier revisions are refused
//   node server.mjs both     they are served too, each by itself
//
// Standard error: `ready {"url": "http://127.0.0.1:PORT/mcp"}` once it answers. The end of standard input is the order to leave.

import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { McpServer, ResourceTemplate, acceptedContent, completable, createMcpHandler, inputRequired, inputResponse } from '@modelcontextprotocol/server';
import { z } from 'zod';

const text = (said) => ({ content: [{ type: 'text', text: said }] });
const reads = { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: false };
const writes = { readOnlyHint: false, destructiveHint: true };

let grown = false; // whether there is one tool more
let cancelled = 0; // calls that their callers gave up
let rounds = 0; // times that a tool was called which asks for something first

const colour = z.object({ colour: z.string() });

function build() {
  const server = new McpServer({ name: 'stateless', title: 'A stateless server', version: '1.2.3' }, {
    capabilities: { logging: {}, tools: { listChanged: true }, resources: { subscribe: true, listChanged: true }, prompts: { listChanged: true } },
    instructions: 'Ask small things.',
  });
  const tool = (name, annotations, shape, run, more = {}) =>
    server.registerTool(name, { title: `The tool ${name}`, description: `Does ${name}.`, inputSchema: z.object(shape), annotations, ...more }, run);

  tool('echo', reads, { message: z.string() }, ({ message }) => text(`Echo: ${message}`));
  tool('meta', reads, {}, (args, ctx) => text(JSON.stringify(ctx.mcpReq._meta ?? {})));
  tool('sum', reads, { a: z.number(), b: z.number() }, ({ a, b }) => ({ ...text(`${a + b}`), structuredContent: { sum: a + b, of: [a, b] } }),
    { outputSchema: z.object({ sum: z.number(), of: z.array(z.number()) }) });
  tool('fail', reads, {}, () => { throw new Error('it cannot be done'); });
  tool('progress', reads, { steps: z.number() }, async ({ steps }, ctx) => {
    const token = ctx.mcpReq._meta?.progressToken;
    for (let i = 1; i <= steps && token !== undefined; i += 1) {
      await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken: token, progress: i, total: steps, message: `step ${i}` } });
    }
    return text(`${steps} steps`);
  });
  tool('log', reads, {}, async (args, ctx) => {
    await ctx.mcpReq.log('debug', 'of little interest', 'tests');
    await ctx.mcpReq.log('warning', { of: 'much' }, 'tests');
    return text('logged');
  });
  tool('wait', reads, { ms: z.number() }, ({ ms }, ctx) => new Promise((resolve) => {
    const timer = setTimeout(() => resolve(text('waited')), ms);
    ctx.mcpReq.signal.addEventListener('abort', () => {
      clearTimeout(timer);
      cancelled += 1;
      resolve(text('cancelled'));
    });
  }));
  tool('counts', reads, {}, () => text(JSON.stringify({ cancelled, rounds })));
  tool('ask', writes, {}, (args, ctx) => {
    rounds += 1;
    const answer = inputResponse(ctx.mcpReq.inputResponses, 'colour');
    if (answer.kind === 'missing') {
      return inputRequired({ inputRequests: { colour: inputRequired.elicit({ message: 'Which colour?', requestedSchema: colour }) } });
    }
    return text(`${answer.action}: ${acceptedContent(ctx.mcpReq.inputResponses, 'colour', colour)?.colour}`);
  });
  tool('sample', writes, {}, (args, ctx) => {
    const answer = inputResponse(ctx.mcpReq.inputResponses, 'model');
    if (answer.kind === 'missing') {
      return inputRequired({ inputRequests: { model: inputRequired.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: 'Say something.' } }], maxTokens: 10, systemPrompt: 'Be brief.' }) } });
    }
    return text(`the model said ${JSON.stringify(answer.result.content)}`);
  });
  tool('roots', reads, {}, (args, ctx) => {
    const answer = inputResponse(ctx.mcpReq.inputResponses, 'roots');
    return answer.kind === 'missing' ? inputRequired({ inputRequests: { roots: inputRequired.listRoots() } }) : text(`roots: ${JSON.stringify(answer.roots.map(({ uri, name }) => ({ uri, name })))}`);
  });
  // Two rounds: one for both of the first questions, whose answers the second has to bring back in the state.
  tool('rounds', writes, {}, (args, ctx) => {
    const state = ctx.mcpReq.requestState();
    const answers = ctx.mcpReq.inputResponses;
    if (state === undefined) {
      return inputRequired({
        inputRequests: { colour: inputRequired.elicit({ message: 'Which colour?', requestedSchema: colour }), roots: inputRequired.listRoots() },
        requestState: 'first',
      });
    }
    if (state === 'first') {
      const so = `${acceptedContent(answers, 'colour', colour)?.colour} of ${inputResponse(answers, 'roots').roots?.length}`;
      return inputRequired({ inputRequests: { again: inputRequired.elicit({ message: `Sure of ${so}?`, requestedSchema: colour }) }, requestState: `second ${so}` });
    }
    return text(`${state}, then ${acceptedContent(answers, 'again', colour)?.colour}`);
  });
  tool('touch', writes, { uri: z.string() }, ({ uri }) => {
    handler.notify.resourceUpdated(uri);
    return text('touched');
  });
  tool('grow', writes, {}, () => {
    grown = !grown;
    handler.notify.toolsChanged();
    return text(grown ? 'one more' : 'one less');
  });
  if (grown) tool('grown', reads, {}, () => text('here'));

  server.registerResource('note', 'note:///one', { title: 'A note', description: 'One note.', mimeType: 'text/plain' },
    (uri) => ({ contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'noted' }] }));
  server.registerResource('page', new ResourceTemplate('page:///{number}', { list: undefined, complete: { number: (value) => ['1', '12', '2'].filter((n) => n.startsWith(value)) } }),
    { title: 'A page', mimeType: 'application/octet-stream' }, (uri, { number }) => ({ contents: [{ uri: uri.href, blob: Buffer.from(`page ${number}`).toString('base64') }] }));
  server.registerPrompt('greet', { title: 'A greeting', description: 'Greets.', argsSchema: z.object({ who: completable(z.string(), (value) => ['Ada', 'Alan', 'Grace'].filter((n) => n.startsWith(value))) }) },
    ({ who }) => ({ description: 'a greeting', messages: [{ role: 'user', content: { type: 'text', text: `Greet ${who}.` } }] }));
  server.registerPrompt('painted', { description: 'Asks for a colour first.' }, (ctx) => {
    const answer = acceptedContent(ctx.mcpReq.inputResponses, 'colour', colour);
    return answer === undefined
      ? inputRequired({ inputRequests: { colour: inputRequired.elicit({ message: 'Which colour?', requestedSchema: colour }) } })
      : { messages: [{ role: 'user', content: { type: 'text', text: `Paint it ${answer.colour}.` } }] };
  });
  return server;
}

const handler = createMcpHandler(build, { legacy: process.argv[2] === 'both' ? 'stateless' : 'reject', onerror: (error) => console.error(error) });

const http = createServer(async (req, res) => {
  const gone = new AbortController();
  res.on('close', () => gone.abort());
  const body = req.method === 'GET' || req.method === 'HEAD' ? undefined : Readable.toWeb(req);
  const answer = await handler.fetch(new Request(`http://${req.headers.host}${req.url}`, { method: req.method, headers: req.headers, body, duplex: 'half', signal: gone.signal }))
    .catch((error) => new Response(String(error), { status: 500 }));
  res.writeHead(answer.status, Object.fromEntries(answer.headers));
  res.flushHeaders();
  if (answer.body === null) return res.end();
  return Readable.fromWeb(answer.body).on('error', () => res.destroy()).pipe(res);
});
http.listen(0, '127.0.0.1', () => console.error(`ready ${JSON.stringify({ url: `http://127.0.0.1:${http.address().port}/mcp` })}`));
process.stdin.on('end', () => process.exit(0)).resume();
