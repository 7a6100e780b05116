// Keeps a server on the loopback interface that listens on every one and cannot be told otherwise: preloaded with
//
//   node --import ./loopback.mjs SERVER
//
// it has every listener of the process listen there. A server that was to choose its own port says which one it got, and the process
// ends when its input does: so that a test that dies leaves nothing behind.

import net from 'node:net';

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function loopback(port, ...rest) {
  const callback = rest.find((each) => typeof each === 'function');
  return listen.call(this, { port: Number(port), host: '127.0.0.1' }, () => {
    callback?.call(this);
    console.error(`\nready ${JSON.stringify({ url: `http://127.0.0.1:${this.address().port}/mcp` })}`);
  });
};
process.stdin.on('end', () => process.exit(0)).resume();
