"""A set-up of a platform: plain values, and one that stands on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks.mistakes import real
from benchmarks.mistakes.between import Between, Proxy
from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.gateway.api import ApiName
from comfysoak_core.scenario.embedded import Embedded, Version
from comfysoak_simulator.gateway.gateway import Gateway, Settings
from comfysoak_simulator.gateway.mapping import Defaults
from comfysoak_simulator.machine import Machine
from comfysoak_simulator.server import Server

Json = Any
_T = TypeVar("_T")
TOKEN: Final = "sk-Vq8rYx2Lm6Tn4Wp9Zs3K"  # nobody's
WORKFLOWS: Final = Path(__file__).parents[2] / "scenarios" / "workflows"
REAL: Final = os.environ.get("SERVER")  # a ComfyUI that stands already, in the place of the simulator
SDXL: Final = (WORKFLOWS / "sdxl.json").read_text(encoding="utf-8")
_NODES: Final = json.dumps(
    [
        {"type": "prompt", "key": "text", "node_ids": ["6"]},
        {"type": "negative_prompt", "key": "text", "node_ids": ["7"]},
        {"type": "model", "key": "ckpt_name", "node_ids": ["4"]},
        {"type": "width", "key": "width", "node_ids": ["5"]},
        {"type": "height", "key": "height", "node_ids": ["5"]},
        {"type": "n", "key": "batch_size", "node_ids": ["5"]},
        {"type": "steps", "key": "steps", "node_ids": ["3"]},
        {"type": "seed", "key": "seed", "node_ids": ["3"]},
    ]
)
WORKFLOW: Final = real.WORKFLOW if REAL else SDXL
NODES: Final = real.NODES if REAL else _NODES
MODEL: Final = "sd_xl_base_1.0.safetensors"
# a picture takes about a second: long enough to be cut in mid run
COSTS: Final = {"KSampler": {"steps": "{steps}", "seconds_per_step": "40ms"}}


@dataclass(frozen=True, slots=True)
class GatewaySetup:
    """The gateway of a set-up; what it has stored is what the environment says, but for what is named here."""

    api: ApiName = "open-webui"
    named_api: str | None = None  # what the call says it is; None: what it is
    workflow: str | None = None
    nodes: str | None = None
    base_url: Callable[[str], str] | None = None
    model: str = MODEL
    is_on: bool = True
    token: str | None = TOKEN  # it asks for
    given: str | None = TOKEN  # the check is given
    is_up: bool = True
    shows_files_to_all: bool = False
    between: Between | None = None  # in front of it


@dataclass(frozen=True, slots=True)
class Setup:
    """One set-up. `base_url` makes what COMFYUI_BASE_URL says of where the server is."""

    version: Version = "0.33.0"
    workflow: str | None = WORKFLOW
    nodes: str | None = NODES
    base_url: Callable[[str], str | None] = str
    variables: Mapping[str, str] = field(default_factory=dict)
    embedded: Mapping[str, Json] = field(default_factory=dict)
    faults: tuple[Mapping[str, Json], ...] = ()
    between: Between | None = None
    gateway: GatewaySetup | None = None
    arguments: tuple[str, ...] = ()
    by_env_file: bool = False
    others_prompts: int = 0  # of somebody else, in the queue
    is_up: bool = True

    def with_graph(self, change: Callable[[dict[str, Json]], object]) -> Setup:
        """The same with an edit of its workflow."""
        graph = json.loads(self.workflow or "{}")
        change(graph)
        return replace(self, workflow=json.dumps(graph))

    def with_nodes(self, change: Callable[[list[Json]], object]) -> Setup:
        """The same with an edit of its mapping."""
        nodes = json.loads(self.nodes or "[]")
        change(nodes)
        return replace(self, nodes=json.dumps(nodes))


@dataclass(frozen=True, slots=True)
class Standing:
    """One that stands: where its server and its gateway are, and how the command is called on it."""

    server: str  # as it is asked
    behind: str  # the same, past all that lies between
    gateway: str | None
    environment: Mapping[str, str]
    arguments: tuple[str, ...]


@contextmanager
def standing(setup: Setup, folder: Path) -> Iterator[Standing]:
    """Simulator, proxies and gateway in a thread of their own, on free ports."""
    with _loop() as run:
        stops: list[Callable[[], Coroutine[Any, Any, None]]] = []
        try:
            server = REAL or run(_server(setup, stops))
            url = run(_behind(server, setup.between, stops))
            gateway = run(_gateway(setup, url, stops))
            for number in range(setup.others_prompts):
                run(_submit(server, number))
            yield _called(setup, server, url if setup.is_up else _nowhere(url), gateway, folder)
        finally:
            for stop in reversed(stops):
                with suppress(TimeoutError):  # one that is frozen does not end in good order
                    run(asyncio.wait_for(stop(), 5))


def _nowhere(url: str) -> str:
    """The same address, and a port where nothing listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"{url.rpartition(':')[0]}:{probe.getsockname()[1]}"


@contextmanager
def _loop() -> Iterator[Callable[[Coroutine[Any, Any, _T]], _T]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    try:
        yield run
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _server(setup: Setup, stops: list[Callable[[], Coroutine[Any, Any, None]]]) -> str:
    embedded = Embedded.model_validate(
        {"version": setup.version, "costs": COSTS, "gpu": {"load_bandwidth": "16 GiB"}}
        | dict(setup.embedded)
        | {"faults": [dict(fault) for fault in setup.faults]}
    )
    machine = Machine.assemble(embedded, 0, AnchoredClock(Anchor.from_environment()), lambda _fault, _subject: None)
    server = Server(machine, "127.0.0.1", 0)
    await server.start()
    stops.append(server.stop)
    return server.url


async def _behind(url: str, between: Between | None, stops: list[Callable[[], Coroutine[Any, Any, None]]]) -> str:
    if between is None:
        return url
    proxy = Proxy(url, between)
    await proxy.start()
    stops.append(proxy.stop)
    return proxy.url


async def _gateway(setup: Setup, server: str, stops: list[Callable[[], Coroutine[Any, Any, None]]]) -> str | None:
    written = setup.gateway
    if written is None:
        return None
    defaults = Defaults(
        written.workflow or setup.workflow or "",
        json.loads(written.nodes or setup.nodes or "[]"),
        written.model,
        "512x512",
        4,
    )
    settings = Settings(defaults, token=written.token, enabled=written.is_on)
    upstream = server if written.base_url is None else written.base_url(server)
    gateway = Gateway(upstream, settings, api=written.api)
    if written.shows_files_to_all:
        gateway._shape = replace(gateway._shape, files_need_token=False)  # noqa: SLF001  # no switch: nobody wants it
    await gateway.start()
    stops.append(gateway.stop)
    return await _behind(gateway.url if written.is_up else _nowhere(gateway.url), written.between, stops)


async def _submit(server: str, number: int) -> None:
    """A prompt of somebody else."""
    import aiohttp

    graph = json.loads(SDXL)
    graph["3"]["inputs"] |= {"seed": 1000 + number, "steps": 30}
    async with aiohttp.ClientSession() as session, session.post(f"{server}/prompt", json={"prompt": graph}) as answer:
        assert answer.status == 200, await answer.text()  # the set-up is not what it should be


def _called(setup: Setup, server: str, url: str, gateway: str | None, folder: Path) -> Standing:
    named = {
        "COMFYUI_BASE_URL": setup.base_url(url),
        "COMFYUI_WORKFLOW": setup.workflow,
        "COMFYUI_WORKFLOW_NODES": setup.nodes,
    }
    variables = {name: value for name, value in named.items() if value is not None} | dict(setup.variables)
    arguments = list(setup.arguments)
    if setup.by_env_file:
        path = folder / "platform.env"
        lines = [
            f"{name}={json.dumps(value) if name == 'COMFYUI_BASE_URL' else _quoted(value)}"
            for name, value in variables.items()
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        arguments += ["--env-file", str(path)]
        variables = {}
    if gateway is not None and setup.gateway is not None:
        arguments += ["--gateway", gateway, "--api", setup.gateway.named_api or setup.gateway.api]
        if setup.gateway.given is not None:
            variables["PLATFORM_TOKEN"] = setup.gateway.given
            arguments += ["--token-variable", "PLATFORM_TOKEN"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COMFYUI_", "IMAGE_"))}
    return Standing(url, server, gateway, kept | variables, tuple(arguments))


def _quoted(text: str) -> str:
    """As people write JSON into env files: in single quotes, on one line."""
    return "'" + json.dumps(json.loads(text)) + "'"
