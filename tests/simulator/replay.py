"""Replays a recorded case against a simulated server over real sockets, in simulated time.

The server's clock stands still except where the replay lets it pass: until the messages that had been received
before the next action of the client have come, and by the pauses of the recording in which nothing was received.
So the order of things is that of the recording, and a case takes as long as its bytes take.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import re
import socket as socket_module
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from comfysoak_core.clock import NS_PER_S, ManualClock
from comfysoak_core.scenario.embedded import Embedded
from comfysoak_simulator.machine import Machine
from comfysoak_simulator.server import Server
from tests.simulator.agreement import differences
from tests.simulator.recordings import Case, Step, picture

Json = Any
PAUSE_MS = 100.0
LONGEST_NS = 120 * NS_PER_S
_TEMPORARY = re.compile(r"ComfyUI_temp_[a-z]{5}")


@asynccontextmanager
async def serving(
    embedded: Embedded, clock: ManualClock | None = None, *, started: bool = True
) -> AsyncIterator[Server]:
    """A server on a free port, in this loop, by a clock that stands; perhaps yet to be started."""
    port = 0 if started else _free_port()
    server = Server(Machine.assemble(embedded, 0, clock or ManualClock()), "127.0.0.1", port)
    if started:
        await server.start()
    try:
        yield server
    finally:
        await server.stop()


def _free_port() -> int:
    with socket_module.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Listener:
    """One WebSocket of the client: what came, and how it ended."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.received: list[Json] = []
        self.reads = True
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            async for message in self.socket:
                self.received.append(json.loads(message) if isinstance(message, str) else decoded(message))
        except ConnectionClosed:
            pass

    async def wait_for(self, what: Callable[[], bool]) -> None:
        """Until this is so, TimeoutError after ten seconds."""
        async with asyncio.timeout(10):
            while not what():  # noqa: ASYNC110  # asyncio's events know no conditions
                await asyncio.sleep(0.01)

    async def caught_up(self) -> None:
        """Everything the server has written so far has been received: a pong comes after it."""
        if self.reads and not self._task.done():
            try:
                await (await self.socket.ping())
                await asyncio.sleep(0)
            except ConnectionClosed:
                await self._task

    def stop_reading(self) -> None:
        self.reads = False
        self.socket.transport.pause_reading()

    def read_again(self) -> None:
        self.reads = True
        self.socket.transport.resume_reading()

    async def ended(self) -> int:
        """The close code the client saw."""
        await asyncio.wait_for(self._task, 5)
        return self.socket.close_code or 1006

    def drop(self) -> None:
        self.socket.transport.abort()


def decoded(frame: bytes) -> Json:
    """A binary frame as the recordings explain them."""
    (kind,) = struct.unpack(">I", frame[:4])
    length = struct.unpack(">I", frame[4:8])[0]
    if kind == 3:
        text = {"event_type": 3, "node_id": frame[8 : 8 + length].decode(), "text": frame[8 + length :].decode()}
        return {"decoded": text}
    if kind == 4:
        metadata = json.loads(frame[8 : 8 + length])
        image = {"metadata_length": length, "metadata": metadata, "image_bytes": len(frame) - 8 - length}
        return {"decoded": {"event_type": 4, **image}}
    return {"decoded": {"event_type": kind, "image_format": length, "image_bytes": len(frame) - 8}}


class Replay:
    """One case being replayed; `problems` collects what does not agree."""

    def __init__(self, case: Case, server: Server, clock: ManualClock) -> None:
        self._stir = server.stir
        self._prompts_before_first = case.prompts_before_first
        server.stir = self._stir_when_due  # type: ignore[method-assign]  # the worker may have been late
        self.problems: list[str] = []
        self._case = case
        self._server = server
        self._clock = clock
        self._listeners: dict[str, Listener] = {}
        self._expected: dict[str, list[Json]] = defaultdict(list)
        self._answers: dict[tuple[str, str], list[tuple[Json, ...]]] = defaultdict(list)
        self._session: aiohttp.ClientSession | None = None

    async def run(self) -> list[str]:
        """Replay all steps; what does not agree."""
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            last_ms = 0.0
            for index, step in enumerate(self._case.steps):
                if step["dir"] in ("request", "ws_open", "ws_send", "signal", "ws_close"):
                    await self._until_expected(step)
                    await self._pause(step["t_ms"] - last_ms)
                await self._do(index, step)
                last_ms = step["t_ms"]
            for name in list(self._listeners):
                await self._compare(name)
        return self.problems

    async def _do(self, index: int, step: Step) -> None:
        match step["dir"]:
            case "request":
                await self._request(index, step)
            case "response":
                await self._response(step)
            case "ws_open":
                await self._open(index, step)
            case "ws_recv":
                self._expected[step["ws"]].append(step)
            case "ws_send":
                await self._send(step)
            case "ws_close":
                await self._close(step)
            case "signal" if "gets" in step["note"]:
                await self._server.stop()

    # --- time -------------------------------------------------------------------------------------------------

    def _stir_when_due(self) -> None:
        """Let the worker take the first prompt when the queue is as long as it was when the real one took it."""
        if self._server.engine.queue.remaining >= self._prompts_before_first:
            self._prompts_before_first = 0
            self._stir()

    async def _settle(self) -> None:
        """All that can happen without time passing has happened, and its messages have been received."""
        while not self._server.is_settled:  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0)
        for listener in list(self._listeners.values()):
            await listener.caught_up()

    async def _until_expected(self, step: Step) -> None:
        start_ns = self._clock.now_ns()
        patience = 2000
        await self._settle()
        while (missing := self._missing()) is not None:
            await self._settle()
            due_ns = self._server.due_ns
            if self._missing() is None:
                return
            # many bytes are under way: not yet sent, or sent and not yet read by a client that is given no time
            if patience and (not self._server.sockets.is_idle or due_ns is None):
                patience -= 1
                await asyncio.sleep(0.005)
                continue
            if due_ns is None or due_ns - start_ns > LONGEST_NS:
                self.problems.append(f"before {step['dir']} at {step['t_ms']} ms: {missing}")
                return
            await self._advance_to(due_ns)

    def _missing(self) -> str | None:
        for name, expected in self._expected.items():
            listener = self._listeners[name]
            if listener.reads and len(listener.received) < len(expected):
                have = len(listener.received)
                return f"{name} has {have} of {len(expected)} messages; next {brief(expected[have])}"
        return None

    async def _pause(self, gap_ms: float) -> None:
        if gap_ms < PAUSE_MS:
            return
        end_ns = self._clock.now_ns() + round(gap_ms * 1e6)
        while (due_ns := self._server.due_ns) is not None and due_ns < end_ns:
            await self._advance_to(due_ns)
        self._clock.set_ns(end_ns)
        self._stir()
        await self._settle()

    async def _advance_to(self, due_ns: int) -> None:
        self._clock.set_ns(max(due_ns, self._clock.now_ns()))
        self._stir()
        await self._settle()

    # --- HTTP -------------------------------------------------------------------------------------------------

    async def _request(self, index: int, step: Step) -> None:
        later = self._answer_to(index, step)
        if later is not None and later.get("error") is None and not self._server.port_is_open:
            await self._server.start()
        answer = later.get("json") if later is not None else None
        if isinstance(answer, dict) and isinstance(answer.get("prompt_id"), str):
            self._server.engine.new_id = partial(str, answer["prompt_id"])  # the id the recorded server made
        self._clock.advance(0.001)  # so that moments differ
        self._answers[step["method"], step["path"]].append(await self._ask(step))

    def _answer_to(self, index: int, step: Step) -> Step | None:
        for later in self._case.steps[index:]:
            if later["dir"] == "response" and (later["method"], later["path"]) == (step["method"], step["path"]):
                return later
        return None

    async def _ask(self, step: Step) -> tuple[Json, ...]:
        if self._session is None:
            raise AssertionError("a request before the session")
        headers = {key: value for key, value in (step.get("headers") or {}).items() if key != "content-length"}
        url = f"{self._server.url}{self._translated(step['path'])}"
        try:
            async with self._session.request(
                step["method"], _exact(url), data=_body(step), headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, answer.headers.get("Content-Type", ""), await answer.read()
        except aiohttp.ClientConnectorError:
            return None, "", b""

    def _translated(self, path: str) -> str:
        """A path with the names of temporary files that this server made in place of those recorded."""
        recorded = "".join(str(step.get("json")) for steps in self._expected.values() for step in steps)
        came = "".join(str(listener.received) for listener in self._listeners.values())
        names = zip(_TEMPORARY.findall(recorded), _TEMPORARY.findall(came), strict=False)
        for theirs, ours in names:
            path = path.replace(theirs, ours)
        return path

    async def _response(self, step: Step) -> None:
        waiting = self._answers[step["method"], step["path"]]
        if not waiting:  # recorded after polling, without its request
            await self._pause(1000)
            waiting.append(await self._ask({**step, "headers": {}, "json": None}))
        status, content_type, body = waiting.pop(0)
        where = f"{step['method']} {step['path']} at {step['t_ms']} ms"
        if status != step["status"]:
            self.problems.append(f"{where}: status {step['status']} was recorded, {status} came: {body[:300]!r}")
            return
        wanted_type = (step.get("headers") or {}).get("content-type")
        if wanted_type is not None and body and wanted_type.split(";")[0] != content_type.split(";")[0]:
            self.problems.append(f"{where}: type {wanted_type} was recorded, {content_type} came")
        self.problems += [f"{where}: {problem}" for problem in _body_differences(step, body)]

    # --- WebSocket --------------------------------------------------------------------------------------------

    async def _open(self, index: int, step: Step) -> None:
        for later in self._case.steps[index:]:
            if later["dir"] == "ws_recv" and later["ws"] == step["ws"]:
                client_id = later["json"]["data"]["sid"]
                self._server.new_client_id = partial(str, client_id)
                break
        deflate = "deflate" if "sec-websocket-extensions" in (step.get("headers") or {}) else None
        small = any("PayloadTooBig" in str(later.get("json")) and later["ws"] == step["ws"]
                    for later in self._case.steps if later["dir"] == "ws_close")  # fmt: skip
        socket = await connect(
            f"ws://{self._server.host}:{self._server.port}{step['path']}",
            compression=deflate,
            max_size=1024**2 if small else None,
            ping_interval=None,
            proxy=None,
            max_queue=None,
            close_timeout=2,
        )
        self._listeners[step["ws"]] = Listener(socket)

    async def _send(self, step: Step) -> None:
        listener = self._listeners[step["ws"]]
        note = step.get("note", "")
        if "stops reading" in note:
            listener.stop_reading()
        elif "reads again" in note:
            self._compare_counts(step)
            listener.read_again()
        elif "json" in step:
            await listener.socket.send(json.dumps(step["json"]))
        elif "binary_hex_prefix" in step:
            await listener.socket.send(bytes.fromhex(step["binary_hex_prefix"]))
        elif "text_len" in step:
            await listener.socket.send(step["text_prefix"].ljust(step["text_len"] - 1, "x") + '"')
        else:
            await listener.socket.send(step["text"])

    def _compare_counts(self, step: Step) -> None:
        """Whoever was stalled must not have got more than was recorded."""
        for name, listener in self._listeners.items():
            if listener.reads and len(listener.received) != len(self._expected[name]):
                self.problems.append(
                    f"at {step['t_ms']} ms {name} has {len(listener.received)} messages, "
                    f"{len(self._expected[name])} were recorded"
                )

    async def _close(self, step: Step) -> None:
        listener = self._listeners[step["ws"]]
        how = step["json"]
        sent, by_server = how["close_frame_sent"], bool(how["received_then_sent"])
        if not by_server and sent is not None and "PayloadTooBig" not in str(how):
            await listener.socket.close(sent["code"])
        elif sent is None and not any(later["dir"] == "signal" for later in self._case.steps):
            listener.drop()
        code = await listener.ended()
        if "PayloadTooBig" in str(how):
            if code not in (1009, 1006):
                self.problems.append(f"{step['ws']} closed with {code}, 1009 or 1006 was recorded")
        elif sent is not None and code not in (how["code_seen"], sent["code"]):
            self.problems.append(f"{step['ws']} closed with {code}, {how['code_seen']} was recorded")
        elif sent is None and code != 1006:
            self.problems.append(f"{step['ws']} closed with {code}, 1006 was recorded")
        await self._compare(step["ws"])
        for _ in range(5):  # the server notices
            await asyncio.sleep(0.001)

    async def _compare(self, name: str) -> None:
        listener = self._listeners.pop(name)
        expected = self._expected.pop(name, [])
        for index, step in enumerate(expected):
            if index >= len(listener.received):
                missing = [brief(other) for other in expected[index : index + 5]]
                self.problems.append(f"{name}: {len(expected) - index} messages did not come: {missing}")
                break
            recorded = {"decoded": step["decoded"]} if "decoded" in step else step["json"]
            found = differences(recorded, listener.received[index])
            if found:
                self.problems += [f"{name} message {index} ({brief(step)}): {problem}" for problem in found[:3]]
                break
        if len(listener.received) > len(expected):
            more = [str(message)[:100] for message in listener.received[len(expected) :][:3]]
            self.problems.append(f"{name}: {len(listener.received) - len(expected)} messages too many: {more}")
        await listener.socket.close()


def brief(step: Step) -> str:
    """A message in a few words."""
    message = step.get("json") or step.get("decoded")
    return str(message)[:120]


def _exact(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)


def _body(step: Step) -> Any:
    if "multipart" in step:
        form = aiohttp.FormData(default_to_multipart=True)
        for part in step["multipart"]:
            if "filename" in part:
                content = picture(part.get("bytes", 82))
                if 1_000_000 <= part.get("bytes", 0) <= 1_500_000:
                    content = bytes(part["bytes"])
                kind = part.get("content_type", "image/png")
                form.add_field(part["name"], io.BytesIO(content), filename=part["filename"], content_type=kind)
            else:
                form.add_field(part["name"], part["value"])
        return form
    if "body_len" in step:
        return io.BytesIO(b'{"prompt": {}, "client_id": "' + b"x" * (step["body_len"] - 31) + b'"}')
    if step.get("json") is not None:
        return json.dumps(step["json"]).encode()
    if "text" in step:
        return step["text"].encode()
    if "binary_hex_prefix" in step:
        return bytes.fromhex(step["binary_hex_prefix"])
    if "gzip" in str(step.get("note")):
        return gzip.compress(b'{"prompt": {}}')
    return None


def _body_differences(step: Step, body: bytes) -> list[str]:
    if "json" in step:
        return differences(step["json"], json.loads(body))
    if "json_summary" in step:
        return _summary_differences(step["json_summary"], json.loads(body))
    if "text" in step:
        return [] if step["path"] == "/" else differences(step["text"], body.decode())  # the page is our own
    if "binary_len" not in step:
        return []
    if step.get("binary_len") == 0:
        return [] if not body else [f"nothing was recorded, {len(body)} bytes came"]
    prefix = bytes.fromhex(step.get("binary_hex_prefix", ""))
    if prefix.startswith(b"\x89PNG"):
        return differences(prefix[:24].hex(), body[:24].hex())
    return differences(prefix[:4].hex(), body[:4].hex())


def _summary_differences(summary: Json, answer: Json) -> list[str]:
    """Of a long answer only a summary was kept."""
    if isinstance(summary, dict) and "jobs" in summary:
        came = [[job["id"][:8], job["status"]] for job in answer["jobs"]]
        found = differences([job[:2] for job in summary["jobs"]], came, "jobs")
        return found + differences(summary["pagination"], answer["pagination"], "pagination")
    if isinstance(summary, dict) and "error" in summary:
        return differences(summary, answer)
    if isinstance(summary, dict) and "status" in summary and isinstance(summary["status"], str):
        return differences(summary["status"], answer["status"], "status")
    return []
