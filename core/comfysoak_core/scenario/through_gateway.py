"""What goes with a gateway and what does not: pure checks of a scenario, each mistake with its place."""

from __future__ import annotations

from collections.abc import Iterator

from comfysoak_core.gateway.prompts import Images
from comfysoak_core.scenario.model import Scenario
from comfysoak_core.scenario.workload import Fetch, Workload
from comfysoak_core.scenario.written.workload import WorkloadSection

Place = tuple[str | int, ...]


def misfits(scenario: Scenario) -> Iterator[tuple[Place, str, str]]:
    """Place, what is wrong, what to do: prompts are for gateways and workflows for ComfyUI."""
    through = scenario.target.is_gateway
    for index, part in enumerate(scenario.workload):
        if (part.prompt is not None) is through:
            continue
        if through:
            yield (
                ("workload", index),
                "a gateway is sent prompts, not workflows",
                "{prompt: prompts.txt}",
            )
        else:
            yield ("workload", index), "a ComfyUI is sent workflows, not prompts", "{workflow: sdxl.json}"
    if through:
        yield from _too_much(scenario)


def _too_much(scenario: Scenario) -> Iterator[tuple[Place, str, str]]:
    """What a gateway cannot be asked, and what only the ComfyUI behind it can."""
    gateway = scenario.target.gateway
    watched = gateway is None or bool(gateway.comfyui)
    cure = "Name the ComfyUI behind it: target.gateway.comfyui"
    for index, part in enumerate(scenario.workload):
        if part.fetch.kinds is not None:
            yield ("workload", index, "fetch"), "of a gateway all is fetched, nothing, or a share", "fetch: 10%"
    if scenario.canary is not None and not watched:
        yield ("canary",), "a canary runs on the ComfyUI behind the gateway", cure
    for index, stage in enumerate(scenario.load):
        if stage.cold_start is not None or stage.trace is not None:
            what = "cold_start" if stage.cold_start is not None else "trace"
            yield ("load", index, what), f"{what} is for ComfyUI itself, not for a gateway", "target: {comfyui: ...}"
        if stage.settle is not None and not watched:
            yield ("load", index, "settle"), "settle needs the ComfyUI behind the gateway", cure
    if scenario.sessions.model_fields_set and not watched:
        yield ("sessions",), "sessions are held with the ComfyUI behind the gateway", cure


def workload_of(part: WorkloadSection, name: str, prompts: tuple[str, ...]) -> Workload:
    """What is asked of a gateway."""
    return Workload(
        name=name,
        images=Images(prompts, part.n, part.size, part.steps, part.negative, part.model, part.pictures),
        weight=part.weight,
        deadline_s=part.deadline,
        expected=part.expect,
        fetch=Fetch(share=part.fetch.share),
        think_s=part.think,
    )
