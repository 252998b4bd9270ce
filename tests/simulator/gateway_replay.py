"""Replays a recorded case against a simulated gateway: a ComfyUI that plays its part of the recording stands behind it.

Both sides are compared: what the gateway asked of ComfyUI, and what it told its client. The names it makes are given
to it from the recording, so answers agree to the letter.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from PIL import Image

from comfysoak_core.gateway.api import ApiName
from comfysoak_simulator.gateway.gateway import Gateway, Settings
from comfysoak_simulator.gateway.mapping import Defaults

Json = Any
FOLDER = Path(__file__).parent.parent / "data" / "recordings" / "gateway"
TOKEN = "a-token-of-the-test"  # nobody's
_NOT_SIMULATED = {"USER_PERMISSIONS"}  # what groups may do: an update tells that too
_WRONG = {1: "sk-unknown", 2: "malformed"}  # what the recorded client brought, by the number of its request
_NODES = [
    {"type": "prompt", "key": "value", "node_ids": ["2"]},
    {"type": "width", "key": "width", "node_ids": ["1"]},
    {"type": "height", "key": "height", "node_ids": ["1"]},
    {"type": "n", "key": "batch_size", "node_ids": ["1"]},
    {"type": "model", "key": "ckpt_name", "node_ids": []},
]
_WORKFLOW = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PrimitiveString", "inputs": {"value": "owui"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": ["2", 0]}},
}


@dataclass(frozen=True)
class Case:
    """One recorded case."""

    name: str
    old: bool
    config: dict[str, Json]
    exchanges: list[Json]
    upstream: list[Json]

    @property
    def api(self) -> ApiName:
        return "open-webui-old" if self.old else "open-webui"

    def settings(self) -> Settings:
        config = self.config
        workflow = config.get("COMFYUI_WORKFLOW", _WORKFLOW)
        defaults = Defaults(
            workflow if isinstance(workflow, str) else json.dumps(workflow),
            config.get("COMFYUI_WORKFLOW_NODES", _NODES),
            model=config.get("IMAGE_GENERATION_MODEL", ""),
            size="64x64",
            steps=4,
        )
        return Settings(
            defaults,
            api_key=config.get("COMFYUI_API_KEY", "" if "started" in config else "example-key"),
            token=TOKEN,
            enabled=config.get("ENABLE_IMAGE_GENERATION", True),
        )


def load(name: str) -> Case:
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    config = dict(document.get("config") or {})
    if document.get("started"):  # anew, with an environment of its own
        config["started"] = True
    config |= document.get("environment") or {}
    nodes = config.get("COMFYUI_WORKFLOW_NODES")
    if isinstance(nodes, str):
        config["COMFYUI_WORKFLOW_NODES"] = _nodes_of_environment(nodes)
    return Case(name, name.startswith("v0335"), config, document["exchanges"], document.get("upstream") or [])


def _nodes_of_environment(text: str) -> Json:
    """What is no JSON silently becomes an empty list."""
    try:
        return json.loads(text)
    except ValueError:
        return []


class Played:
    """The ComfyUI of a recording: says what was recorded, and compares what it is asked."""

    def __init__(self, case: Case) -> None:
        self.problems: list[str] = []
        self.played_out = asyncio.Event()  # the sockets have told all they had to
        self._http = deque(_pairs(case.upstream))
        self._sockets = deque(event for event in case.upstream if event["kind"] == "ws" and "path" in event)
        self._told = [event for event in case.upstream if event["kind"] == "ws" and "path" not in event]
        self._open: tuple[int, web.WebSocketResponse] | None = None  # the last one: its number, and itself
        self._compare_bodies = not case.old
        self._loose = any(node.get("type") == "seed" for node in _nodes(case))

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/ws", self._socket)
        app.router.add_get("//ws", self._socket)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not self._sockets:
            self.problems.append("a socket that was not recorded")
            return web.Response(status=500)
        event = self._sockets.popleft()
        if event["what"] == "handshake":
            return web.Response(status=event["status"])
        self._compare("the socket's query", event["query"], dict(request.query))
        self._compare("its token", event["headers"].get("Authorization"), request.headers.get("Authorization"))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._open = event["c"], socket
        async for _ in socket:
            pass
        return socket

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not self._http:
            self.problems.append(f"{request.method} {request.path} was not recorded")
            return web.Response(status=500)
        asked, answer = self._http.popleft()
        where = f"{request.method} {request.path}"
        self._compare("asked for", f"{asked['method']} {asked['path']}", where)
        self._compare(where, asked["query"], dict(request.query))
        self._compare(f"{where}: token", asked["headers"].get("Authorization"), request.headers.get("Authorization"))
        if request.method == "POST":
            self._compare(f"{where}: type", asked["headers"].get("Content-Type"), request.headers.get("Content-Type"))
            if self._compare_bodies and not self._loose:
                self._compare(where, asked["body"], json.loads(await request.read()))
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if request.path.endswith("/prompt") and answer.get("status") == 200:
            asyncio.get_running_loop().call_later(0.01, lambda: asyncio.ensure_future(self._tell()))
        return _response(request.path, answer)

    async def _tell(self) -> None:
        """The messages that follow a prompt, to the end of that prompt or to what kept it from being told."""
        assert self._open is not None
        number, socket = self._open
        while self._told:
            event = self._told[0]
            if event["c"] != number or event["what"] == "closed by gateway":
                self._told.pop(0)
                if event["c"] == number:
                    return
                continue
            self._told.pop(0)
            if event["what"] == "fault: dropped by recorder":
                with suppress(Exception):
                    await socket.close(code=1001)
                return
            following = self._told[0]["what"] if self._told else ""
            if event["what"] != "message" or following.startswith("fault: message withheld"):
                break
            await socket.send_str(json.dumps(event["message"]))
            if event["message"]["type"] == "executing" and event["message"]["data"]["node"] is None:
                return
        self.played_out.set()

    def _compare(self, where: str, recorded: Json, came: Json) -> None:
        if _same(recorded) != _same(came):
            self.problems.append(f"{where}: {recorded!r} was recorded, {came!r} came")


def _same(value: Json) -> Json:
    return value.rstrip() if isinstance(value, str) else value


def _nodes(case: Case) -> list[Json]:
    nodes = case.config.get("COMFYUI_WORKFLOW_NODES")
    return nodes if isinstance(nodes, list) else []


def _pairs(upstream: list[Json]) -> list[tuple[Json, Json]]:
    """Each request with its answer; None: the connection was reset."""
    answers = {event["c"]: event for event in upstream if event["kind"] == "http" and event["what"] != "request"}
    asked = [event for event in upstream if event["kind"] == "http" and event["what"] == "request"]
    return [(event, answers.get(event["c"])) for event in asked]


def _response(path: str, answer: Json) -> web.Response:
    if path.endswith("/view") and answer["status"] == 200 and "fault" not in answer["what"]:
        return web.Response(body=_png(), content_type="image/png")
    if "fault" in answer["what"]:
        html = answer["status"] == 200 and path.endswith("/view")
        fault = "<html>" if html else "{}" if answer["status"] == 200 else ""
        return web.Response(
            status=answer["status"], text=fault, content_type="text/html" if html else "application/json"
        )
    body: Json = answer["body"]
    if isinstance(body, dict) and "_truncated_json_bytes" in body:
        body = {"CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["broken.safetensors"]]}}}}
    kind = answer["content_type"].partition(";")[0]
    text = body if isinstance(body, str) else json.dumps(body)
    return web.Response(status=answer["status"], text=text, content_type=kind)


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    return buffer.getvalue()


@asynccontextmanager
async def standing(case: Case) -> AsyncIterator[tuple[Gateway, Played]]:
    """A gateway as it was set, with the recorded ComfyUI behind it; nothing behind it where nothing was."""
    played = Played(case)
    runner = web.AppRunner(played.app(), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}{'/' if 'trailing-slash' in case.name else ''}"
    if not case.upstream or "8199" in case.config.get("COMFYUI_BASE_URL", ""):
        await site.stop()
    gateway = Gateway(url, case.settings(), api=case.api)
    await gateway.start()
    try:
        yield gateway, played
    finally:
        await gateway.stop()
        await runner.cleanup()


async def replayed(case: Case) -> list[str]:
    """What does not agree; empty when all does."""
    async with standing(case) as (gateway, played), aiohttp.ClientSession() as session:
        names = deque(_names(case))
        gateway.new_id = lambda: names.popleft() if names else "a name that was not recorded"
        for index, exchange in enumerate(case.exchanges):
            if exchange["path"] in {"/queue", "/health"}:  # asked of ComfyUI, or of nobody in particular
                continue
            await _exchange(session, gateway, played, index, exchange, case)
        return played.problems


def _names(case: Case) -> list[str]:
    """The names the recorded gateway made, in order: a client id for each request, then one for each picture."""
    ids = deque(event["query"]["clientId"] for event in case.upstream if event["what"] == "open")
    names: list[str] = []
    for exchange in case.exchanges:
        if not exchange["path"].endswith("/generations"):
            continue
        if not case.old and ids and exchange["response"].get("status") not in {401, 403, 422, 500}:
            names.append(ids.popleft())
        body = exchange["response"].get("body")
        items = body if isinstance(body, list) else []
        names += [item.get("id") or item["url"].rpartition("/")[2].partition(".")[0] for item in items]
    return names


async def _exchange(
    session: aiohttp.ClientSession, gateway: Gateway, played: Played, index: int, exchange: Json, case: Case
) -> None:
    headers = {}
    if exchange["auth"]:
        headers["Authorization"] = f"Bearer {_WRONG.get(index, '') if 'fail-auth' in case.name else TOKEN}"
    body = exchange["json"]
    if isinstance(body, dict) and "url" in body:
        body = {**body, "url": gateway._upstream.base_url + "/"}  # in the place of the recorded port
    recorded = exchange["response"]
    url = f"{gateway.url}{exchange['path']}"
    asking = asyncio.ensure_future(_ask(session, exchange["method"], url, body, headers))
    if "client_timeout_s" in recorded:
        async with asyncio.timeout(10):
            await played.played_out.wait()
        await asyncio.wait([asking], timeout=0.1)
        if asking.done():
            played.problems.append(f"exchange {index}: it was to wait, and answered {asking.result()}")
        asking.cancel()
        return
    status, kind, came = await asking
    wanted = (recorded["status"], recorded["content_type"].partition(";")[0], recorded["body"])
    where = f"exchange {index}, {exchange['method']} {exchange['path']}"
    if (status, kind) != wanted[:2]:
        played.problems.append(f"{where}: {wanted} was recorded, {(status, kind, came)} came")
    elif not exchange["path"].endswith("/config") and not _agrees(wanted[2], came):  # a configuration has much else
        played.problems.append(f"{where}: {wanted[2]} was recorded, {came} came")


async def _ask(
    session: aiohttp.ClientSession, method: str, url: str, body: Json, headers: dict[str, str]
) -> tuple[int, str, Json]:
    async with session.request(method, url, json=body, headers=headers) as answer:
        content = await answer.read()
        if answer.content_type == "application/json":
            return answer.status, answer.content_type, json.loads(content)
        text = content.decode() if answer.content_type == "text/plain" else {"magic": content[:8].hex()}
        return answer.status, answer.content_type, text


def _agrees(recorded: Json, came: Json) -> bool:
    if isinstance(recorded, dict) and isinstance(came, dict):
        known = {key for key in recorded if not key.startswith("_") and key not in _NOT_SIMULATED}
        return known <= came.keys() and all(_agrees(recorded[key], came[key]) for key in known)
    if isinstance(recorded, str) and isinstance(came, str) and "validation error" in recorded:
        return recorded[:27] == came[:27]
    if isinstance(recorded, str) and isinstance(came, str) and came.startswith("[ERROR:") and "Max retries" in recorded:
        return True  # the words of another library
    return bool(recorded == came)
