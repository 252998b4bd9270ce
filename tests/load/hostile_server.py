"""A ComfyUI of a few lines that misbehaves as the prompt asks it to: its `filename_prefix` is the misdeed.

Real sockets, in a thread of the test. A prompt without a misdeed runs as on a real server.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import WSMsgType, web
from PIL import Image

Json = dict[str, Any]
LARGE_BYTES = 40_000_000
HTML = b"<html><body>502 Bad Gateway</body></html>"


class HostileServer:
    """What it was sent and what it pretends to remember."""

    def __init__(self) -> None:
        self.history: dict[str, Json] = {}
        self.queued: set[str] = set()
        self.misdeeds: dict[str, str] = {}
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.number = 0
        picture = io.BytesIO()
        Image.new("RGB", (64, 64)).save(picture, "PNG")
        self.picture = picture.getvalue()

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/ws", self.ws),
                web.post("/prompt", self.prompt),
                web.get("/history/{id}", self.history_of),
                web.get("/queue", self.queue),
                web.get("/view", self.view),
                web.post("/queue", self.nothing),
                web.post("/interrupt", self.nothing),
            ]
        )
        return app

    async def ws(self, request: web.Request) -> web.WebSocketResponse:
        client = request.query["clientId"]
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets[client] = socket
        await socket.send_json(
            {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": client}}
        )
        async for message in socket:
            if message.type is WSMsgType.ERROR:
                break
        return socket

    async def prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        prompt_id, client = body["prompt_id"], body["client_id"]
        misdeed = self.misdeeds[prompt_id] = body["prompt"]["3"]["inputs"]["filename_prefix"]
        if misdeed == "html_for_submit":
            return web.Response(body=HTML, content_type="text/html")
        if misdeed == "error_for_submit":
            return web.Response(status=500, body=b"500 Internal Server Error")
        if misdeed == "hang_up_on_submit":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        self.number += 1
        asyncio.get_running_loop().create_task(self.run(prompt_id, client, misdeed))
        number: object = "nine" if misdeed == "wrong_types" else self.number
        return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": {}})

    async def run(self, prompt_id: str, client: str, misdeed: str) -> None:
        socket = self.sockets[client]
        self.queued.add(prompt_id)
        if misdeed == "silence":
            return
        await self.say(socket, "execution_start", {"prompt_id": prompt_id, "timestamp": 1})
        await self.say(socket, "execution_cached", {"prompt_id": prompt_id, "nodes": [], "timestamp": 1})
        await self.say(socket, "executing", {"prompt_id": prompt_id, "node": "2", "display_node": "2"})
        await self.misbehave(socket, prompt_id, misdeed)
        output = self.remember(prompt_id, misdeed)
        await self.say(socket, "executed", {"prompt_id": prompt_id, "node": "3", "output": output})
        if misdeed in ("huge_frame", "cut_in_mid_frame", "close_1011"):
            return
        await self.say(socket, "execution_success", {"prompt_id": prompt_id, "timestamp": 2})
        await self.say(socket, "executing", {"prompt_id": prompt_id, "node": None})

    async def misbehave(self, socket: web.WebSocketResponse, prompt_id: str, misdeed: str) -> None:
        if misdeed == "broken_json":
            for text in ('{"type": "exec', "[1, 2]", '{"type": 5}', "nul", '{"type": "a new kind", "data": {}}'):
                await socket.send_str(text)
            await socket.send_bytes(b"\0\0")
        elif misdeed == "wrong_types":
            await self.say(socket, "progress", {"prompt_id": prompt_id, "node": "2", "value": "half", "max": []})
            await self.say(socket, "progress_state", {"prompt_id": prompt_id, "nodes": [1]})
            await self.say(socket, "progress_state", {"prompt_id": prompt_id, "nodes": {"2": "running"}})
        elif misdeed == "other_ids":
            for other in ("someone else's", prompt_id[::-1], ""):
                await self.say(socket, "executing", {"prompt_id": other, "node": None})
        elif misdeed == "huge_frame":
            self.raw(socket, b"\x82\x7f" + (2**50).to_bytes(8, "big") + b"x" * 1000)
        elif misdeed == "cut_in_mid_frame":
            self.raw(socket, b"\x81\x7e\x10\x00half a message")
            await asyncio.sleep(0.05)
            assert socket._req is not None
            assert socket._req.transport is not None
            socket._req.transport.abort()
        elif misdeed == "close_1011":
            await socket.close(code=1011, message=b"internal error")
        else:
            await self.exaggerate(socket, prompt_id, misdeed)

    async def exaggerate(self, socket: web.WebSocketResponse, prompt_id: str, misdeed: str) -> None:
        if misdeed == "told_twice":
            await self.say(socket, "execution_start", {"prompt_id": prompt_id, "timestamp": 1})
        elif misdeed == "status_flood":
            for remaining in range(2000):
                await self.say(socket, "status", {"status": {"exec_info": {"queue_remaining": remaining}}})
        elif misdeed == "large_frame":
            await socket.send_bytes(b"\0\0\0\x09" + bytes(LARGE_BYTES))

    def raw(self, socket: web.WebSocketResponse, data: bytes) -> None:
        assert socket._req is not None
        assert socket._req.transport is not None
        socket._req.transport.write(data)

    async def say(self, socket: web.WebSocketResponse, kind: str, data: Json) -> None:
        if not socket.closed:
            await socket.send_json({"type": kind, "data": data})

    def remember(self, prompt_id: str, misdeed: str) -> Json:
        """Write the history entry; the outputs of its one output node."""
        self.queued.discard(prompt_id)
        files = [{"filename": f"{misdeed}.png", "subfolder": "", "type": "output"}]
        output = {"images": files * (2 if misdeed == "two_pictures" else 1)}
        self.history[prompt_id] = {
            "prompt": [1, prompt_id, {}, {}, ["3"]],
            "outputs": {"3": output},
            "status": {
                "status_str": "success",
                "completed": True,
                "messages": [["execution_start", {"timestamp": 1}], ["execution_success", {"timestamp": 2}]],
            },
        }
        return output

    async def history_of(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        if self.misdeeds.get(prompt_id) == "html_for_history":
            return web.Response(status=502, body=HTML, content_type="text/html")
        entry = self.history.get(prompt_id)
        return web.json_response({} if entry is None else {prompt_id: entry})

    async def queue(self, request: web.Request) -> web.Response:
        running = [[1, prompt_id, {}, {}, []] for prompt_id in self.queued]
        return web.json_response({"queue_running": running, "queue_pending": []})

    async def view(self, request: web.Request) -> web.Response:
        name = request.query["filename"]
        if name.startswith("html_for_picture"):
            return web.Response(body=HTML)
        if name.startswith("no_picture"):
            return web.Response(status=404)
        return web.Response(body=self.picture)

    async def nothing(self, request: web.Request) -> web.Response:
        return web.Response()


@contextmanager
def hostile_server() -> Iterator[str]:
    """One that serves for the length of a block; its base URL."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(HostileServer().app(), shutdown_timeout=0.1)
    thread = threading.Thread(target=loop.run_forever, daemon=True)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield f"http://127.0.0.1:{port}"
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
