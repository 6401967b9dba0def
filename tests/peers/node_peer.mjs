// A client on the library `ws`: node_peer.mjs URL TOKEN PROJECT FRAMES
//
// Offers the token as a subprotocol, subscribes in fragments with a ping between them, prints frames one a line, and
// closes after so many frames of the server; 0 = waits until the server closes. Lines of its own have a "peer".

import { createRequire } from 'node:module';

const WebSocket = createRequire(new URL('../../target/peers/node/', import.meta.url))('ws');
const [url, token, project, frames] = process.argv.slice(2);
const tell = (peer, fields) => console.log(JSON.stringify({ peer, ...fields }));

const socket = new WebSocket(url, ['pgherald.v1', `bearer.${token}`]);
const send = (data, fin) => socket.send(data, { fin, binary: false });
const ping = (payload) =>
  new Promise((resolve) => {
    socket.once('pong', (data) => {
      tell('ponged', { payload: data.toString() });
      resolve();
    });
    socket.ping(payload);
  });

setTimeout(() => {
  tell('gave up', {});
  process.exit(1);
}, 60_000).unref();

socket.on('error', (error) => tell('failed', { error: error.message }));
socket.on('close', (code, reason) => tell('closed', { code, reason: reason.toString() }));

let heard = 0;
socket.on('message', async (data) => {
  console.log(data.toString());
  heard += 1;
  if (heard === Number(frames)) {
    await ping('');
    await ping('x'.repeat(125));
    socket.close(1000, 'done');
  }
});

socket.on('open', async () => {
  tell('opened', { subprotocol: socket.protocol });
  const text = Buffer.from(JSON.stringify({ type: 'subscribe', ref: 'é', project_id: project }));
  // Cut within the é too: a fragment may end inside a character.
  const inside = text.indexOf('é') + 1;
  send(text.subarray(0, 9), false);
  await ping('between');
  send(text.subarray(9, inside), false);
  send(Buffer.alloc(0), false);
  send(text.subarray(inside), true);
});
