"""What the probes would have read of hosts, processes, containers and folders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.planted import history
from benchmarks.planted.columns import lasting, ns, share, together, whole
from benchmarks.planted.course import NEVER, Course
from benchmarks.planted.gpu_tables import Gpu, lagged, readings
from benchmarks.planted.world import GIB, HISTORY_AT_MOST, MIB, World

Batch = dict[str, Any]
Array = NDArray[Any]


def rss(world: World, course: Course, index: int, at: Array) -> Array:
    """The memory of the server's process: what it read and caches, its history, garbage, and what leaks.

    All of it is gone with the process.
    """
    begun = history.started(world, course, index, at)
    age = np.maximum(at - begun, 0)
    lives = [life for life in course.lives if life.server == index]
    first = np.sort([life.begun for life in lives if life.is_first and life.begun < NEVER])
    done = np.sort([life.ended for life in lives if life.ended < NEVER])
    read = np.searchsorted(first, at) - np.searchsorted(first, begun)
    kept = history.taken(world, course, index, at)
    found: Array = float(world.machines[index].rss_bytes) + 0.35 * GIB * np.minimum(read, 4)
    found += 0.12 * GIB * (1 - np.exp(-age / 150))
    found += world.cache_bytes * (1 - np.exp(-age / world.cache_s))
    found += _wandering(world.random, len(at)) * 3 * MIB
    found += (np.searchsorted(done, at) % 23) * 0.4 * MIB  # until garbage is collected
    found += kept
    for server, leaked in world.script.rss:
        if server == index:
            found += leaked(at) - leaked(begun)
    if index in world.script.hidden:
        found += (HISTORY_AT_MOST / world.kept_factor - 1) * kept
    for one in world.script.outages:
        if one.server == index:
            back = course.end + 1 if one.back_s is None else one.back_s
            found = np.where((at >= one.from_s) & (at < back), np.nan, found)
    return np.round(found / 4096) * 4096


def _wandering(numbers: np.random.Generator, count: int) -> Array:
    """Autocorrelated noise of spread one: what changes every half minute, with a little white on it."""
    knots = numbers.standard_normal(count // 30 + 3)
    level = 0.0
    for position, shock in enumerate(knots.tolist()):
        level = 0.8 * level + 0.6 * shock
        knots[position] = level
    return np.interp(np.arange(count) / 30, np.arange(len(knots)), knots) + 0.2 * numbers.standard_normal(count)


def host(world: World, course: Course) -> Batch:
    """Each host once a second."""
    batches = []
    for index, machine in enumerate(world.machines):
        numbers = world.random
        at, late = readings(world, course, world.every_s)
        busy = np.clip(Gpu(world, course, index).busy(at, world.every_s), 0, 1)
        cpu = np.clip(0.04 + 0.06 * busy + numbers.normal(0, 0.008, len(at)), 0.005, 1)
        used = np.nan_to_num(rss(world, course, index, at), nan=0.0)
        elapsed = np.maximum(at + 1, 0)
        batches.append(
            {
                "at_ns": ns(at),
                "read_cost_ns": lasting(numbers.exponential(1e-4, len(at)) + 3e-4),
                "late_ns": lasting(late),
                "host": machine.host,
                "cpu_ratio": share(np.round(cpu, 4)),
                "cpu_count": 16,
                "busiest_core_ratio": share(
                    np.round(np.clip(0.3 + 0.6 * busy + numbers.normal(0, 0.05, len(at)), 0, 1), 3)
                ),
                "iowait_ratio": 0.001,
                "steal_ratio": 0.0,
                "load_1m": share(np.round(0.6 + 1.2 * lagged(busy, world.every_s / 60), 2)),
                "memory_total_bytes": 128 * GIB,
                "memory_available_bytes": whole(128 * GIB - 9 * GIB - used + numbers.normal(0, 8 * MIB, len(at))),
                "swap_used_bytes": 0,
                "swapped_in_bytes": 0,
                "swapped_out_bytes": 0,
                "cpu_pressure_ratio": share(np.abs(numbers.normal(0.004, 0.003, len(at)))),
                "memory_pressure_ratio": 0.0,
                "io_pressure_ratio": share(np.abs(numbers.normal(0.002, 0.001, len(at)))),
                "memory_full_pressure_ratio": 0.0,
                "io_full_pressure_ratio": 0.0,
                "disk_free_bytes": whole(_free(world, course, index, at)),
                "disk_read_bytes": whole(4e10 + 2e4 * elapsed),
                "disk_written_bytes": whole(9e10 + 4e5 * elapsed),
                "network_sent_bytes": whole(1e9 + 9e5 * elapsed),
                "network_received_bytes": whole(2e9 + 2e5 * elapsed),
                "network_errors": 0,
                "network_dropped": 0,
                "handles": whole(9000 + numbers.integers(-40, 40, len(at)).astype(float)),
                "handle_limit": 1_000_000,
                "processes": 320,
                "threads": 1900,
            }
        )
    return together(batches)


def _free(world: World, course: Course, index: int, at: Array) -> Array:
    """Free disk: pictures fill it, slowly unless the script says otherwise."""
    free, rate = world.script.filling.get(index, (900 * GIB, 0.0))
    done = np.sort([life.ended for life in course.lives if life.server == index and life.ended < NEVER])
    return free - rate * np.maximum(at, 0) - 1.4e6 * np.searchsorted(done, at)


def processes(world: World, course: Course) -> Batch:
    """Servers and our own, once a second."""
    batches = []
    numbers = world.random
    for index, machine in enumerate(world.machines):
        at, late = readings(world, course, world.every_s)
        held = rss(world, course, index, at)
        lives = np.isfinite(held)
        restarts = [one.back_s for one in world.script.outages if one.server == index and one.back_s is not None]
        number = np.searchsorted(np.array(sorted(restarts)), at[lives]) if restarts else np.zeros(lives.sum(), np.int64)
        began = np.array([-86_400.0, *sorted(restarts)])[number]
        busy = np.clip(Gpu(world, course, index).busy(at[lives], world.every_s), 0, 1)
        batches.append(
            {
                "at_ns": ns(at[lives]),
                "read_cost_ns": lasting(numbers.exponential(5e-5, lives.sum()) + 1e-4),
                "late_ns": lasting(late[lives]),
                "host": machine.host,
                "pid": whole((machine.pid + 1731 * number).astype(float)),
                "role": "server",
                "server": machine.url,
                "name": "python",
                "started_ns": ns(began),
                "cpu_ratio": share(np.round(np.clip(0.1 + 0.9 * busy + numbers.normal(0, 0.04, lives.sum()), 0, 4), 3)),
                "rss_bytes": whole(held[lives]),
                "threads": 64,
                "missing": "handles: counted every 30 s",
            }
        )
    at, late = readings(world, course, max(world.every_s, 1.0))
    for role, pid, size in (("load", 4711, 82e6), ("sampler", 4712, 41e6), ("recorder", 4713, 60e6)):
        batches.append(
            {
                "at_ns": ns(at),
                "read_cost_ns": 120_000,
                "late_ns": lasting(late),
                "host": "load-host",
                "pid": pid,
                "role": role,
                "name": "python",
                "cpu_ratio": share(np.abs(numbers.normal(0.04, 0.01, len(at)))),
                "rss_bytes": whole(size + numbers.normal(0, 1e5, len(at))),
                "threads": 4,
            }
        )
    return together(batches)


def containers(world: World, course: Course) -> Batch | None:
    """Use and limits of the containers of servers, once a second."""
    if world.contained_bytes is None:
        return None
    batches = []
    for index, machine in enumerate(world.machines):
        at, late = readings(world, course, world.every_s)
        held = rss(world, course, index, at)
        for moment in world.script.oom_kills.get(index, []):  # it grew into its limit before it was killed
            near = (at > moment - 12) & (at < moment)
            held = np.where(near, np.maximum(held, world.contained_bytes - (moment - at[:]) * 60 * MIB - 4 * MIB), held)
        lives = np.isfinite(held)
        used = np.minimum(held[lives] + 0.8 * GIB, world.contained_bytes)
        kills = np.searchsorted(np.array(sorted(world.script.oom_kills.get(index, []))), at[lives])
        batches.append(
            {
                "at_ns": ns(at[lives]),
                "read_cost_ns": 210_000,
                "late_ns": lasting(late[lives]),
                "host": machine.host,
                "server": machine.url,
                "container": f"{machine.pid:012x}",
                "name": "comfyui",
                "image": "comfyui:cu128",
                "memory_limit_bytes": world.contained_bytes,
                "memory_used_bytes": whole(used),
                "memory_file_bytes": int(0.8 * GIB),
                "memory_peak_bytes": whole(np.maximum.accumulate(used)),
                "memory_pressure_ratio": 0.0,
                "limit_hits": whole(kills * 40.0),
                "oom_events": whole(kills * 1.0),
                "oom_kills": whole(kills * 1.0),
                "processes": 70,
            }
        )
    return together(batches)


def folders(world: World, course: Course) -> Batch:
    """Output and temp folder, once a minute."""
    batches = []
    for index, machine in enumerate(world.machines):
        at, late = readings(world, course, max(60.0, world.every_s))
        done = np.searchsorted(np.sort([life.ended for life in course.lives if life.server == index]), at)
        rate = world.script.filling.get(index, (0.0, 0.0))[1]
        for kind, size, count in (
            ("output", 3e9 + 1.4e6 * done, 2000.0 + done),
            ("temp", rate * np.maximum(at, 0), at * 0),
        ):
            batches.append(
                {
                    "at_ns": ns(at),
                    "read_cost_ns": 9_000_000,
                    "late_ns": lasting(late),
                    "host": machine.host,
                    "server": machine.url,
                    "kind": kind,
                    "bytes": whole(size),
                    "files": whole(count),
                    "whole": True,
                    "disk_free_bytes": whole(_free(world, course, index, at)),
                }
            )
    return together(batches)
