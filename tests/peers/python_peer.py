"""A client on the library `websockets`: python_peer.py URL TOKEN PROJECT FRAMES

Offers the token as a subprotocol, subscribes in fragments with a ping between them, prints frames one a line, and
closes after so many frames of the server; 0 = waits until the server closes. Lines of its own have a "peer".
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


def tell(peer, **fields):
    print(json.dumps({"peer": peer, **fields}), flush=True)


async def ping(socket, payload):
    # Resolves only for a pong that carries the same payload.
    await (await socket.ping(payload))
    tell("ponged", payload=payload)


async def main(url, token, project, frames):
    async with connect(url, subprotocols=["pgherald.v1", f"bearer.{token}"], proxy=None) as socket:
        tell("opened", subprotocol=socket.subprotocol)

        async def fragments():
            text = json.dumps({"type": "subscribe", "ref": "é", "project_id": project}, ensure_ascii=False)
            yield text[:9]
            await ping(socket, "between")
            yield text[9:30]
            yield ""
            yield text[30:]

        await socket.send(fragments())
        try:
            heard = 0
            while frames == 0 or heard < frames:
                print(await socket.recv(), flush=True)
                heard += 1
            await ping(socket, "")
            await ping(socket, "x" * 125)
            await socket.close(1000, "done")
        except ConnectionClosed:
            pass
    tell("closed", code=socket.close_code, reason=socket.close_reason)


url, token, project, frames = sys.argv[1:]
asyncio.run(asyncio.wait_for(main(url, token, project, int(frames)), 60))
