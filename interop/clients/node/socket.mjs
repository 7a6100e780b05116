// Speaks WebSocket (RFC 6455) through a proxy to a server of its own, both of them ws.
//
//   node socket.mjs serve        prints "ready PORT", and echoes what it is sent until its input ends
//   node socket.mjs ask URL KEY  says what it has to say at the URL, with the key as Bearer token
//
// Asking prints one line of JSON: {"said": what the server knows of the handshake, "echoes": [lengths…], "code": of the close}, or
// {"error": MESSAGE}.

import { once } from 'node:events';
import WebSocket, { WebSocketServer } from 'ws';

const [what, url, key] = process.argv.slice(2);

function serve() {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: 16 << 20 });
  server.on('listening', () => console.log(`ready ${server.address().port}`));
  server.on('connection', (socket, request) => {
    const { authorization, host, 'sec-websocket-extensions': extensions = '' } = request.headers;
    socket.send(JSON.stringify({ authorization, host, url: request.url, extensions }));
    socket.on('message', (data, binary) => {
      if (data.toString() === 'close') socket.close(4001, 'as you wish');
      else socket.send(data, { binary });
    });
  });
  process.stdin.on('end', () => process.exit(0)).resume();
}

async function ask() {
  const socket = new WebSocket(url, { headers: { Authorization: `Bearer ${key}` }, maxPayload: 16 << 20 });
  const failed = new Promise((_, reject) => { socket.on('error', reject); });
  const next = async () => (await Promise.race([once(socket, 'message'), failed]))[0];
  const said = JSON.parse((await next()).toString());
  const echoes = [];
  for (const message of ['hello', '', Buffer.alloc(1 << 20, 7), 'ü'.repeat(70_000)]) {
    socket.send(message);
    const echo = await next();
    if (!Buffer.from(message).equals(Buffer.from(echo))) throw new Error('an echo differs');
    echoes.push(echo.length);
  }
  socket.ping();
  await Promise.race([once(socket, 'pong'), failed]);
  socket.send('close');
  const [code, reason] = await Promise.race([once(socket, 'close'), failed]);
  return { said, echoes, code, reason: reason.toString() };
}

if (what === 'serve') serve();
else {
  try {
    console.log(JSON.stringify(await ask()));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
  process.exit(0);
}
