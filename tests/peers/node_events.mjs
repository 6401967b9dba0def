// A client on the library `eventsource`: node_events.mjs URL [TOKEN]
//
// Prints each event one a line, and lines of its own with a "peer": opened, broken (it comes back by itself) and closed
// (it does not). The token goes into a header; without one the address must have it, as a browser's EventSource needs.

import { createRequire } from 'node:module';

const { EventSource } = createRequire(new URL('../../target/peers/node/', import.meta.url))('eventsource');
const [url, token] = process.argv.slice(2);
const tell = (peer, fields) => console.log(JSON.stringify({ peer, ...fields }));

const withToken = (input, init) => fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } });
const source = new EventSource(url, token ? { fetch: withToken } : {});

setTimeout(() => {
  tell('gave up', {});
  process.exit(1);
}, 60_000).unref();

source.onopen = () => tell('opened', {});
source.onmessage = ({ data, lastEventId }) => tell('message', { id: lastEventId, frame: JSON.parse(data) });
source.onerror = ({ code }) => {
  if (source.readyState === EventSource.CLOSED) {
    tell('closed', { status: code });
  } else {
    tell('broken', {});
  }
};
