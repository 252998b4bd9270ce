"""Recordings with known truth, written row by row through the journal as load and probes write them.

A `Planting` says what happens and when; `plant` plays it on a clock that stands still: users in a closed loop, one
server that runs one prompt at a time, two models that do not fit together, a GPU sampled at 10 Hz.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from comfysoak_core.clock import NS_PER_S, ManualClock
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.run_file import (
    Ended,
    EndReason,
    HostFacts,
    PhaseFacts,
    RunFile,
    Segment,
    ServerFacts,
    write_run_file,
)
from comfysoak_core.rows import (
    ClockReading,
    Event,
    Generator,
    Gpu,
    GpuSlow,
    Host,
    NodeRun,
    Process,
    Prompt,
    Row,
    Server,
    ServerLog,
    Session,
)
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.sessions import Sessions
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Workload

START_NS = 1_795_000_000 * NS_PER_S
SERVER = "http://127.0.0.1:8188"
GIB = 1024**3
NODES = (
    ("4", "CheckpointLoaderSimple", 0.04),
    ("6", "CLIPTextEncode", 0.05),
    ("7", "CLIPTextEncode", 0.03),
    ("3", "KSampler", 0.6),
    ("8", "VAEDecode", 0.12),
    ("9", "SaveImage", 0.05),
)
MODELS = {"portrait-sdxl": ("SDXL", int(6.6 * GIB)), "sketch-sd15": ("BaseModel", int(2.1 * GIB))}


@dataclass(frozen=True)
class Planting:
    """What is planted. Times are seconds after the start."""

    name: str = "planted"
    seed: int = 1
    duration_s: float = 60.0
    warmup_s: float = 8.0
    users: int = 6
    watchers: int = 6
    think_s: float = 0.6
    workflows: tuple[str, ...] = ("portrait-sdxl", "sketch-sd15")
    vram_bytes: int = 8 * GIB
    gpu: bool = True
    log: bool = True
    oom_at_s: tuple[float, ...] = ()
    drops_at_s: tuple[float, ...] = ()
    node_error_at_s: tuple[float, ...] = ()
    node_error_text: str = "boom"
    cached_share: float = 0.0
    down_from_s: float | None = None
    down_for_s: float = 5.0
    goals: tuple[str, ...] = ()
    on_undecided: Literal["fail", "pass"] = "fail"
    prompts_most: int | None = None
    lag_max_s: float = 0.004
    generator_cpu_ratio: float = 0.3
    sampler_gap_s: tuple[float, float] | None = None
    gpu_source: Literal["nvml", "dcgm"] = "nvml"
    gpu_host: str = "gpu-1"
    gpu_lost_rows: bool = False  # the first row of the gap says that the GPU is lost
    pauses: tuple[tuple[float, float, str], ...] = ()  # from, for how long, and of which kind of probe
    slower_at_end: float = 0.0  # work takes so much longer at the end of the run than at its start, as a share
    slower_from: tuple[float, float] = (0.0, 0.0)  # from that second on work takes so much longer, as a share
    watching_cost: float = 0.0  # work takes so much longer, as a share, while no pause of the GPU's probes is on
    host_gap: bool = False  # the host is not read either while the GPU is not
    clock_step_s: float = 0.0
    seal: bool = True
    ended: EndReason = EndReason.FINISHED
    planned_s: float | None = None
    phases_by_events: bool = False  # as load processes tell them, each for itself
    other_rows: tuple[Row, ...] = field(default=())


def graph(workflow: str) -> dict[str, Any]:
    """A small text-to-image workflow in the API format."""
    model = MODELS.get(workflow, ("BaseModel", 0))[0].lower()
    return {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 1,
                "steps": 12,
                "cfg": 7.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
                "model": ["4", 0],
                "positive": ["6", 0],
                "negative": ["7", 0],
                "latent_image": ["5", 0],
            },
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{model}.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "soak", "images": ["8", 0]}},
    }


class _World:
    """The server and its GPU while a planting is played."""

    def __init__(self, planting: Planting) -> None:
        self.p = planting
        self.random = random.Random(planting.seed)
        self.rows: list[tuple[float, Row]] = []
        self.free_at = 0.0
        self.model: str | None = None
        self.memory: list[tuple[float, int]] = [(0.0, int(0.7 * GIB))]
        self.busy: list[tuple[float, float]] = []
        self.queue: list[tuple[float, float]] = []
        self.number = 0
        self.oom_due = list(planting.oom_at_s)
        self.error_due = list(planting.node_error_at_s)

    def ns(self, seconds: float) -> int:
        return START_NS + round(seconds * NS_PER_S)

    def put(self, at: float, row: Row) -> None:
        self.rows.append((at, row))

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))


def plant(directory: Path, planting: Planting | None = None, **changes: Any) -> Path:
    """Write the recording of `planting` (with `changes`) into `directory` and return it."""
    planting = replace(planting or Planting(), **changes)
    world = _World(planting)
    _prompts(world)
    _sessions(world)
    if planting.gpu:
        _gpu(world)
    _machines(world)
    for row in planting.other_rows:
        world.put(0.0, row)
    _write(directory, planting, world)
    return directory


def _prompts(world: _World) -> None:
    p = world.p
    ready = sorted((world.random.uniform(0, 2.0), user) for user in range(p.users))
    sent = 0
    while ready and (p.prompts_most is None or sent < p.prompts_most):
        at, user = ready.pop(0)
        if at >= p.duration_s - 4:
            continue
        end = _one_prompt(world, at, user)
        sent += 1
        ready.append((end + p.think_s * world.random.uniform(0.5, 1.5), user))
        ready.sort()


def _one_prompt(world: _World, at: float, user: int) -> float:
    p, ns = world.p, world.ns
    workflow = p.workflows[user % len(p.workflows)]
    prompt_id, phase = world.uuid(), "warmup" if at < p.warmup_s else "load"
    base = Prompt(
        id=prompt_id,
        server=SERVER,
        worker="load-0",
        client_id=f"client-{user}",
        workflow=workflow,
        phase=phase,
        variation=json.dumps({"3.seed": world.random.getrandbits(32)}),
        scheduled_ns=ns(at),
        deadline_ns=ns(at + 120),
        sent_ns=ns(at + 0.002),
        nodes_total=7,
        outputs_expected=1,
    )
    if p.down_from_s is not None and p.down_from_s <= at < p.down_from_s + p.down_for_s:
        world.put(
            at + 0.01,
            replace(
                base,
                finished_ns=ns(at + 0.01),
                outcome="failed",
                code="SERVER_DOWN",
                error_type="ConnectionRefusedError",
                error_message="connection refused",
            ),
        )
        return at + 1.0
    world.number += 1
    accepted = at + 0.006
    begun = max(world.free_at, accepted)
    pending = sum(1 for start, stop in world.queue if start <= accepted < stop)
    base = replace(
        base, accepted_ns=ns(accepted), http_status=200, number=float(world.number), queue_remaining=pending + 1
    )
    if world.random.random() < p.cached_share:
        world.put(
            begun + 0.01,
            replace(
                base,
                start_received_ns=ns(begun),
                end_received_ns=ns(begun + 0.004),
                end_source="socket",
                started_server_ns=ns(begun),
                ended_server_ns=ns(begun + 0.004),
                outcome="cached",
                code="CACHE_HIT",
                nodes_cached=7,
                nodes_executed=0,
                finished_ns=ns(begun + 0.01),
            ),
        )
        return begun + 0.01
    failure = _failure_due(world, begun)
    end, node = _run_nodes(world, prompt_id, workflow, begun, failure)
    world.free_at = end
    world.queue.append((accepted, end))
    ended = replace(
        base,
        start_received_ns=ns(begun + 0.001),
        start_error_ns=90_000,
        end_received_ns=ns(end + 0.001),
        end_error_ns=120_000,
        end_source="socket",
        started_server_ns=ns(begun) // 1_000_000 * 1_000_000,
        ended_server_ns=ns(end) // 1_000_000 * 1_000_000,
        nodes_cached=0,
        messages=31,
        message_bytes=6200,
    )
    if failure is None:
        done = replace(
            ended,
            outcome="success",
            fetched_ns=ns(end + 0.02),
            finished_ns=ns(end + 0.02),
            outputs_received=1,
            outputs_ok=True,
            output_bytes=412_000,
            nodes_executed=7,
        )
        if p.log:
            _log(world, end, "prompt_executed", f"Prompt executed in {end - begun:.2f} seconds", duration_s=end - begun)
    else:
        outcome, code, kind, message = failure
        done = replace(
            ended,
            outcome=outcome,
            code=code,
            error_type=kind,
            error_message=message,
            node_id=node,
            node_class="KSampler",
            finished_ns=ns(end + 0.004),
            nodes_executed=4,
        )
    world.put(end + 0.02, done)
    return end + 0.02


def _failure_due(world: _World, begun: float) -> tuple[str, str, str, str] | None:
    if world.oom_due and begun >= world.oom_due[0]:
        world.oom_due.pop(0)
        return "oom", "OOM", "torch.OutOfMemoryError", "Allocation on device 0 would exceed allowed memory"
    if world.error_due and begun >= world.error_due[0]:
        world.error_due.pop(0)
        return "failed", "NODE_ERROR", "RuntimeError", world.p.node_error_text
    return None


def _run_nodes(
    world: _World, prompt_id: str, workflow: str, begun: float, failure: tuple[str, str, str, str] | None
) -> tuple[float, str]:
    at = begun
    scale = {"portrait-sdxl": 1.4, "sketch-sd15": 0.7}.get(workflow, 1.0)
    scale *= 1.0 + world.p.slower_at_end * begun / world.p.duration_s
    scale *= 1.0 + world.p.slower_from[1] * (begun >= world.p.slower_from[0])
    scale *= 1.0 if _is_paused(world.p, begun) else 1.0 + world.p.watching_cost
    for node_id, node_class, seconds in NODES:
        started, first = at, None
        if node_class == "KSampler":
            at = _load_model(world, workflow, at)
            first = at + 0.06
        lasts = seconds * scale * world.random.uniform(0.9, 1.15)
        if node_class in {"KSampler", "VAEDecode"}:
            world.busy.append((at, at + lasts))
        if node_class == "VAEDecode":
            _spike(world, at, lasts)
        failed_here = failure is not None and node_class == "KSampler"
        if failed_here:
            lasts *= 0.4
            _memory_of_failure(world, at, lasts, failure)
        at += lasts
        world.put(
            at,
            NodeRun(
                id=f"{prompt_id}/{node_id}",
                prompt_id=prompt_id,
                node_id=node_id,
                node_class=node_class,
                server=SERVER,
                workflow=workflow,
                started_ns=world.ns(started),
                ended_ns=world.ns(at),
                first_progress_ns=None if first is None else world.ns(first),
                steps=12.0 if node_class == "KSampler" else None,
            ),
        )
        if failed_here:
            break
    return at, "3"


def _is_paused(p: Planting, at: float) -> bool:
    return any(start <= at < start + lasts for start, lasts, kind in p.pauses if kind == "gpu")


def _load_model(world: _World, workflow: str, at: float) -> float:
    name, size = MODELS.get(workflow, ("BaseModel", GIB))
    if world.model == name:
        return at
    level = world.memory[-1][1]
    if world.model is not None and level + size > world.p.vram_bytes - GIB:
        level = int(0.7 * GIB)
        world.memory.append((at, level))
        if world.p.log:
            _log(world, at, "model_unloaded", "1 models unloaded.")
    lasts = size / (8 * GIB)
    if world.p.log:
        _log(world, at, "model_requested", f"Requested to load {name}", model=name)
        _log(
            world,
            at + lasts,
            "model_loaded",
            f"loaded completely;  {size / 2**20:.2f} MB loaded, full load: True",
            model=name,
            loaded_bytes=size,
        )
    for step in range(1, 6):
        world.memory.append((at + lasts * step / 5, level + size * step // 5))
    world.model = name
    return at + lasts


def _spike(world: _World, at: float, lasts: float) -> None:
    level = world.memory[-1][1]
    world.memory += [(at, level + int(0.4 * GIB)), (at + lasts, level)]


def _memory_of_failure(world: _World, at: float, lasts: float, failure: tuple[str, str, str, str] | None) -> None:
    if failure is None or failure[1] != "OOM":
        return
    world.memory += [(at, int(world.p.vram_bytes * 0.985)), (at + lasts, int(0.7 * GIB))]
    world.model = None
    if world.p.log:
        _log(world, at + lasts, "oom", "Got an OOM, unloading all loaded models.")


def _log(world: _World, at: float, kind: str, text: str, **more: Any) -> None:
    world.put(at, ServerLog(at_ns=world.ns(at), server=SERVER, source="socket", kind=kind, text=text, **more))


def _sessions(world: _World) -> None:
    p, ns = world.p, world.ns
    for index in range(p.users + p.watchers):
        role = "user" if index < p.users else "watcher"
        opened, cuts = 0.05 + index * 0.02, [*p.drops_at_s, None]
        for cut in cuts:
            session_id = world.uuid()
            row = Session(
                id=session_id,
                server=SERVER,
                worker="load-0",
                role=role,
                client_id=f"client-{index}",
                opening_ns=ns(opened),
                opened_ns=ns(opened + 0.003),
                longest_silence_ns=900_000_000,
            )
            if cut is None:
                world.put(
                    p.duration_s,
                    replace(
                        row,
                        closed_ns=ns(p.duration_s - 0.5),
                        close_code=1000,
                        closed_by="client",
                        messages=400,
                        message_bytes=80_000,
                    ),
                )
            else:
                closed = cut + world.random.uniform(0, 0.05)
                world.put(
                    closed,
                    replace(
                        row,
                        closed_ns=ns(closed),
                        close_code=1006,
                        closed_by="network",
                        code="WS_ABNORMAL",
                        reason="connection reset",
                        messages=200,
                    ),
                )
                opened = closed + 0.5


def _gpu(world: _World) -> None:
    p, ns = world.p, world.ns
    steps = sorted(world.memory)
    position, level = 0, steps[0][1]
    for tick in range(int(p.duration_s * 10)):
        at = tick / 10
        while position < len(steps) and steps[position][0] <= at:
            level = steps[position][1]
            position += 1
        if p.sampler_gap_s and p.sampler_gap_s[0] <= at < sum(p.sampler_gap_s):
            continue
        if _is_paused(p, at):
            continue
        lost = p.gpu_lost_rows and p.sampler_gap_s and abs(at - p.sampler_gap_s[0] + 0.1) < 0.01
        busy = any(start <= at < stop for start, stop in world.busy)
        world.put(
            at,
            Gpu(
                at_ns=ns(at),
                read_cost_ns=16_000,
                host=p.gpu_host,
                source=p.gpu_source,
                uuid="GPU-0",
                index=0,
                memory_used_bytes=level,
                memory_total_bytes=p.vram_bytes,
                utilisation_ratio=0.97 if busy else 0.02,
                missing="all: the GPU is lost (NVML error 15)" if lost else None,
            ),
        )
        if tick % 10 == 0:
            world.put(
                at,
                GpuSlow(
                    at_ns=ns(at),
                    read_cost_ns=70_000,
                    host="gpu-1",
                    source=p.gpu_source,
                    uuid="GPU-0",
                    index=0,
                    name="Virtual GPU 8 GiB",
                    power_watts=210.0 if busy else 60.0,
                    temperature_celsius=61.0,
                    sm_clock_hertz=1_700_000_000,
                    event_reasons="",
                ),
            )


def _host(at_ns: int) -> Host:
    return Host(
        at_ns=at_ns,
        read_cost_ns=500_000,
        host="gpu-1",
        cpu_ratio=0.4,
        cpu_count=8,
        memory_total_bytes=32 * GIB,
        memory_available_bytes=20 * GIB,
    )


def _machines(world: _World) -> None:
    p, ns = world.p, world.ns
    for second in range(int(p.duration_s)):
        waiting = sum(1 for start, stop in world.queue if start <= second < stop)
        down = p.down_from_s is not None and p.down_from_s <= second < p.down_from_s + p.down_for_s
        server = (
            Server(at_ns=ns(second), server=SERVER, missing="queue: connection refused")
            if down
            else Server(
                at_ns=ns(second),
                server=SERVER,
                queue_answer_ns=2_000_000,
                queue_running=min(waiting, 1),
                queue_pending=max(waiting - 1, 0),
                highest_number=float(world.number),
                vram_total_bytes=p.vram_bytes,
            )
        )
        world.put(second, server)
        if not (p.host_gap and p.sampler_gap_s and p.sampler_gap_s[0] <= second < sum(p.sampler_gap_s)):
            world.put(second, _host(ns(second)))
        world.put(
            second,
            Process(
                at_ns=ns(second),
                read_cost_ns=300_000,
                host="gpu-1",
                pid=77,
                role="server",
                server=SERVER,
                cpu_ratio=0.8,
                rss_bytes=3 * GIB,
            ),
        )
        world.put(
            second,
            Generator(
                at_ns=ns(second),
                worker="load-0",
                pid=78,
                users=p.users,
                sockets=p.users + p.watchers,
                in_flight=waiting,
                cpu_ratio=p.generator_cpu_ratio,
                lag_max_ns=round(p.lag_max_s * NS_PER_S),
                lateness_max_ns=3_000_000,
            ),
        )
        world.put(
            second,
            ClockReading(
                at_ns=ns(second),
                host="gpu-1",
                offset_ns=12_000,
                step_ns=round(p.clock_step_s * NS_PER_S) if second == 20 else 0,
            ),
        )
    for at, lasts, kind in p.pauses:
        for step, moment in (("probe_paused", at), ("probe_resumed", at + lasts)):
            if moment < p.duration_s:
                world.put(moment, Event(at_ns=ns(moment), source="sampler", kind=step, subject=kind))
    for phase, at in (("warmup", 0.0), ("load", p.warmup_s)):
        for worker in range(2):
            told = ns(at) + worker * 3_000_000
            world.put(at, Event(at_ns=told, source=f"load-{worker}", kind="phase", subject=phase))


def _in_order(rows: list[tuple[float, Row]]) -> Iterator[tuple[float, Row]]:
    yield from sorted(rows, key=lambda pair: pair[0])


def _write(directory: Path, planting: Planting, world: _World) -> None:
    journal_directory = directory / "journal"
    journal_directory.mkdir(parents=True, exist_ok=True)
    clock = ManualClock(START_NS)
    journal = Journal(journal_directory, host="gpu-1", process="planted", clock=clock)
    for at, row in _in_order(world.rows):
        clock.set_ns(world.ns(at))
        journal.add(row)
    journal.close()
    _write_run_file(directory, planting)


def _write_run_file(directory: Path, planting: Planting) -> None:
    """`run.json` as the supervisor leaves it; without `seal` as it stands when everybody was killed."""
    end_ns = START_NS + round(planting.duration_s * NS_PER_S)
    warm_ns = START_NS + round(planting.warmup_s * NS_PER_S)
    run = RunFile(
        id="00000000-0000-4000-8000-000000000001",
        name=planting.name,
        created_ns=START_NS - 2 * NS_PER_S,
        harness_version="0.1.0",
        python_version="3.11.7",
        argv=("comfysoak", "run"),
        segments=(Segment(started_ns=START_NS, ended_ns=end_ns),),
        plan=_plan(planting).model_dump(mode="json"),
        hosts=(HostFacts(name="gpu-1", os="Linux", cpu_count=8, memory_bytes=32 * GIB),),
        servers=(ServerFacts(url=SERVER, comfyui_version="0.3.64", argv=("main.py", "--listen")),),
        phases=()
        if planting.phases_by_events
        else (
            PhaseFacts(name="warmup", started_ns=START_NS, ended_ns=warm_ns),
            PhaseFacts(name="load", started_ns=warm_ns, ended_ns=end_ns),
        ),
        ended=Ended(at_ns=end_ns, reason=planting.ended) if planting.seal else None,
        sealed=planting.seal,
    )
    write_run_file(run, directory / "run.json")


def _plan(planting: Planting) -> Plan:
    lasts = (planting.planned_s or planting.duration_s) - planting.warmup_s
    return Plan(
        name=planting.name,
        seed=planting.seed,
        servers=(SERVER,),
        workloads=tuple(Workload(name=name, graph=graph(name), deadline_s=120.0) for name in planting.workflows),
        stages=(
            Stage(duration_s=planting.warmup_s, users=Line.level(1), phase="warmup"),
            Stage(duration_s=lasts, users=Line(start=1, end=planting.users)),
        ),
        sessions=Sessions(watchers=planting.watchers),
        goals=planting.goals,
        on_undecided=planting.on_undecided,
    )
