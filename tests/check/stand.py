"""A virtual ComfyUI, and a gateway before it where one is asked for, served from a thread of the test's own process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from comfysoak.check.checking import Checking
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS, Part
from comfysoak.check.settings import THE_COMMAND_LINE, GatewayAccess, Given, Settings
from comfysoak_core.clock import Anchor, AnchoredClock, steady_ns
from comfysoak_core.gateway.api import APIS, ApiName
from comfysoak_core.scenario.embedded import Embedded, EmbeddedGateway
from comfysoak_simulator.gateway.gateway import Gateway, settings_of
from comfysoak_simulator.machine import Machine
from comfysoak_simulator.server import Server

VERSIONS = ("0.3.64", "0.33.0")
Answer = TypeVar("Answer")
_WORKFLOWS = Path(__file__).parents[2] / "scenarios" / "workflows"


def sound_workflow() -> dict[str, Any]:
    """A text-to-image graph with a model, small enough for tests."""
    graph: dict[str, Any] = json.loads((_WORKFLOWS / "sdxl.json").read_text(encoding="utf-8"))
    graph["5"]["inputs"] |= {"width": 64, "height": 64}
    graph["3"]["inputs"]["steps"] = 2
    return graph


def sound_nodes() -> list[dict[str, Any]]:
    """What of it the platform fills in."""
    return [
        {"type": "prompt", "key": "text", "node_ids": ["6"]},
        {"type": "model", "key": "ckpt_name", "node_ids": ["4"]},
        {"type": "width", "key": "width", "node_ids": ["5"]},
        {"type": "height", "key": "height", "node_ids": ["5"]},
        {"type": "n", "key": "batch_size", "node_ids": ["5"]},
        {"type": "steps", "key": "steps", "node_ids": ["3"]},
        {"type": "seed", "key": "seed", "node_ids": ["3"]},
    ]


@dataclass
class Stand:
    """What is served. Its parts live in `loop`; change them by `do`."""

    server: Server
    loop: asyncio.AbstractEventLoop
    gateway: Gateway | None = None
    api: ApiName = "open-webui"

    @property
    def url(self) -> str:
        """Of the ComfyUI."""
        return self.server.url

    def do(self, work: Coroutine[Any, Any, Answer], within_s: float = 20) -> Answer:
        """Have the loop do something, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(within_s)

    def settings(self, **changes: Any) -> Settings:
        """Of a check of all this, with nothing wrong; short waits. `changes` replace fields."""
        workflow, nodes = json.dumps(sound_workflow()), json.dumps(sound_nodes())
        sound = Settings(
            variables={
                "COMFYUI_BASE_URL": Given(self.url, THE_COMMAND_LINE),
                "COMFYUI_WORKFLOW": Given(workflow, ".env:1"),
                "COMFYUI_WORKFLOW_NODES": Given(nodes, ".env:2"),
            },
            base_url=Given(self.url, THE_COMMAND_LINE),
            workflow=Given(workflow, ".env:1"),
            nodes=Given(nodes, ".env:2"),
            gateway=None if self.gateway is None else GatewayAccess(self.gateway.url, APIS[self.api], self.api),
            idle_s=0.2,
            deadline_s=20.0,
        )
        return replace(sound, **changes)


@contextmanager
def served(version: str = "0.33.0", gateway: ApiName | None = None, **embedded: Any) -> Iterator[Stand]:
    """Serve a ComfyUI of that version until the end of the block; `embedded`: more of `target.embedded`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    written = Embedded.model_validate({"version": version, "speed": 100, "gateway": None} | embedded)
    server = Server(Machine.assemble(written, 0, AnchoredClock(Anchor.take()), lambda *_: None), "127.0.0.1", 0)
    stand = Stand(server, loop)
    try:
        stand.do(server.start())
        if gateway is not None:
            nodes, graph = sound_nodes(), sound_workflow()
            wanted = EmbeddedGateway(api=gateway, workflow=graph, nodes=nodes, model="sd_xl_base_1.0.safetensors")
            stand.api = gateway
            stand.gateway = Gateway(server.url, settings_of(wanted), api=gateway)
            stand.do(stand.gateway.start())
        yield stand
    finally:
        if stand.gateway is not None:
            stand.do(stand.gateway.stop())
        stand.do(server.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@dataclass
class Looked:
    """What some parts said, and what they shared."""

    checking: Checking
    rows: dict[str, Row]
    said: list[str] = field(default_factory=list)

    def states(self) -> dict[str, str]:
        """State by row."""
        return {id_: row.state.value for id_, row in self.rows.items()}

    def complaints(self) -> dict[str, str]:
        """What was seen, of rows that failed or warn."""
        return {id_: row.seen for id_, row in self.rows.items() if row.state in {"failed", "warning"}}


def look(settings: Settings, *parts: Part) -> Looked:
    """Have these parts look, in this order; each must tell its rows once, in the order of the table."""
    said: list[str] = []
    checking = Checking(settings, say=said.append, steady_ns=steady_ns)
    rows: dict[str, Row] = {}
    for part in parts:
        module = import_module(f"comfysoak.check.parts.{part.name.lower()}")
        told = list(module.look(checking))
        assert [row.kind.id for row in told] == [id_ for id_, kind in KINDS.items() if kind.part is part]
        rows |= {row.kind.id: row for row in told}
    return Looked(checking, rows, said)
