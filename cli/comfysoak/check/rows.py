"""Every row of the check, in the order in which it is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Part(StrEnum):
    """The parts of the check, in order; the value is its heading."""

    CONFIGURATION = "Configuration"
    CONNECTIVITY = "Connectivity"
    MODELS = "Models"
    SOCKET = "WebSocket"
    PROCESSING = "Workflow processing"
    GATEWAY = "Gateway"
    ERRORS = "Error handling"
    MONITORING = "Monitoring"


@dataclass(frozen=True, slots=True)
class RowKind:
    """A row there is. `title` states what holds when it is ok; `id` names it for ever, in outputs and in the guide."""

    id: str
    part: Part
    title: str


_TITLES: Final = {
    Part.CONFIGURATION: {
        "variables.set": "The variables of the integration are set",
        "variables.values": "Their values are ones that the gateway can read",
        "variables.known": "No variable is one that the gateway does not read, or a near miss of one",
        "url.form": "The base URL is well formed",
        "url.name": "Its host name resolves",
        "url.tcp": "Its port takes connections",
        "url.http": "A ComfyUI answers there by HTTP",
        "url.websocket": "It accepts a WebSocket",
        "workflow.json": "The workflow is JSON",
        "workflow.format": "It is in API format",
        "workflow.classes": "The server knows all its node classes",
        "workflow.inputs": "Every required input is there",
        "workflow.links": "Every link leads to an output of the right type",
        "workflow.values": "Every value is in its range, or in its list",
        "workflow.output": "An output node saves a picture",
        "nodes.form": "The node mapping is a list of mappings of known types",
        "nodes.ids": "Its node ids are strings, and nodes of the workflow",
        "nodes.keys": "Its keys are inputs of those nodes, and take what goes into them",
        "nodes.prompt": "The prompt is mapped",
        "nodes.seed": "A seed is mapped, and fits its input",
        "nodes.model": "The model that the gateway puts in is one the server has",
        "gateway.stored": "What the gateway uses is what its environment says",
    },
    Part.CONNECTIVITY: {
        "service.running": "The ComfyUI service is running, and idle or busy as it should be",
        "service.from_here": "It answers from here in good time",
        "service.from_gateway": "The gateway reaches it",
        "service.containers": "No address means one thing here and another in a container",
    },
    Part.MODELS: {
        "models.listed": "Every model of the workflow is in its loader's list",
        "models.load": "The models really load",
        "models.memory": "There is memory for them",
    },
    Part.SOCKET: {
        "socket.connects": "It connects, and the first message is a status with its sid",
        "socket.order": "queue_prompt: every message of a prompt comes, in order, up to its end",
        "socket.images": "get_images: history names the outputs, and /view has them",
        "socket.private": "Messages come for its own prompts only",
        "socket.client_id": "Client ids are unique",
        "socket.ping": "It stays open while nothing happens, and answers pings",
        "socket.recovery": "After a drop in mid run the result is found by history",
        "socket.size": "Large messages pass",
        "socket.hold": "It stays open for as long as was asked",
    },
    Part.PROCESSING: {
        "run.succeeds": "The workflow runs to its end",
        "run.nodes": "Each node's time is known",
        "run.repeat": "Repeated with another seed it works again, and is not answered from the cache",
        "run.pictures": "Its pictures come in the right format and size",
        "run.folders": "What its files take on the server's disk is known",
        "run.queue": "The queue is back where it was",
        "run.left": "The server is as it was found",
    },
    Part.GATEWAY: {
        "gateway.health": "Its health route answers",
        "gateway.config": "Its configuration can be read, and is for ComfyUI",
        "gateway.models": "It lists models",
        "gateway.generates": "It makes a picture",
        "gateway.fields": "Prompt, size, n and seed arrive in the graph that ComfyUI gets",
        "gateway.count": "It gives as many pictures as were asked for",
        "gateway.download": "Its pictures download with the token",
        "gateway.private": "They do not download without it",
        "gateway.unauthorised": "Without a token, or with a wrong one, it refuses",
        "gateway.forbidden": "Switched off, it says that it is forbidden",
        "gateway.invalid": "A request that is no request is refused as such (422)",
        "gateway.failure": "A failure behind it is told as one (400)",
        "gateway.change": "Its configuration can be changed, read back, and put back",
        "gateway.left": "The gateway is as it was found",
    },
    Part.ERRORS: {
        "errors.unreachable": "A ComfyUI that cannot be reached is told as an error, and soon",
        "errors.refused": "A WebSocket that it refuses is told as an error, or the picture comes without one",
        "errors.server_error": "An error of its own (500) is told as one",
        "errors.frozen": "A ComfyUI that freezes is not waited for without an end",
        "errors.cut": "A connection cut in mid run costs no picture",
        "errors.lost_end": "A last message that is lost is not waited for without an end",
        "errors.workflow": "A broken workflow is told as an error",
        "errors.node": "A node that raises is told as an error",
        "errors.memory": "Memory that runs out is told as an error",
        "errors.unknown_node": "A node class that is not known is told as an error",
        "errors.gives_up": "What a client has given up is taken back, or can be",
        "errors.mapping": "A mapping to a node that is not there is told as an error",
        "errors.words": "What users see says the cause, and gives away no secret and no address",
        "errors.clean": "Afterwards all is clean: queue, sockets, jobs, files",
        "errors.serves": "Afterwards it serves",
    },
    Part.MONITORING: {
        "monitor.service": "The service can be monitored",
        "monitor.socket": "The health of the WebSocket can be told from outside",
        "monitor.processing": "That prompts are worked on can be told from outside",
        "monitor.log": "Openings, closings, anomalies and generations are logged",
        "monitor.configuration": "The state of the configuration is logged",
    },
}

KINDS: Final = {id_: RowKind(id_, part, title) for part, titles in _TITLES.items() for id_, title in titles.items()}
