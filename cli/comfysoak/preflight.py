"""What can be known before the first prompt: is the target a ComfyUI, does it know the nodes, are there handles."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.errors import ScenarioError, TargetError
from comfysoak_core.recording.redaction import hide_value_of
from comfysoak_core.recording.run_file import ServerFacts
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.plan import Plan
from comfysoak_load.handles import check_handles

TIMEOUT_S = 10.0
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'()*+,./:;<=>?@^_`{|}~\[\]-]+")


def token_headers(plan: Plan) -> dict[str, str]:
    """The headers that carry the token the plan names; ScenarioError when its variable is empty."""
    if plan.token_variable is None:
        return {}
    token = os.environ.get(plan.token_variable, "")
    if not token:
        raise ScenarioError(
            f"token_variable names {plan.token_variable}, which is not set", f"export {plan.token_variable}=..."
        )
    if not _TOKEN.fullmatch(token):
        raise ScenarioError(
            f"{plan.token_variable} holds characters that no token has: spaces, quotes, or others beyond ASCII",
            "Look for a line break at its end, or quotes that belong to the shell.",
        )
    hide_value_of(plan.token_variable)
    return {"Authorization": f"Bearer {token}"}


def check_plan(plan: Plan, processes: int) -> Iterator[str]:
    """Refuse what this machine cannot do (UsageError); yield warnings about what it can but should not."""
    check_handles(-(-plan.sockets_most // processes))
    token_headers(plan)
    yield from plan_warnings(plan)


def plan_warnings(plan: Plan) -> Iterator[str]:
    """What will make the figures mean less than they seem."""
    from comfysoak_core.comfyui.variation import warnings_for

    for workload in plan.workloads:
        if workload.expected is Outcome.SUCCESS:
            yield from (f"{workload.name}: {warning}" for warning in warnings_for(workload))


def servers_as_found(plan: Plan) -> tuple[ServerFacts, ...]:
    """What each server of the plan says of itself; TargetError for the first that is not ready for its workload."""
    headers = token_headers(plan)
    found = []
    for server in plan.servers:
        client = ComfyClient(server, timeout_s=TIMEOUT_S, headers=headers)
        found.append(server_facts(client, server))
        check_nodes(client, plan, server)
    return tuple(found)


def server_facts(client: ComfyClient, server: str) -> ServerFacts:
    """A server's own account of itself; TargetError when it is no ComfyUI."""
    stats = client.identify()
    return ServerFacts(
        url=server,
        comfyui_version=stats.comfyui_version,
        python_version=stats.python_version,
        pytorch_version=stats.pytorch_version,
        os=stats.os,
        argv=stats.argv,
        devices=tuple(device.name for device in stats.devices),
    )


def check_nodes(client: ComfyClient, plan: Plan, server: str) -> None:
    """Refuse a plan whose workflows name node classes this server does not have (TargetError)."""
    wanted: dict[str, str] = {}
    for workload in plan.workloads:
        if workload.expected is Outcome.SUCCESS:
            wanted |= {node["class_type"]: workload.name for node in workload.graph.values()}
    missing = {name: workflow for name, workflow in wanted.items() if client.object_info(name) is None}
    if missing:
        names = ", ".join(f"{name} (in {workflow})" for name, workflow in sorted(missing.items()))
        raise TargetError(
            f"{server} does not know these node classes: {names}",
            "Install the custom nodes they belong to, or give the workload `expect: rejected`.",
        )
