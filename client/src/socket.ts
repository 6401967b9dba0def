/** A link over a WebSocket. */

import { BROKEN } from "./close.js";
import type { ServerFrame } from "./frames.js";
import { address, type Link, type LinkOwner } from "./link.js";
import type { WebSocketLike } from "./types.js";

/** @throws SyntaxError or TypeError where `url` is none. */
export function openSocket(url: string | URL, owner: LinkOwner, Socket: new (url: URL) => WebSocketLike): Link {
  const socket = new Socket(address(url, "wss:", "ws:"));
  const silence = () => {
    socket.onopen = socket.onmessage = socket.onclose = null;
  };
  // What is wrong comes with `close`; without a listener some implementations throw.
  socket.onerror = () => {};
  socket.onopen = () => owner.opened();
  socket.onmessage = ({ data }: { data: string }) => {
    let frame: ServerFrame | undefined;
    try {
      frame = JSON.parse(data);
    } catch {
      // It is none.
    }
    if (frame?.type) return owner.heard(frame);
    // What it was nobody knows, so this is as good as lost.
    it.close();
    owner.ended(BROKEN, "the daemon said what is no frame");
  };
  socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
    silence();
    owner.ended(code, reason);
  };
  const it: Link = {
    send(frame) {
      if (socket.readyState === 1) socket.send(JSON.stringify(frame));
    },
    close() {
      silence();
      socket.close();
    },
  };
  return it;
}
