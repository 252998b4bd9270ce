"""The mistakes, one at a time, each with the rows that must complain and what their remedy must speak of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from benchmarks.mistakes.between import Between
from benchmarks.mistakes.setup import GatewaySetup, Setup

Area = Literal["configuration", "workflow", "mapping", "network", "server", "gateway"]
Json = Any
SOUND: Final = Setup()


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake. One of `rows` must complain, with a remedy that speaks of `remedy` (a regular expression).

    `also`: rows that may complain beside it, since what they tell of is true as well.
    """

    name: str
    area: Area
    setup: Setup
    rows: frozenset[str]
    remedy: str
    also: frozenset[str] = field(default_factory=frozenset)


_MONITORED: Final = ("monitor.service", "monitor.socket", "monitor.processing")


def _mistake(name: str, area: Area, setup: Setup, rows: str, remedy: str, also: str = "") -> Mistake:
    watched = _MONITORED if area in {"network", "server"} else ()  # what a monitor sees of the same
    return Mistake(name, area, setup, frozenset(rows.split()), remedy, frozenset([*also.split(), *watched]))


def _url(change: Callable[[str], str | None]) -> Setup:
    return replace(SOUND, base_url=change)


def _inputs(node: str, **values: Json) -> Setup:
    return SOUND.with_graph(lambda graph: graph[node]["inputs"].update(values))


def _without_input(node: str, name: str) -> Setup:
    return SOUND.with_graph(lambda graph: graph[node]["inputs"].pop(name))


def _node(number: str, node: Json) -> Setup:
    return SOUND.with_graph(lambda graph: graph.update({number: node}))


def _mapping(of_type: str, changes: Mapping[str, Json], *drop: str, gateway: GatewaySetup | None = None) -> Setup:
    """The mapping of one type changed."""

    def change(nodes: list[Json]) -> None:
        entry = next(entry for entry in nodes if entry["type"] == of_type)
        entry.update(changes)
        for name in drop:
            entry.pop(name)

    return replace(SOUND.with_nodes(change), gateway=gateway)


def _unmapped(*types: str, gateway: GatewaySetup | None = None) -> Setup:
    def change(nodes: list[Json]) -> None:
        nodes[:] = [entry for entry in nodes if entry["type"] not in types]

    return replace(SOUND.with_nodes(change), gateway=gateway)


def _between(**what: Json) -> Setup:
    return replace(SOUND, between=Between(**what))


def _fault(**what: Json) -> Setup:
    return replace(SOUND, faults=(what,), arguments=("--deadline", "6s"))


def _gateway(**what: Json) -> Setup:
    return replace(SOUND, gateway=GatewaySetup(**what))


_EDITOR_FORMAT: Final = json.dumps(
    {"last_node_id": 1, "last_link_id": 0, "nodes": [{"id": 1, "type": "SaveImage"}], "links": [], "version": 0.4}
)
_OTHER_WORKFLOW: Final = SOUND.with_graph(
    lambda graph: graph["6"]["inputs"].update(text="what was there before")
).workflow
_OTHER_NODES: Final = _unmapped("steps").nodes
_WEBP: Final = {
    "class_type": "SaveAnimatedWEBP",
    "inputs": {
        "images": ["8", 0],
        "filename_prefix": "x",
        "fps": 6.0,
        "lossless": True,
        "quality": 80,
        "method": "default",
    },
}
_RUNS: Final = "run.succeeds socket.order models.load"
_RESULTS: Final = "socket.images run.pictures"

CONFIGURATION: Final = (
    _mistake("no base URL", "configuration", _url(lambda _: None), "variables.set", "COMFYUI_BASE_URL"),
    _mistake(
        "the base URL in COMFYUI_URL",
        "configuration",
        replace(_url(lambda _: None), variables={"COMFYUI_URL": "http://127.0.0.1:8188"}),
        "variables.known variables.set",
        "COMFYUI_BASE_URL",
        "variables.set variables.known",
    ),
    _mistake("no workflow", "configuration", replace(SOUND, workflow=None), "variables.set", "COMFYUI_WORKFLOW"),
    _mistake("no mapping", "configuration", replace(SOUND, nodes=None), "variables.set", "COMFYUI_WORKFLOW_NODES"),
    _mistake("the base URL ends in a slash", "configuration", _url(lambda url: f"{url}/"), "url.form", "slash"),
    _mistake("no scheme", "configuration", _url(lambda url: url.removeprefix("http://")), "url.form", "http://"),
    _mistake("ws:// for http://", "configuration", _url(lambda url: url.replace("http", "ws")), "url.form", "http://"),
    _mistake("quotes within the value", "configuration", _url(lambda url: f'"{url}"'), "url.form", "quot"),
    _mistake("a space at the end", "configuration", _url(lambda url: f"{url} "), "url.form", "space|blank"),
    _mistake(
        "a route in the base URL",
        "configuration",
        _url(lambda url: f"{url}/prompt"),
        "url.form url.http",
        "path|/prompt",
    ),
    _mistake(
        "a password in the base URL",
        "configuration",
        _url(lambda url: url.replace("://", "://user:hunter2swordfish@")),
        "url.form",
        "COMFYUI_API_KEY|password|credential",
    ),
    _mistake(
        "https where http is spoken",
        "configuration",
        _url(lambda url: url.replace("http", "https")),
        "url.http url.tcp",
        "http://",
    ),
    _mistake(
        "a workflow by its path",
        "configuration",
        replace(SOUND, workflow="/srv/workflow.json"),
        "workflow.json",
        r"cat|content|JSON",
    ),
    _mistake(
        "a workflow cut off",
        "configuration",
        replace(SOUND, workflow=(SOUND.workflow or "")[:-40]),
        "workflow.json",
        "JSON|cut|export",
    ),
    _mistake(
        "a workflow in the editor's format",
        "configuration",
        replace(SOUND, workflow=_EDITOR_FORMAT),
        "workflow.format",
        r"Export \(API\)",
    ),
    _mistake(
        "a workflow encoded twice",
        "configuration",
        replace(SOUND, workflow=json.dumps(SOUND.workflow)),
        "workflow.json workflow.format",
        "twice|quot|string",
    ),
    _mistake(
        "a workflow wrapped as for POST /prompt",
        "configuration",
        replace(SOUND, workflow=json.dumps({"prompt": json.loads(SOUND.workflow or "")})),
        "workflow.format",
        "prompt",
    ),
    _mistake(
        "an empty workflow",
        "configuration",
        replace(SOUND, workflow="{}"),
        "workflow.format workflow.output",
        r"Export \(API\)|output|node",
    ),
)

WORKFLOW: Final = (
    _mistake(
        "a node class the server lacks",
        "workflow",
        SOUND.with_graph(lambda graph: graph["5"].update(class_type="EmptyLatentImageAdvanced")),
        "workflow.classes",
        "custom node|install",
    ),
    _mistake(
        "a misspelt class",
        "workflow",
        SOUND.with_graph(lambda graph: graph["8"].update(class_type="VaeDecode")),
        "workflow.classes",
        "VAEDecode",
    ),
    _mistake("a required input left out", "workflow", _without_input("3", "cfg"), "workflow.inputs", "cfg"),
    _mistake(
        "a required link left out", "workflow", _without_input("3", "latent_image"), "workflow.inputs", "latent_image"
    ),
    _mistake(
        "a link to a node that is not there", "workflow", _inputs("3", latent_image=["55", 0]), "workflow.links", "55"
    ),
    _mistake(
        "a link to an output that is not there", "workflow", _inputs("8", vae=["4", 7]), "workflow.links", "output|slot"
    ),
    _mistake("a link of the wrong type", "workflow", _inputs("3", latent_image=["4", 2]), "workflow.links", "LATENT"),
    _mistake(
        "a circle of links", "workflow", _inputs("3", latent_image=["3", 0]), "workflow.links", "circle|cycle|itself"
    ),
    _mistake("too many steps", "workflow", _inputs("3", steps=100_000), "workflow.values", "10,?000"),
    _mistake("a size below the least", "workflow", _inputs("5", width=4), "workflow.values", "16"),
    _mistake(
        "a sampler that is not in the list", "workflow", _inputs("3", sampler_name="eulr"), "workflow.values", "euler"
    ),
    _mistake("a word where a number belongs", "workflow", _inputs("3", steps="many"), "workflow.values", "INT|number"),
    _mistake(
        "a checkpoint that is not there",
        "workflow",
        _inputs("4", ckpt_name="dreamshaper_8.safetensors"),
        "models.listed workflow.values",
        "dreamshaper|checkpoints|models",
    ),
    _mistake(
        "no output node",
        "workflow",
        SOUND.with_graph(lambda graph: graph.pop("9")),
        "workflow.output",
        "SaveImage",
        "nodes.prompt",
    ),
    _mistake(
        "an output the gateway does not read",
        "workflow",
        SOUND.with_graph(lambda graph: graph.update({"9": _WEBP})),
        "workflow.output",
        "SaveImage",
        "nodes.prompt",
    ),
    _mistake(
        "a node without class_type",
        "workflow",
        SOUND.with_graph(lambda graph: graph["5"].pop("class_type")),
        "workflow.format workflow.classes",
        "class_type",
    ),
    _mistake("a node that is a list", "workflow", _node("77", ["EmptyImage"]), "workflow.format", "77"),
    _mistake(
        "an unconnected node without inputs, which kills the worker",
        "workflow",
        _node("77", {"class_type": "EmptyImage"}),
        "workflow.format workflow.inputs",
        "inputs",
    ),
    _mistake(
        "one of two outputs is broken",
        "workflow",
        _node("10", {"class_type": "SaveImage", "inputs": {"filename_prefix": "second"}}),
        "workflow.inputs",
        "images",
    ),
    _mistake("a batch of none", "workflow", _inputs("5", batch_size=0), "workflow.values", "1"),
)

MAPPING: Final = (
    _mistake(
        "an object for a list",
        "mapping",
        replace(SOUND, nodes='{"prompt": {"key": "text", "node_ids": ["6"]}}'),
        "nodes.form",
        "list",
    ),
    _mistake("no JSON", "mapping", replace(SOUND, nodes="prompt:6"), "nodes.form", "JSON"),
    _mistake(
        "a type nobody knows",
        "mapping",
        _mapping("prompt", {"type": "positive"}),
        "nodes.form nodes.prompt",
        "prompt",
        "nodes.prompt nodes.form",
    ),
    _mistake("numbers as ids", "mapping", _mapping("prompt", {"node_ids": [6]}), "nodes.ids", '"6"|string|quot'),
    _mistake(
        "an id that is not in the workflow",
        "mapping",
        _mapping("prompt", {"node_ids": ["66"]}),
        "nodes.ids",
        "66|workflow",
    ),
    _mistake(
        "null for ids", "mapping", _mapping("prompt", {"node_ids": None}), "nodes.ids nodes.form", "node_ids|list"
    ),
    _mistake(
        "no ids",
        "mapping",
        _mapping("prompt", {"node_ids": []}),
        "nodes.ids nodes.prompt",
        "node_ids|id",
        "nodes.prompt nodes.ids",
    ),
    _mistake(
        "a key that is no input",
        "mapping",
        _mapping("prompt", {"key": "prompt"}),
        "nodes.keys",
        "text|value",
        "nodes.prompt",
    ),
    _mistake("no key for the width", "mapping", _mapping("width", {}, "key"), "nodes.keys", "width"),
    _mistake(
        "no key for the seed",
        "mapping",
        _mapping("seed", {"key": ""}),
        "nodes.keys nodes.seed",
        "seed|key",
        "nodes.seed nodes.keys",
    ),
    _mistake(
        "a misspelt seed key", "mapping", _mapping("seed", {"key": "noise_seed"}), "nodes.keys", "seed", "nodes.seed"
    ),
    _mistake("the prompt is not mapped", "mapping", _unmapped("prompt"), "nodes.prompt", "prompt"),
    _mistake("no seed is mapped", "mapping", _unmapped("seed"), "nodes.seed", "seed"),
    _mistake(
        "an empty mapping",
        "mapping",
        replace(SOUND, nodes="[]"),
        "nodes.prompt nodes.form variables.set",
        "prompt|mapping",
        "nodes.seed nodes.form nodes.prompt",
    ),
    _mistake(
        "a seed that is larger than its input takes",
        "mapping",
        _mapping("seed", {"key": "steps"}),
        "nodes.seed nodes.keys",
        "seed|range|10,?000",
        "nodes.keys nodes.seed",
    ),
    _mistake("an entry without its type", "mapping", _mapping("model", {}, "type"), "nodes.form", "type"),
    _mistake(
        "a fixed value that is a number",
        "mapping",
        SOUND.with_nodes(lambda nodes: nodes.append({"type": "", "key": "cfg", "node_ids": ["3"], "value": 7})),
        "nodes.form",
        "string|quot",
    ),
    _mistake(
        "an id as text",
        "mapping",
        _mapping("prompt", {"node_ids": "6"}),
        "nodes.form nodes.ids",
        "list",
        "nodes.form nodes.ids",
    ),
)

NETWORK: Final = (
    _mistake(
        "a name that does not resolve",
        "network",
        _url(lambda _: "http://comfyui-gpu.invalid:8188"),
        "url.name",
        "docker|compose|DNS|name",
    ),
    _mistake("nothing listens there", "network", replace(SOUND, is_up=False), "url.tcp", "--listen|port|start|running"),
    _mistake(
        "another service answers",
        "network",
        _between(answer=("/", 200, b"<html>Welcome to nginx!</html>")),
        "url.http",
        "ComfyUI|port",
    ),
    _mistake(
        "a proxy that says 502",
        "network",
        _between(answer=("/", 502, b"Bad Gateway")),
        "url.http",
        "proxy|behind|start|running",
    ),
    _mistake("a proxy that drops the upgrade", "network", _between(no_upgrade=True), "url.websocket", "[Uu]pgrade"),
    _mistake(
        "a proxy that forbids /ws",
        "network",
        _between(answer=("/ws", 403, b"")),
        "url.websocket",
        "403|proxy|Origin|--enable-cors-header",
    ),
    _mistake(
        "a proxy that knows no /view",
        "network",
        _between(answer=("/view", 404, b"")),
        _RESULTS,
        "proxy|/view|disk",
        _RESULTS,
    ),
    _mistake(
        "a proxy that hides /history",
        "network",
        _between(answer=("/history", 404, b"")),
        f"{_RESULTS} socket.recovery run.succeeds socket.order",
        "history|proxy",
        f"{_RESULTS} socket.recovery run.left run.queue run.repeat run.succeeds socket.order models.load run.nodes",
    ),
    _mistake("a proxy that cuts idle sockets", "network", _between(cut_idle_s=1.0), "socket.ping", "timeout|ping"),
    _mistake(
        "a proxy that takes no large message",
        "network",
        _between(most_frame_bytes=200_000),
        "socket.size",
        "limit|MiB|proxy|size",
    ),
    _mistake(
        "a proxy wants a token",
        "network",
        _between(needs_token="sk-Km4Tz8Qw2Xc6Vb9Nn1Pj"),
        "url.http",
        "COMFYUI_API_KEY|token",
    ),
    _mistake(
        "a proxy wants another token",
        "network",
        replace(_between(needs_token="sk-Km4Tz8Qw2Xc6Vb9Nn1Pj"), variables={"COMFYUI_API_KEY": "sk-wrongwrongwrong11"}),
        "url.http",
        "COMFYUI_API_KEY|token",
    ),
    _mistake(
        "a proxy that cuts sockets in mid run",
        "network",
        _between(cut_after_bytes=1500),
        f"{_RUNS} socket.recovery",
        "proxy|log|cut|drop|timeout",
        f"{_RUNS} socket.recovery socket.ping socket.private socket.size socket.images run.nodes socket.connects",
    ),
    _mistake(
        "a proxy that takes no large body",
        "network",
        _between(answer=("/prompt", 413, b"Request too large")),
        f"{_RUNS} service.running",
        "413|client_max_body_size|limit|body|size",
        f"{_RUNS} service.running run.queue run.left socket.images",
    ),
    _mistake(
        "answers take a second and a half",
        "network",
        _between(delay_s=1.5),
        "service.from_here",
        "proxy|network|node|busy|slow",
    ),
    _mistake(
        "a proxy for a path that is not named",
        "network",
        replace(_between(prefix="/comfy"), base_url=lambda url: url.removesuffix("/comfy")),
        "url.http",
        "path|proxy|port",
    ),
    _mistake(
        "the end of prompts gets lost",
        "network",
        _between(eats=b'"node":null'),
        "socket.order",
        "proxy|history|lost|end",
        "socket.order run.succeeds socket.recovery models.load",
    ),
)

SERVER: Final = (
    _mistake(
        "its worker is dead",
        "server",
        _fault(kind="worker-dead"),
        f"{_RUNS} service.running",
        "[Rr]estart",
        f"{_RUNS} service.running run.queue run.left",
    ),
    _mistake(
        "memory runs out",
        "server",
        _fault(kind="oom", node="KSampler"),
        f"{_RUNS} models.memory",
        "reserve-vram|batch|[Ss]maller",
        f"{_RUNS} models.memory",
    ),
    _mistake(
        "a node raises", "server", _fault(kind="node-error", node="VAEDecode"), _RUNS, "VAEDecode|node|log", _RUNS
    ),
    _mistake(
        "a node hangs",
        "server",
        _fault(kind="hang", node="KSampler"),
        _RUNS,
        "[Rr]estart|node|hang|deadline",
        f"{_RUNS} run.queue run.left",
    ),
    _mistake(
        "outputs are deleted at once", "server", _fault(kind="missing-output"), _RESULTS, "disk|clean|folder", _RESULTS
    ),
    _mistake(
        "pictures are black",
        "server",
        _fault(kind="wrong-output"),
        "run.pictures",
        "VAE|precision|driver|proxy|picture",
        _RESULTS,
    ),
    _mistake(
        "messages get lost",
        "server",
        _fault(kind="lose-messages"),
        "socket.order run.succeeds",
        "history|proxy|client|lost|socket",
        f"{_RUNS} socket.recovery run.repeat run.nodes",
    ),
    _mistake(
        "history fails",
        "server",
        _fault(kind="http-error", path="/history"),
        f"{_RESULTS} socket.recovery",
        "log|history|proxy",
        f"{_RESULTS} {_RUNS} socket.recovery run.left run.queue run.repeat run.nodes",
    ),
    _mistake(
        "it is frozen",
        "server",
        _fault(kind="frozen", at="0s", **{"for": "10m"}),
        "url.http url.websocket",
        "[Rr]estart|frozen|hang|log",
    ),
    _mistake(
        "prompts vanish",
        "server",
        replace(_fault(kind="vanish"), others_prompts=4, arguments=()),
        _RUNS,
        "queue|clear|delete|whom|who",
        f"{_RUNS} run.queue run.repeat socket.recovery",
    ),
    _mistake(
        "it forgets sockets",
        "server",
        _fault(kind="silent-sockets"),
        f"{_RUNS} socket.connects",
        "socket|restart|proxy|[Rr]econnect|clientId",
        f"{_RUNS} socket.connects socket.recovery socket.private socket.ping",
    ),
    _mistake(
        "POST /prompt fails",
        "server",
        _fault(kind="http-error", path="/prompt"),
        f"{_RUNS} service.running",
        "log",
        f"{_RUNS} service.running run.queue run.left url.http",
    ),
)

GATEWAY: Final = (
    _mistake(
        "a wrong token",
        "gateway",
        _gateway(given="sk-notthisonenotthisone"),
        "gateway.config gateway.generates gateway.unauthorised",
        "token|[Vv]ariable",
    ),
    _mistake(
        "no token",
        "gateway",
        _gateway(given=None),
        "gateway.config gateway.generates gateway.unauthorised",
        "--token-variable|token",
    ),
    _mistake(
        "another API",
        "gateway",
        _gateway(named_api="openai"),
        "gateway.generates gateway.health",
        "--api|open-webui",
        "gateway.invalid gateway.unauthorised gateway.failure gateway.forbidden",
    ),
    _mistake(
        "generation is switched off",
        "gateway",
        _gateway(is_on=False),
        "gateway.config gateway.generates",
        "ENABLE_IMAGE_GENERATION",
        "gateway.config gateway.generates gateway.failure",
    ),
    _mistake("the gateway is down", "gateway", _gateway(is_up=False), "gateway.health", "start|running|port|address"),
    _mistake(
        "a stored base URL that is dead",
        "gateway",
        _gateway(base_url=lambda _: "http://127.0.0.1:9"),
        "gateway.stored service.from_gateway",
        "ENABLE_PERSISTENT_CONFIG|COMFYUI_BASE_URL",
        "gateway.stored service.from_gateway gateway.models gateway.generates gateway.failure service.containers",
    ),
    _mistake(
        "a stored base URL with a slash",
        "gateway",
        _gateway(base_url=lambda url: f"{url}/"),
        "gateway.stored gateway.generates",
        "slash|COMFYUI_BASE_URL",
        "gateway.stored gateway.generates service.from_gateway gateway.failure gateway.models",
    ),
    _mistake(
        "another workflow is stored",
        "gateway",
        _gateway(workflow=_OTHER_WORKFLOW),
        "gateway.stored",
        "ENABLE_PERSISTENT_CONFIG|COMFYUI_WORKFLOW",
    ),
    _mistake(
        "another mapping is stored",
        "gateway",
        _gateway(nodes=_OTHER_NODES),
        "gateway.stored",
        "ENABLE_PERSISTENT_CONFIG|COMFYUI_WORKFLOW_NODES",
        "gateway.fields",
    ),
    _mistake(
        "a proxy before it gives up",
        "gateway",
        _gateway(between=Between(answer=("/api/v1/images/generations", 504, b"Gateway Time-out"))),
        "gateway.generates gateway.invalid gateway.unauthorised",
        "timeout|proxy|504",
        "gateway.generates gateway.failure gateway.invalid gateway.unauthorised gateway.forbidden",
    ),
    _mistake(
        "its pictures are nowhere",
        "gateway",
        _gateway(between=Between(answer=("/api/v1/files", 404, b""))),
        "gateway.download",
        "proxy|storage|disk|file",
        "gateway.private gateway.left",
    ),
    _mistake(
        "its pictures are open to all",
        "gateway",
        _gateway(shows_files_to_all=True),
        "gateway.private",
        "token|public|log in|sign|access",
    ),
    _mistake(
        "n is not mapped",
        "gateway",
        _unmapped("n", gateway=GatewaySetup()),
        "gateway.count gateway.fields",
        "batch_size|COMFYUI_WORKFLOW_NODES|map",
        "gateway.count gateway.fields",
    ),
    _mistake(
        "the size is not mapped",
        "gateway",
        _unmapped("width", "height", gateway=GatewaySetup()),
        "gateway.fields",
        "width|COMFYUI_WORKFLOW_NODES|map",
    ),
    _mistake(
        "width and height are crossed",
        "gateway",
        replace(
            SOUND.with_nodes(
                lambda nodes: [
                    entry.update(key={"width": "height", "height": "width"}.get(entry["type"], entry["key"]))
                    for entry in nodes
                ]
            ),
            gateway=GatewaySetup(),
        ),
        "gateway.fields nodes.keys",
        "width|height|map",
        "gateway.fields nodes.keys",
    ),
    _mistake(
        "the prompt goes to the negative node",
        "gateway",
        _mapping("prompt", {"node_ids": ["7"]}, gateway=GatewaySetup()),
        "gateway.fields nodes.ids nodes.prompt",
        "negative|both|same|7|map",
        "gateway.fields nodes.ids nodes.prompt",
    ),
    _mistake(
        "a wrong key, in silence",
        "gateway",
        _mapping("prompt", {"key": "prompt"}, gateway=GatewaySetup()),
        "nodes.keys",
        "text",
        "gateway.fields nodes.prompt gateway.generates",
    ),
    _mistake(
        "ids as numbers, behind the gateway",
        "gateway",
        _mapping("width", {"node_ids": [5]}, gateway=GatewaySetup()),
        "nodes.ids",
        '"5"|string|quot',
        "gateway.generates gateway.models gateway.failure gateway.fields",
    ),
    _mistake(
        "a model that is not there is set",
        "gateway",
        _gateway(model="nobody_has_this.safetensors"),
        "nodes.model gateway.generates gateway.config models.listed gateway.models gateway.stored",
        "IMAGE_GENERATION_MODEL|nobody_has_this|model",
        "gateway.generates gateway.stored models.listed gateway.failure",
    ),
)

GATEWAY_OF_OLD: Final = (
    _mistake(
        "an old gateway that shares one client id",
        "gateway",
        _gateway(api="open-webui-old"),
        "socket.client_id",
        "[Uu]pdate|one request at a time",
        "gateway.private",
    ),
)

MISTAKES: Final = (*CONFIGURATION, *WORKFLOW, *MAPPING, *NETWORK, *SERVER, *GATEWAY, *GATEWAY_OF_OLD)
