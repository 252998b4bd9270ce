"""What can be known before the first prompt: is the target a ComfyUI, does it know the nodes, are there handles."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random

from comfysoak_core.comfyui.answers import SystemStats
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.judgement import FaultKind, checks_newer_choices, judge
from comfysoak_core.comfyui.known_classes import classes_of
from comfysoak_core.comfyui.node_classes import NodeClass
from comfysoak_core.comfyui.reaching import reached
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.comfyui.variation import Variation
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.errors import ComfySoakError, Problem, ScenarioError, TargetError
from comfysoak_core.gateway.preflight import check_gateway
from comfysoak_core.recording.redaction import hide_value_of
from comfysoak_core.recording.run_file import ServerFacts
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.gateway import Gateway
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.workload import Workload
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
        try:
            stats = reached(server, headers, TIMEOUT_S, by_socket=plan.gateway is None)
        except TargetError as error:
            down.append(error)
            found.append(ServerFacts(url=server))
            continue
        found.append(facts_of(stats, server))
        with ComfyClient(server, timeout_s=TIMEOUT_S, headers=headers) as client:
            check_workflows(client, plan, server, stats.comfyui_version)
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
    return facts_of(client.identify(), server)


def facts_of(stats: SystemStats, server: str) -> ServerFacts:
    """What a recording keeps of it."""
    return ServerFacts(
        url=server,
        comfyui_version=stats.comfyui_version,
        python_version=stats.python_version,
        pytorch_version=stats.pytorch_version,
        os=stats.os,
        argv=stats.argv,
        devices=tuple(device.name for device in stats.devices),
    )


def check_workflows(client: ComfyClient, plan: Plan, server: str, version: str | None) -> None:
    """Refuse a plan whose workflows this server would refuse (TargetError): its node classes, and their inputs."""
    graphs = {load.name: _first_prompt(load) for load in plan.workloads if load.expected is Outcome.SUCCESS}
    if plan.canary is not None:
        graphs[f"the canary, {plan.canary.name}"] = plan.canary.graph
    every = {f"{name}/{node_id}": node for name, graph in graphs.items() for node_id, node in graph.items()}
    classes = classes_of(client, every)
    missing = {
        node["class_type"]: key.rpartition("/")[0] for key, node in every.items() if node["class_type"] in classes.lost
    }
    if missing:
        names = ", ".join(f"{name} (in {workflow})" for name, workflow in sorted(missing.items()))
        raise TargetError(
            f"{server} does not know these node classes: {names}",
            f"{classes.nearest_told()}Install the custom nodes they belong to, or give the workload"
            " `expect: rejected`.",
        )
    if any(stage.replay is not None for stage in plan.stages):
        return  # a trace has inputs of its own
    known = {name: NodeClass(name, info) for name, info in classes.found.items()}
    for load in plan.workloads:
        if load.expected is Outcome.SUCCESS and load.graph:
            _check_inputs(load, graphs[load.name], known, server, version)


def _first_prompt(load: Workload) -> Graph:
    """The graph of a prompt of this workload: what varies has a value that it may have."""
    if not load.graph:
        return {}
    workflow = Workflow.from_graph(load.graph, name=load.name, wrong=True)
    return Variation(workflow, load.vary).draw(Random(0)).graph


def _check_inputs(
    load: Workload, graph: Graph, classes: Mapping[str, NodeClass], server: str, version: str | None
) -> None:
    """TargetError for a workload that this server is sure to refuse.

    Files that the run uploads are left to it; so are models, which a fleet may have where they are needed.
    """
    judgement = judge(graph, classes, checks_newer_choices=checks_newer_choices(version))
    refused = [fault for fault in judgement.faults if fault.refused and fault.certain]
    uploaded = {upload.input for upload in load.uploads}
    told = [
        fault
        for fault in refused
        if fault.kind is not FaultKind.MODEL and f"{fault.node_id}.{fault.input_name}" not in uploaded
    ]
    if told and not judgement.good_outputs:
        raise TargetError.of(
            [
                Problem(
                    f"{server} would refuse {load.name}: {fault.what}", f"{fault.remedy} Or give it `expect: rejected`."
                )
                for fault in told[:5]
            ]
        )
