"""What can be known before the first prompt: is the target a ComfyUI, does it know the nodes, are there handles."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.errors import ComfySoakError, ScenarioError, TargetError
from comfysoak_core.gateway.preflight import check_gateway
from comfysoak_core.recording.redaction import hide_value_of
from comfysoak_core.recording.run_file import ServerFacts
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.gateway import Gateway
from comfysoak_core.scenario.plan import Plan
from comfysoak_load.process.room import Machine, Share, check_room

TIMEOUT_S = 10.0
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'()*+,./:;<=>?@^_`{|}~\[\]-]+")


def token_headers(plan: Plan) -> dict[str, str]:
    """The headers that carry the token the plan names; ScenarioError when its variable is empty, or a gateway's is."""
    if plan.gateway is not None:
        _check_secrets(plan.gateway)
    for source in plan.probes.gpu:
        bearer_headers(source.token_variable)
    return bearer_headers(plan.token_variable)


def _check_secrets(gateway: Gateway) -> None:
    bearer_headers(gateway.token_variable)
    for variable in (gateway.email_variable, gateway.password_variable):
        if variable is not None and not os.environ.get(variable):
            raise ScenarioError(f"{variable} is to sign in at the gateway, and is not set", f"export {variable}=...")


def bearer_headers(variable: str | None) -> dict[str, str]:
    """The headers that carry the token in an environment variable; ScenarioError when it holds none."""
    if variable is None:
        return {}
    token = os.environ.get(variable, "")
    if not token:
        raise ScenarioError(f"token_variable names {variable}, which is not set", f"export {variable}=...")
    if not _TOKEN.fullmatch(token):
        raise ScenarioError(
            f"{variable} holds characters that no token has: spaces, quotes, or others beyond ASCII",
            "Look for a line break at its end, or quotes that belong to the shell.",
        )
    hide_value_of(variable)
    return {"Authorization": f"Bearer {token}"}


def check_plan(plan: Plan, processes: int | None) -> Iterator[str]:
    """Refuse what this machine cannot do (UsageError); yield warnings about what it can but should not.

    `processes` are those that make the load here; None: other machines make it, and look for themselves.
    """
    if processes is not None:
        yield from check_room(Share.of(plan, processes, processes), Machine.here())
    token_headers(plan)
    yield from plan_warnings(plan)


def plan_warnings(plan: Plan) -> Iterator[str]:
    """What will make the figures mean less than they seem."""
    from comfysoak_core.comfyui.variation import warnings_for
    from comfysoak_core.gateway import prompts

    for workload in plan.workloads:
        if workload.images is not None:
            yield from (f"{workload.name}: {warning}" for warning in prompts.warnings_for(workload.images))
        elif workload.expected is Outcome.SUCCESS:
            new = [upload.input for upload in workload.uploads if upload.each == "prompt" or len(upload.files) > 1]
            yield from (f"{workload.name}: {warning}" for warning in warnings_for(workload, new))


def servers_as_found(plan: Plan) -> tuple[ServerFacts, ...]:
    """What each server of the plan says of itself; TargetError for what is not ready for its workload.

    Of a fleet that may be incomplete (`allow_down`) servers that do not answer are left to the run, if one does;
    of a plan that starts cold, all of them.
    """
    headers = token_headers(plan)
    if plan.gateway is not None and plan.gateway.url:  # an embedded one is not there yet
        check_gateway(plan.gateway)
    found, down = [], []
    for server in plan.servers:
        client = ComfyClient(server, timeout_s=TIMEOUT_S, headers=headers)
        try:
            found.append(server_facts(client, server))
        except TargetError as error:
            down.append(error)
            found.append(ServerFacts(url=server))
            continue
        check_nodes(client, plan, server)
    may_be_down = plan.starts_cold or (plan.allow_down and len(down) < len(plan.servers))
    if down and not may_be_down:
        raise _not_ready(plan, down)
    return tuple(found)


def _not_ready(plan: Plan, errors: Sequence[TargetError]) -> ComfySoakError:
    """All servers that do not answer, in one error; and how to go on without them, where that is possible."""
    problems = [problem for error in errors for problem in error.problems]
    if len(errors) < len(plan.servers):
        last = problems[-1]
        without = "Or begin without it: --allow-down" if len(errors) == 1 else "Or begin without them: --allow-down"
        problems[-1] = replace(last, remedy=f"{last.remedy}\n    {without}".strip())
    return TargetError.of(problems)


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
    if plan.canary is not None:
        wanted |= {node["class_type"]: f"the canary, {plan.canary.name}" for node in plan.canary.graph.values()}
    missing = {name: workflow for name, workflow in wanted.items() if client.object_info(name) is None}
    if missing:
        names = ", ".join(f"{name} (in {workflow})" for name, workflow in sorted(missing.items()))
        raise TargetError(
            f"{server} does not know these node classes: {names}",
            "Install the custom nodes they belong to, or give the workload `expect: rejected`.",
        )
