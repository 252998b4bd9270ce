"""A world as a sealed recording: its plan, its run.json, and all tables of what load and probes saw of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.planted import gpu_tables, host_tables, load_tables, server_tables, socket_tables
from benchmarks.planted.columns import START_NS, together
from benchmarks.planted.course import Course, play
from benchmarks.planted.graphs import graph_of
from benchmarks.planted.world import Workflow, World
from benchmarks.planted.writing import write
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.gateway.api import OPEN_WEBUI
from comfysoak_core.gateway.prompts import Images
from comfysoak_core.recording.run_file import (
    Ended,
    EndReason,
    GpuFacts,
    HostFacts,
    PhaseFacts,
    RunFile,
    Segment,
    ServerFacts,
)
from comfysoak_core.scenario.canary import Canary
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.gateway import Gateway
from comfysoak_core.scenario.plan import GpuSource, Plan, Probes
from comfysoak_core.scenario.sessions import Sessions
from comfysoak_core.scenario.stage import Arrivals, ColdStart, Settle, Stage
from comfysoak_core.scenario.workload import Workload


def record(world: World, path: Path) -> Path:
    """Let the world happen and write its recording into the new directory `path`."""
    return record_course(world, play(world), path)


def record_course(world: World, course: Course, path: Path) -> Path:
    """Write the recording of what happened into the new directory `path`."""
    write(path, run_file(world, course), {name: [batch] for name, batch in tables(world, course).items() if batch})
    return path


def tables(world: World, course: Course) -> Mapping[str, Any]:
    """All tables of a course; None where there is nothing to write."""
    names = load_tables.Names(world, course)
    prompts = load_tables.prompts(world, course, names)
    canaries = load_tables.canaries(world, course)
    seen = {
        "prompts": prompts if canaries is None else together([prompts, canaries]),
        "gpu": gpu_tables.gpu(world, course),
        "gpu_slow": gpu_tables.gpu_slow(world, course),
        "host": host_tables.host(world, course),
        "events": socket_tables.events(world, course),
        "generator": socket_tables.generator(world, course),
        "clocks": server_tables.clocks(world, course),
    }
    if world.gateway is not None:  # no ComfyUI is named: nobody asks it, and no process is known to be its
        return seen
    return seen | {
        "nodes": load_tables.nodes(world, course, names),
        "sessions": socket_tables.sessions(world, course, names),
        "gpu_health": gpu_tables.gpu_health(world, course),
        "gpu_processes": gpu_tables.gpu_processes(world, course),
        "processes": host_tables.processes(world, course),
        "containers": host_tables.containers(world, course),
        "folders": host_tables.folders(world, course),
        "server": server_tables.server(world, course, names),
        "server_log": server_tables.server_log(world, course),
        "server_clocks": server_tables.server_clocks(world, course),
    }


def run_file(world: World, course: Course) -> RunFile:
    """run.json, as the supervisor leaves it."""
    end_ns = _ns(course.end)
    phases, cold = [], world.cold_start_s
    if cold:
        phases.append(PhaseFacts(name="cold start", started_ns=START_NS, ended_ns=_ns(cold)))
    phases.append(PhaseFacts(name="warmup", started_ns=_ns(cold or 0.0), ended_ns=_ns(world.measured_s)))
    phases.append(PhaseFacts(name="load", started_ns=_ns(world.measured_s), ended_ns=end_ns))
    return RunFile(
        id=str(uuid.UUID(bytes=world.random.bytes(16), version=4)),
        name=world.name,
        created_ns=START_NS - 2 * NS_PER_S,
        harness_version="0.1.0",
        python_version="3.11.7",
        argv=("comfysoak", "run"),
        segments=(Segment(started_ns=START_NS - 2 * NS_PER_S, ended_ns=end_ns),),
        plan=plan(world).model_dump(mode="json"),
        hosts=(HostFacts(name="load-host", os="Linux", cpu_count=8, memory_bytes=32 * 1024**3),),
        gpus=tuple(
            GpuFacts(host=one.host, uuid=one.uuid, source="nvml", index=one.index, name=one.gpu_name,
                     memory_total_bytes=one.vram_bytes, driver="580.65.06", power_limit_watts=one.watts)
            for one in world.machines
        ),
        servers=tuple(_server(world, number) for number in range(len(world.machines))) if not world.gateway else (),
        phases=tuple(phases),
        ended=Ended(at_ns=end_ns, reason=EndReason.FINISHED),
        sealed=True,
    )  # fmt: skip


def _server(world: World, number: int) -> ServerFacts:
    one = world.machines[number]
    return ServerFacts(
        url=one.url,
        comfyui_version="0.33.0" if world.dynamic else "0.3.64",
        python_version="3.12.4",
        pytorch_version="2.9.1+cu128",
        os="linux",
        argv=("main.py", "--listen", "0.0.0.0"),
        devices=(f"cuda:0 {one.gpu_name} : cudaMallocAsync",),
    )


def plan(world: World) -> Plan:
    """The scenario as it was run."""
    settle = Settle(every_s=world.settle[0], wait_s=world.settle[1]) if world.settle else None
    stages = [Stage(duration_s=world.warmup_s, phase="warmup", **_load(world, 0.5))]
    stages.append(Stage(duration_s=world.duration_s - world.measured_s, settle=settle, **_load(world, 1.0)))
    if world.cold_start_s:
        restart = ColdStart(command=("systemctl", "restart", "comfyui"))
        stages.insert(0, Stage(duration_s=world.cold_start_s, cold_start=restart, phase="cold start"))
    more: dict[str, Any] = dict(world.more)
    of_workloads = more.pop("workload", {})
    if world.gateway:
        more["gateway"] = Gateway(url=world.gateway, api=OPEN_WEBUI)
    return Plan(
        name=world.name,
        servers=() if world.gateway else tuple(one.url for one in world.machines),
        workloads=tuple(_workload(world, flow, of_workloads) for flow in world.workflows),
        stages=tuple(stages),
        sessions=Sessions(watchers=world.watchers),
        canary=Canary(every_s=world.canary_every_s, deadline_s=world.canary_every_s) if world.canary_every_s else None,
        probes=Probes(gpu=(GpuSource(kind="nvml"),), every_s=world.gpu_every_s, host_every_s=world.every_s,
                      server_every_s=world.every_s, log="socket" if world.has_log else "off"),
        **more,
    )  # fmt: skip


def _load(world: World, share: float) -> dict[str, Any]:
    level = world.load.most * share
    if world.load.is_open:
        return {"arrivals": Arrivals(rate_per_s=Line.level(level))}
    return {"users": Line.level(float(max(1, round(level))))}


def _workload(world: World, flow: Workflow, more: dict[str, Any]) -> Workload:
    if world.gateway:
        images = Images(prompts=("a lighthouse, {number}",), size=(512, 512))
        return Workload(name=flow.name, images=images, weight=flow.weight, deadline_s=flow.deadline_s)
    return Workload(
        name=flow.name,
        graph=graph_of(world, flow),
        weight=flow.weight,
        deadline_s=flow.deadline_s,
        think_s=world.load.think_s,
        **more,
    )


def _ns(seconds: float) -> int:
    return START_NS + round(seconds * NS_PER_S)
