"""A server that holds thousands of WebSockets and tells all of them the same, in a process of its own.

`python server.py MESSAGES_PER_S`: prints its port; each socket is greeted with a `status`, then gets so many
`status` messages a second, each one write of its own, spread evenly. It reads what comes and looks only for closes.
POST /prompt is answered as by ComfyUI; the prompt never ends.
"""

from __future__ import annotations

import asyncio
import re
import sys

from benchmarks.handshake import switching

_PROMPT_ID = re.compile(rb'"prompt_id": ?"([^"]+)"')
_CLOSE = 0x88
SOCKETS_A_TURN = 100


class Socket(asyncio.Protocol):
    """One connection."""

    everyone: dict[Socket, None] = {}

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.everyone.pop(self, None)

    def data_received(self, data: bytes) -> None:
        """A request, or frames, of which only closes are looked at."""
        if self.is_open:
            if data[0] == _CLOSE:
                self.transport.write(b"\x88\x02\x03\xe8")
                self.transport.close()
            return
        if data.startswith(b"POST"):
            self.accept(data)
            return
        answer = switching(data)
        if answer is None:
            self.transport.close()
            return
        self.transport.write(answer + status(0))
        self.is_open = True
        self.everyone[self] = None

    def accept(self, request: bytes) -> None:
        """Take a prompt."""
        found = _PROMPT_ID.search(request)
        answer = b'{"prompt_id": "%s", "number": 1, "node_errors": {}}' % (found[1] if found else b"1")
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))


def status(remaining: int) -> bytes:
    """The message ComfyUI sends to every socket whenever its queue changes, as a frame."""
    text = b'{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": %d}}}}' % remaining
    return bytes((0x81, len(text))) + text


async def tell(per_s: float) -> None:
    """So many messages a second to each socket, a hundred sockets at a time."""
    loop = asyncio.get_running_loop()
    count, due_s = 0, loop.time()
    while True:
        count += 1
        due_s += 1 / per_s
        frame, everyone = status(count % 100), list(Socket.everyone)
        for start in range(0, len(everyone), SOCKETS_A_TURN):
            for socket in everyone[start : start + SOCKETS_A_TURN]:
                socket.transport.write(frame)
            await asyncio.sleep(0)
        await asyncio.sleep(max(due_s - loop.time(), 0))


async def main() -> None:
    """Serve until ended."""
    server = await asyncio.get_running_loop().create_server(Socket, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    per_s = float(sys.argv[1])
    if per_s:
        await tell(per_s)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
