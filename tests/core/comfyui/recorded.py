"""Recorded traffic of real servers, fed to the lives of the prompts in it, in the order in which it was recorded."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from comfysoak_core.clock import NS_PER_MS
from comfysoak_core.comfyui.answers import parse_queue
from comfysoak_core.comfyui.asking import Need
from comfysoak_core.comfyui.history import parse_history, parse_job
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.comfyui.messages import Message, parse_binary, parse_text
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.rows import NodeRun, Prompt

RECORDINGS = Path(__file__).parents[2] / "data" / "recordings"  # its README says how they were made
CASES = sorted(path.relative_to(RECORDINGS).with_suffix("").as_posix() for path in RECORDINGS.glob("[0-9]*.json"))
CASES += sorted(path.relative_to(RECORDINGS).with_suffix("").as_posix() for path in RECORDINGS.glob("v0.33/*.json"))

Step = dict[str, Any]


def steps_of(case: str) -> list[Step]:
    """The steps of a case."""
    steps: list[Step] = json.loads((RECORDINGS / f"{case}.json").read_text())["steps"]
    return steps


def message_of(step: Step) -> Message | None:
    """The message of a `ws_recv` step; None where the recording kept only its beginning."""
    if "json" in step:
        return parse_text(json.dumps(step["json"]))
    if "text" in step:
        return parse_text(step["text"])
    prefix = bytes.fromhex(step["binary_hex_prefix"])
    missing = step["binary_len"] - len(prefix)
    needed = 8 + int.from_bytes(prefix[4:8], "big") if prefix[:4] in {b"\0\0\0\3", b"\0\0\0\4"} else 8
    return None if needed > len(prefix) else parse_binary(prefix + bytes(missing))


def body_of(step: Step) -> bytes | None:
    """The body of a response; None where the recording kept only a summary."""
    if "json" in step:
        return json.dumps(step["json"]).encode()
    if "text" in step:
        return str(step["text"]).encode()
    return None if step.get("body_len") or "binary_len" in step or "json_summary" in step else b""


@dataclass
class Replay:
    """The lives of the prompts of one case, in the order they were sent."""

    case: str
    lives: list[PromptLife] = field(default_factory=list)
    nodes: dict[str, NodeRun] = field(default_factory=dict)
    _waiting: deque[PromptLife | None] = field(default_factory=deque)
    _requests: defaultdict[str, deque[Step]] = field(default_factory=lambda: defaultdict(deque))
    _clients: dict[str, str] = field(default_factory=dict)  # socket -> its clientId, while it is the one of its client

    def run(self) -> Replay:
        """Feed all steps, then end the run."""
        at_ns = 0
        for step in steps_of(self.case):
            at_ns = round(step["t_ms"] * NS_PER_MS)
            getattr(self, f"_{step['dir']}", lambda *_: None)(step, at_ns)
            self._fetch(at_ns)
        for life in self.lives:
            life.stop(at_ns + 1)
            self._keep_nodes(life)
        return self

    def _fetch(self, at_ns: int) -> None:
        for life in self.lives:
            self._keep_nodes(life)
            if life.next.need is Need.FETCH_OUTPUTS:
                life.outputs_checked(at_ns, received=len(life.outputs), size_bytes=1)

    def _keep_nodes(self, life: PromptLife) -> None:
        self.nodes |= {row.id: row for row in life.take_node_rows()}

    def _request(self, step: Step, at_ns: int) -> None:
        self._requests[step["method"] + step["path"]].append(step)
        if step["method"] == "POST" and step["path"].removeprefix("/api") == "/prompt":
            self._waiting.append(self._begin(step.get("json"), at_ns))

    def _begin(self, document: object, at_ns: int) -> PromptLife:
        fields = document if isinstance(document, dict) else {}
        graph = fields.get("prompt")
        try:
            shape = GraphShape.of(graph)  # type: ignore[arg-type]  # may be anything
        except (AttributeError, KeyError, TypeError):
            shape = GraphShape({}, frozenset(), frozenset())
        client_id = fields.get("client_id", "")
        prompt_id = fields.get("prompt_id")
        row = Prompt(
            id=prompt_id if isinstance(prompt_id, str) else f"ours-{len(self.lives)}",
            server="s",
            worker="w",
            client_id=str(client_id),
            workflow="f",
            scheduled_ns=at_ns,
        )
        life = PromptLife(row, shape, socket=bool(client_id))
        life.sent(at_ns)
        self.lives.append(life)
        return life

    def _response(self, step: Step, at_ns: int) -> None:
        path, status, body = step["path"].removeprefix("/api"), step["status"], body_of(step)
        if step["method"] == "POST" and path == "/prompt" and self._waiting:
            life = self._waiting.popleft()
            if life is not None and status is None:
                life.submit_failed(step.get("error", ""), at_ns)
            elif life is not None:
                life.answered(status, body or b"", at_ns)
        elif status is None:
            for life in self.lives:
                life.server_gone(at_ns)
        elif body is None or step["method"] != "GET":
            return
        elif path == "/queue":
            for life in self.lives:
                life.queue(parse_queue(status, body), at_ns)
        else:
            self._answer_about_one(path, status, body, at_ns)

    def _answer_about_one(self, path: str, status: int, body: bytes, at_ns: int) -> None:
        for life in self.lives:
            if path == f"/history/{life.server_id}":
                life.history(parse_history(life.server_id, status, body), at_ns)
            elif path == f"/jobs/{life.server_id}":
                life.job(parse_job(life.server_id, status, body), at_ns)

    def _ws_open(self, step: Step, at_ns: int) -> None:
        client_id = parse_qs(urlsplit(step["path"]).query).get("clientId", [""])[0]
        if client_id in self._clients.values():
            return  # a second socket of a client: the user's own is the first
        self._clients[step["ws"]] = client_id
        for life in self._lives_of(step["ws"]):
            life.socket_reopened(at_ns)

    def _ws_recv(self, step: Step, at_ns: int) -> None:
        message = message_of(step)
        if message is None or step["ws"] not in self._clients:
            return
        sid = getattr(message, "sid", None)
        if sid:
            self._clients[step["ws"]] = sid
        size = len(json.dumps(step.get("json", "")))
        for life in self._lives_of(step["ws"]):
            life.message(message, at_ns, 0, size)

    def _ws_close(self, step: Step, at_ns: int) -> None:
        for life in self._lives_of(step["ws"]):
            life.socket_lost(at_ns)
        self._clients.pop(step["ws"], None)

    def _lives_of(self, ws: str) -> list[PromptLife]:
        client_id = self._clients.get(ws)
        return [life for life in self.lives if client_id and life.row.client_id == client_id]
