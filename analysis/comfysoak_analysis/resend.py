"""The call that sends a recorded prompt again: its workflow from the plan, its variation from its row, and curl."""

from __future__ import annotations

import copy
import json
import shlex
from typing import Any

import orjson

from comfysoak_core.gateway.api import Wish, fields_of
from comfysoak_core.recording.redaction import redact_json
from comfysoak_core.scenario.gateway import Gateway
from comfysoak_core.scenario.plan import Plan

LONGEST_CALL = 60_000


def varied_graph(plan: Plan, workflow: str, variation: str) -> dict[str, Any] | None:
    """The graph of `workflow` with the `variation` of a prompt (JSON, `node.input` -> value) put in; None if unknown.

    A mistake made on purpose is part of the variation: inputs and nodes that are taken out are null there.
    """
    workload = next((workload for workload in plan.workloads if workload.name == workflow), None)
    if workload is None:
        return None
    graph = copy.deepcopy(workload.graph)
    for path, value in _inputs(variation).items():
        _vary(graph, path, value)
    return graph


def _vary(graph: dict[str, Any], path: str, value: Any) -> None:
    """Put one value in, or take out what is null there; what fits nothing is left alone: a recording may be damaged."""
    node_id, _, name = path.partition(".")
    node = graph.get(node_id)
    if path in graph:
        if value is None:
            del graph[path]
        elif isinstance(value, dict):
            graph[path] = value
    elif name and isinstance(node, dict) and isinstance(node.get("inputs"), dict):
        node["inputs"][name] = value
        if value is None:
            del node["inputs"][name]


def call(plan: Plan | None, server: str, workflow: str, variation: str) -> str | None:
    """A command for a shell that queues the same prompt again; None where the recording does not hold it.

    The JSON is one line, so that no text in it can end the here-document it stands in. What looks like a secret is
    hidden: who sends it again has to put it in.
    """
    if plan is not None and plan.gateway is not None:
        return _through_gateway(plan, plan.gateway, workflow, variation)
    graph = None if plan is None else varied_graph(plan, workflow, variation)
    if graph is None:
        return None
    return _curl(f"{server.rstrip('/')}/prompt", {"prompt": redact_json(graph)})


def _through_gateway(plan: Plan, gateway: Gateway, workflow: str, variation: str) -> str | None:
    """The request for the same pictures; its token comes from the variable the scenario names."""
    images = next((workload.images for workload in plan.workloads if workload.name == workflow), None)
    prompt = _inputs(variation).get("prompt")
    if images is None or not isinstance(prompt, str):
        return None
    wish = Wish(prompt, images.n, images.size, images.steps, images.negative, images.model)
    variable = gateway.token_variable or ("TOKEN" if gateway.email_variable else None)
    token = f"${variable}" if variable else None
    headers = "".join(f' -H "{name}: {value}"' for name, value in gateway.api.headers(token).items())
    return _curl(f"{gateway.url}{gateway.api.path}", redact_json(fields_of(gateway.api, wish)), headers)


def _curl(url: str, fields: Any, headers: str = "") -> str | None:  # whatever JSON can hold
    """A POST of `fields`; None where they are too long for a shell. `headers` are options, written for the shell."""
    body = orjson.dumps(fields).decode()
    if len(body) > LONGEST_CALL:
        return None
    options = f"-H 'Content-Type: application/json'{headers} --data-binary @-"
    return f"curl -sS {shlex.quote(url)} {options} <<'PROMPT'\n{body}\nPROMPT"


def _inputs(variation: str) -> dict[str, Any]:
    try:
        values = json.loads(variation)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
