"""Plantings of what goes wrong with machines."""

from __future__ import annotations

from typing import Final

from benchmarks.planted.drawing import known_workflow, steady
from benchmarks.planted.outages import away
from benchmarks.planted.plantings.planting import Planting
from benchmarks.planted.world import GIB, MIB, Gone, Poisoned, Slowdown, Stranger, Told, World
from comfysoak_core.codes import Code

_DROPPED: Final = "its sockets end without a close frame"
_RESTART: Final = {
    Code.SERVER_DOWN: "connections are refused until it is back",
    Code.SERVER_RESTARTED: "it comes back with an empty queue",
    Code.WS_ABNORMAL: _DROPPED,
}
_FAILS: Final = {Code.NODE_ERROR: "what its prompts fail with is an error of a node"}


def _poisoned(world: World) -> None:
    """After an illegal access three or four prompts fail one after the other, then somebody restarts the server."""
    world.script.poisoned.append(Poisoned(0, world.moment(0.2, 0.8), world.whole(3, 4), world.between(4, 8)))


def _gpu_gone(world: World, *, lost: bool) -> None:
    server = world.any_server()
    at, machine = world.duration_s - world.between(30, 90), world.machines[server]
    world.script.gone.append(Gone(server, at, lost))
    title = f"GPU {machine.index} of {machine.host}"
    if lost:
        detail = f"{title}: the GPU is lost (NVML error 15)"
        xid = f"Xid 79: GPU has fallen off the bus (usually hardware) on {title}"
        world.script.told.append(Told(at + 0.02, "sampler", "xid", None, machine.uuid, "GPU_LOST", xid))
        world.script.told.append(Told(at + 0.1, "sampler", "gpu_lost", None, machine.uuid, "GPU_LOST", detail))
    else:
        detail = f"{title}: unknown error of the driver (NVML error 999)"
        world.script.told.append(Told(at + 0.1, "sampler", "gpu_vanished", None, machine.uuid, "GPU_VANISHED", detail))


def _gpu_lost(world: World) -> None:
    _gpu_gone(world, lost=True)


def _gpu_vanished(world: World) -> None:
    _gpu_gone(world, lost=False)


def _cgroup_oom(world: World) -> None:
    """The kernel kills the server in its container (a third of them: another process in there)."""
    world.contained_bytes = 16 * GIB
    at, machine = world.moment(), world.machines[0]
    home = f"container {machine.pid:012x} comfyui"
    world.script.oom_kills[0] = [at]
    detail = (
        f"the kernel killed in {home} for memory: oom_kill rose from 0 to 1; memory limit 16.00 GiB, most used 16.0 GiB"
    )
    subject = f"{machine.pid:012x}"
    told = world.script.told
    told.append(Told(at + 0.3, "sampler", "container_oom_kill", 0, subject, "CGROUP_OOM", detail))
    if world.random.random() < 0.33:
        return
    back = at + world.between(6, 15)
    away(world, 0, at, back)
    ended = f"{home}: exit code 137, killed for memory (OOMKilled), restarted 1 time"
    told.append(Told(at + 1, "sampler", "container_exited", 0, subject, "CGROUP_OOM", ended))
    told.append(Told(back, "sampler", "container_started", 0, subject, None, f"{home}; before it {home}"))


def _foreign(world: World) -> None:
    at, server = world.moment(), world.any_server()
    held = world.between(300, 900) * MIB
    world.script.strangers.append(Stranger(server, at, at + world.between(20, 40), int(held)))


def _idle_with_queue(world: World) -> None:
    """A node on the CPU leaves the GPU idle for 45 to 60 % of each prompt, while others wait."""
    flow = known_workflow(0, 1.0)
    share = world.between(0.45, 0.6)
    world.workflows = (known_workflow(0, 1.0, cpu_s=flow.service_s * share / (1 - share)),)


def _straggler(world: World) -> None:
    factor, slow = world.between(1.3, 1.4), world.any_server()
    world.script.speed.append(lambda server, _at, _flow: factor if server == slow else 1.0)


def _throttled(world: World) -> None:
    reasons = ("software_thermal", "hardware_thermal", "hardware_slowdown", "software_power_cap,hardware_slowdown")
    at, server = world.moment(), world.any_server()
    reason = reasons[world.whole(0, len(reasons) - 1)]
    world.script.slowdowns.append(Slowdown(server, at, at + world.between(90, 180), world.between(0.65, 0.8), reason))


def _disk_fill(world: World) -> None:
    """At the end of the run there is room for 2 to 4 hours more."""
    rate = world.between(1.0, 4.0) * MIB
    left_s = world.between(2, 4) * 3600
    world.script.filling[0] = (rate * (world.duration_s + left_s), rate)


def _restarted(world: World) -> None:
    at = world.moment()
    away(world, world.any_server(), at, at + world.between(4, 8))


def _down(world: World) -> None:
    """It is stopped, and started again by somebody within a minute; a third stay away to the end of the run."""
    at, server = world.moment(0.5, 0.9), world.any_server()
    back = None if world.random.random() < 0.33 else at + world.between(20, 60)
    away(world, server, at if back is not None else world.duration_s - world.between(20, 60), back)


def _cold_start_failed(world: World) -> None:
    limit = world.between(60, 120)
    world.cold_start_s, world.duration_s = limit + 1, world.duration_s + limit + 1
    told = world.script.told
    told.append(Told(0.1, "load-0", "cold_start", None, "command", None, "it ended with exit status 0"))
    told.append(Told(1.2, "load-0", "cold_start", 0, "start", None, ""))
    why = f"it was not ready (/system_stats: connection refused), within {limit:.0f} s"
    told.append(Told(limit, "load-0", "cold_start", 0, "failed", "COLD_START_FAILED", why))


_GONE: Final = {
    **_FAILS,
    Code.CUDA_POISONED: "every prompt fails with a CUDA error until the end",
    Code.IDLE_WITH_QUEUE: "the GPU does no work any more",
}
MACHINE: Final = (
    Planting(Code.CUDA_POISONED, "3 or 4 CUDA errors in a row (rule: 3), then a restart", _poisoned,
             {"load": lambda: steady(3.0)}, {**_FAILS, **_RESTART}),
    Planting(Code.GPU_LOST, "off the bus for the last 30 to 90 s: NVML 15 and Xid 79", _gpu_lost, brings=_GONE),
    Planting(Code.GPU_VANISHED, "NVML 999 for the last 30 to 90 s", _gpu_vanished, brings=_GONE),
    Planting(Code.CGROUP_OOM, "one kill by the container's limit", _cgroup_oom, brings=_RESTART),
    Planting(Code.GPU_FOREIGN, "another process with 300 to 900 MiB for 20 to 40 s", _foreign),
    Planting(Code.IDLE_WITH_QUEUE, "a CPU node leaves the GPU idle for 45 to 60 % of the time, prompts waiting",
             _idle_with_queue, {"load": lambda: steady(4.0), "gpu": 1}),
    Planting(Code.STRAGGLER, "1 of 4 servers 1.3 to 1.4 times as slow", _straggler, {"servers": 4}),
    Planting(Code.THROTTLED, "clocks at 65 to 80 % for 90 to 180 s, the driver says why", _throttled),
    Planting(Code.DISK_FILL, "disk full in 2 to 4 h at the run's pace", _disk_fill),
    Planting(Code.SERVER_RESTARTED, "away for 4 to 8 s, back with an empty queue", _restarted, brings=_RESTART),
    Planting(Code.SERVER_DOWN, "away for 20 to 60 s", _down, brings=_RESTART),
    Planting(Code.COLD_START_FAILED, "not ready within 60 to 120 s", _cold_start_failed, alone=True),
)  # fmt: skip
