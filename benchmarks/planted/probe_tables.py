"""What the probes would have read of a course: GPUs, hosts, processes, containers, folders, servers and their logs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.planted.columns import chosen, lasting, ns, share, together, whole
from benchmarks.planted.course import NEVER, Course, Life
from benchmarks.planted.load_tables import Names
from benchmarks.planted.world import GIB, MIB, Machine, World

Batch = dict[str, Any]
Array = NDArray[np.float64]
_CLOCK = 1.98e9
_LOST = "all: the GPU is lost (NVML error 15)"
_UNKNOWN = "all: unknown error of the driver (NVML error 999)"


class Gpu:
    """One GPU over the run: how busy it was, what it held, how it was clocked."""

    def __init__(self, world: World, course: Course, index: int) -> None:
        self.world, self.index, self.machine = world, index, world.machines[index]
        self.end = course.end
        spans = sorted((a, min(b, course.end), part) for a, b, part in course.busy[index] if a < course.end)
        edges, totals, total = [0.0], [0.0], 0.0
        for start, stop, part in spans:
            start = max(start, edges[-1])
            if stop <= start:
                continue
            edges += [start, stop]
            totals += [total, total + part * (stop - start)]
            total = totals[-1]
        self._edges, self._totals = np.array([*edges, course.end + 1]), np.array([*totals, total])
        steps = sorted(course.memory[index], key=lambda step: step[0])
        self._at = np.array([step[0] for step in steps])
        self._held = np.array([step[1] for step in steps])
        self.gone = next((one for one in world.script.gone if one.server == index), None)

    def busy(self, at: Array, window_s: float) -> Array:
        """The share of the time before each moment in which kernels ran."""
        upto, since = (np.interp(when, self._edges, self._totals) for when in (at, at - window_s))
        return (upto - since) / window_s

    def held(self, at: Array) -> Array:
        """What is used of its memory, all processes together."""
        found = self._held[np.maximum(np.searchsorted(self._at, at, side="right") - 1, 0)].copy()
        for index, extra in self.world.script.vram:
            if index == self.index:
                found += np.where(found > 1e8, extra(at), 0.0)
        for one in self.world.script.strangers:
            if one.server == self.index:
                found += np.where((at >= one.from_s) & (at < one.until_s), one.held_bytes, 0.0)
        return np.minimum(found, self.machine.vram_bytes * 0.997)

    def clock(self, at: Array, busy: Array) -> tuple[Array, NDArray[np.int64], list[str]]:
        """SM clock, and the number of its reasons in the list of them."""
        numbers, reasons = self.world.random, ["gpu_idle", ""]
        clock = np.where(busy > 0.05, _CLOCK, 0.62e9) - 15e6 * numbers.integers(0, 2, len(at))
        number = np.where(busy > 0.05, 1, 0)
        if self.world.power_cap:
            reasons.append("software_power_cap")
            touched = (busy > 0.9) & (numbers.random(len(at)) < 0.08)
            number, clock = np.where(touched, 2, number), np.where(touched, clock * 0.985, clock)
        for one in self.world.script.slowdowns:
            if one.server == self.index:
                reasons.append(one.reason)
                hit = (at >= one.from_s) & (at < one.until_s) & (busy > 0.05)
                number = np.where(hit, len(reasons) - 1, number)
                clock = np.where(hit, _CLOCK * one.clock * (1 + 0.01 * numbers.standard_normal(len(at))), clock)
        return clock, number.astype(np.int64), reasons

    def missing(self, at: Array) -> tuple[NDArray[np.bool_], list[str] | None]:
        """At which moments it did not answer, and what each row says of that."""
        if self.gone is None:
            return np.zeros(len(at), dtype=bool), None
        away = at >= self.gone.at_s
        text = _LOST if self.gone.lost else _UNKNOWN
        return away, [text if one else None for one in away]


def _readings(world: World, course: Course, every_s: float, start: float = -0.4) -> tuple[Array, Array]:
    """Moments of readings on a grid, each a little late; and how late."""
    grid = np.arange(start, course.end - 0.2, every_s)
    late = world.random.exponential(0.0004, len(grid)) + 0.0001
    return grid + late, late


def _thinned(gpu: Gpu, at: Array, late: Array) -> tuple[Array, Array]:
    """A GPU that is gone is asked after 1, 2, 4 .. 300 s."""
    if gpu.gone is None:
        return at, late
    tries = gpu.gone.at_s + np.concatenate([[0.0], np.cumsum(np.minimum(2.0 ** np.arange(12), 300.0))])
    keep = at < gpu.gone.at_s
    for one in tries:
        after = np.searchsorted(at, one)
        if after < len(at):
            keep[after] = True
    return at[keep], late[keep]


def _bare(columns: Batch, away: NDArray[np.bool_], texts: list[str] | None) -> Batch:
    """Nothing was read while it was away."""
    if texts is None:
        return columns
    kept = {"at_ns", "read_cost_ns", "late_ns", "host", "source", "uuid", "index", "name"}
    for name, values in columns.items():
        if name not in kept and isinstance(values, pa.Array):
            columns[name] = pa.array(values.to_pandas().to_numpy(), mask=away, type=values.type, from_pandas=True)
        elif name not in kept:
            columns[name] = pa.array([None if one else values for one in away])
    return columns | {"missing": texts}


def gpu(world: World, course: Course) -> Batch:
    """Memory and utilisation, ten times a second (or as the world has it)."""
    batches = []
    for index, machine in enumerate(world.machines):
        one = Gpu(world, course, index)
        at, late = _thinned(one, *_readings(world, course, world.gpu_every_s))
        busy = one.busy(at, max(0.35, world.gpu_every_s / 2))
        noise = world.random.normal(0, 0.012, len(at))
        used = np.where(busy > 0.01, np.clip(busy + noise, 0.01, 1.0), 0.0)
        held = np.round(one.held(at) / (2 * MIB)) * 2 * MIB
        away, texts = one.missing(at)
        batches.append(
            _bare(
                {
                    "at_ns": ns(at),
                    "read_cost_ns": lasting(world.random.exponential(6e-6, len(at)) + 1.2e-5),
                    "late_ns": lasting(late),
                    "host": machine.host,
                    "source": "nvml",
                    "uuid": machine.uuid,
                    "index": machine.index,
                    "memory_used_bytes": whole(held),
                    "memory_total_bytes": machine.vram_bytes,
                    "memory_reserved_bytes": 500 * MIB,
                    "utilisation_ratio": share(np.round(used, 2)),
                    "memory_utilisation_ratio": share(np.round(used * 0.45, 2)),
                },
                away,
                texts,
            )
        )
    return together(batches)


def gpu_slow(world: World, course: Course) -> Batch:
    """Power, clocks, temperature and why, once a second."""
    return together([_slow_of(world, course, index) for index in range(len(world.machines))])


def _slow_of(world: World, course: Course, index: int) -> Batch:
    machine, one = world.machines[index], Gpu(world, course, index)
    every_s = max(1.0, world.every_s)
    at, late = _thinned(one, *_readings(world, course, every_s))
    busy = np.clip(one.busy(at, every_s), 0, 1)
    clock, number, reasons = one.clock(at, busy)
    watts = machine.watts * (0.12 + 0.8 * busy * clock / _CLOCK) + world.random.normal(0, 0.01 * machine.watts, len(at))
    throttled = np.array([reason not in {"", "gpu_idle"} for reason in reasons])[number]
    warm = np.array(["thermal" in reason for reason in reasons])[number]
    away, texts = one.missing(at)
    columns: Batch = {
        "at_ns": ns(at),
        "read_cost_ns": lasting(world.random.exponential(2e-5, len(at)) + 6e-5),
        "late_ns": lasting(late),
        "host": machine.host,
        "source": "nvml",
        "uuid": machine.uuid,
        "index": machine.index,
        "name": machine.gpu_name,
        "utilisation_mean_ratio": share(np.round(busy, 3)),
        "utilisation_highest_ratio": share(np.round(np.minimum(1.0, busy + 0.05 * (busy > 0)), 2)),
        "utilisation_samples": 6,
        "power_watts": share(np.clip(watts, 8, machine.watts)),
        "power_limit_watts": machine.watts,
        "energy_joules": share(8e6 + np.cumsum(np.clip(watts, 8, None)) * every_s),
        "temperature_celsius": share(
            np.round(38 + 30 * _lagged(busy, every_s / 45) + 22 * _lagged(warm * 1.0, every_s / 8))
        ),
        "performance_state": whole(np.where(busy > 0.05, 0, 8)),
        "sm_clock_hertz": whole(np.round(clock / 15e6) * 15e6),
        "memory_clock_hertz": 2_619_000_000,
        "event_reasons": chosen(number, reasons),
        "power_throttled_s": share(np.round(np.cumsum(throttled & ~warm) * every_s, 1)),
        "thermal_throttled_s": share(np.round(np.cumsum(throttled & warm) * every_s, 1)),
        "pcie_sent_bytes_per_s": share(np.abs(world.random.normal(4e6, 1e6, len(at)))),
        "pcie_received_bytes_per_s": share(np.abs(world.random.normal(2e7, 1e7, len(at)))),
    }
    return _bare(columns, away, texts)


def _lagged(values: Array, rate: float) -> Array:
    """A first-order lag."""
    found, level = np.empty(len(values)), 0.0
    rate = min(rate, 1.0)
    for position, value in enumerate(values.tolist()):
        level += rate * (value - level)
        found[position] = level
    return found


def gpu_health(world: World, course: Course) -> Batch:
    """Errors, links, limits and who is on it, every five seconds."""
    batches = []
    for index, machine in enumerate(world.machines):
        one = Gpu(world, course, index)
        at, late = _thinned(one, *_readings(world, course, max(5.0, world.every_s)))
        foreign = _foreign(world, index, at)
        away, texts = one.missing(at)
        columns: Batch = {
            "at_ns": ns(at),
            "read_cost_ns": lasting(world.random.exponential(1e-3, len(at)) + 4e-3),
            "late_ns": lasting(late),
            "host": machine.host,
            "source": "nvml",
            "uuid": machine.uuid,
            "index": machine.index,
            "ecc_corrected": 0,
            "ecc_uncorrected": 0,
            "ecc_uncorrected_lifetime": 0,
            "pcie_replays": 0,
            "pcie_generation": 4,
            "pcie_generation_most": 4,
            "pcie_width": 16,
            "pcie_width_most": 16,
            "sm_clock_most_hertz": int(_CLOCK),
            "memory_clock_most_hertz": 2_619_000_000,
            "power_limit_default_watts": machine.watts,
            "persistence_mode": True,
            "compute_mode": "default",
            "mig_mode": False,
            "processes": whole((one.held(at) > 1e8) * 1.0 + (foreign > 0)),
            "server_bytes": whole(np.maximum(one.held(at) - foreign - 4e6, 0)),
            "foreign_processes": whole((foreign > 0) * 1.0),
            "foreign_bytes": whole(foreign),
        }
        batches.append(_bare(columns, away, texts))
    return together(batches)


def _foreign(world: World, index: int, at: Array) -> Array:
    found = np.zeros(len(at))
    for one in world.script.strangers:
        if one.server == index:
            found += np.where((at >= one.from_s) & (at < one.until_s), one.held_bytes, 0.0)
    return found


def gpu_processes(world: World, course: Course) -> Batch:
    """Who is on each GPU, every five seconds."""
    batches = []
    for index, machine in enumerate(world.machines):
        one = Gpu(world, course, index)
        at, late = _readings(world, course, max(5.0, world.every_s))
        foreign, held = _foreign(world, index, at), one.held(at)
        away, _ = one.missing(at)
        ours, theirs = (held > 1e8) & ~away, (foreign > 0) & ~away
        shared = {"host": machine.host, "uuid": machine.uuid, "kind": "compute", "read_cost_ns": 4_800_000}
        batches.append(
            shared
            | {
                "at_ns": ns(at[ours]),
                "late_ns": lasting(late[ours]),
                "pid": machine.pid,
                "name": "python",
                "memory_bytes": whole(np.maximum(held - foreign, 0)[ours]),
                "is_server": True,
            }
        )
        if theirs.any():
            batches.append(
                shared
                | {
                    "at_ns": ns(at[theirs]),
                    "late_ns": lasting(late[theirs]),
                    "pid": machine.pid + 911,
                    "name": "trainer",
                    "memory_bytes": whole(foreign[theirs]),
                    "is_server": False,
                }
            )
    return together(batches)


# Hosts, processes, containers, folders


def rss(world: World, course: Course, index: int, at: Array) -> Array:
    """The memory of the server's process."""
    machine, numbers = world.machines[index], world.random
    found = np.full(len(at), float(machine.rss_bytes))
    lives = [life for life in course.lives if life.server == index and life.begun < NEVER]
    first = sorted(life.begun for life in lives if life.is_first)
    found += np.searchsorted(np.array(first), at) * 0.0 + 0.35 * GIB * np.minimum(
        np.searchsorted(np.array(first), at), 4
    )
    found += 0.12 * GIB * (1 - np.exp(-np.maximum(at, 0) / 150))
    found += world.cache_bytes * (1 - np.exp(-np.maximum(at, 0) / world.cache_s))
    found += _wandering(numbers, len(at)) * 3 * MIB
    done = np.sort([life.ended for life in lives if life.ended < NEVER])
    found += (np.searchsorted(done, at) % 23) * 0.4 * MIB  # until garbage is collected
    found += np.searchsorted(done, at) * world.script.rss_a_prompt.get(index, 0.0)
    for server, extra in world.script.rss:
        if server == index:
            found += extra(at)
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
        at, late = _readings(world, course, world.every_s)
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
                "load_1m": share(np.round(0.6 + 1.2 * _lagged(busy, world.every_s / 60), 2)),
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
        at, late = _readings(world, course, world.every_s)
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
    at, late = _readings(world, course, max(world.every_s, 1.0))
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
        at, late = _readings(world, course, world.every_s)
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
        at, late = _readings(world, course, max(60.0, world.every_s))
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


# Servers


def server(world: World, course: Course, names: Names) -> Batch | None:
    """What each server said of itself, once a second."""
    if world.gateway is not None:
        return None
    return together([_server_of(world, course, names, index) for index in range(len(world.machines))])


def _server_of(world: World, course: Course, names: Names, index: int) -> Batch:
    numbers, machine = world.random, world.machines[index]
    at, late = _readings(world, course, world.every_s)
    answer = numbers.exponential(0.0006, len(at)) + 0.0009
    for one in world.script.blocked:
        if one.server == index:
            hit = np.flatnonzero((at >= one.from_s) & (at < one.until_s))
            hit = hit[:: int(one.answer_s // world.every_s) + 1]  # the next reading has to wait for this one
            skipped = np.flatnonzero((at >= one.from_s) & (at < one.until_s))
            answer[hit] = one.answer_s * numbers.uniform(0.97, 1.03, len(hit))
            keep = np.ones(len(at), dtype=bool)
            keep[np.setdiff1d(skipped, hit)] = False
            at, late, answer = at[keep], late[keep], answer[keep]
    down = np.zeros(len(at), dtype=bool)
    since, starts = np.full(len(at), -np.inf), 0
    for one in sorted((one for one in world.script.outages if one.server == index), key=lambda one: one.from_s):
        back = course.end + 1 if one.back_s is None else one.back_s
        down |= (at >= one.from_s) & (at < back)
        since = np.where(at >= back, back, since)
        starts += 1
    lives = [life for life in course.lives if life.server == index and life.accepted < NEVER]
    queue = _Queue(lives, names)
    running, pending, running_id, age, oldest = queue.at(at + answer)
    told = ~down
    history = _history(lives, at, since) * (1.0 - down)
    every = np.zeros(len(at), dtype=bool)
    every[:: max(1, round(10 / world.every_s))] = True
    used = Gpu(world, course, index).held(at)
    free = np.maximum(machine.vram_bytes - used, 0)
    blank = np.where(told, 1.0, np.nan)
    return {
        "at_ns": ns(at),
        "server": machine.url,
        "late_ns": lasting(late),
        "canary_answer_ns": lasting(answer * blank),
        "queue_answer_ns": lasting((numbers.exponential(0.0008, len(at)) + 0.0012 + 0.0002 * pending) * blank),
        "queue_running": whole(running * blank),
        "queue_pending": whole(pending * blank),
        "running_age_ns": lasting(age * blank),
        "oldest_pending_age_ns": lasting(oldest * blank),
        "running_prompt_id": pa.array([name if ok else None for name, ok in zip(running_id, told, strict=True)], pa.string()),
        "highest_number": share(queue.highest(at, since) * blank),
        "history_length": whole(np.where(every, history, np.nan) * blank),
        "stats_answer_ns": lasting((numbers.exponential(0.001, len(at)) + 0.002) * blank),
        "vram_total_bytes": whole(machine.vram_bytes * blank),
        "vram_free_bytes": whole(free * blank),
        "torch_vram_total_bytes": whole(np.maximum(used - machine.idle_bytes, 0) * blank),
        "torch_vram_free_bytes": whole(np.maximum(used - machine.idle_bytes, 0) * 0.1 * blank),
        "ram_total_bytes": whole(128 * GIB * blank),
        "ram_free_bytes": whole((119 * GIB - np.nan_to_num(rss(world, course, index, at))) * blank),
        "missing": pa.array(
            ["all: connection refused" if away else None if read else "history_length: read every 10 s"
             for away, read in zip(down, every, strict=True)], pa.string()),
    }  # fmt: skip


class _Queue:
    """Who was in a server's queue at any moment."""

    def __init__(self, lives: list[Life], names: Names) -> None:
        self.accepted = np.array([life.accepted for life in lives])
        self.numbers = np.array([life.queue_number for life in lives], dtype=np.float64)
        self.come = np.sort(self.accepted)
        self.left = np.sort([life.gone for life in lives])
        ran = [life for life in lives if life.begun < NEVER]
        self.begun = np.array([life.begun for life in ran])
        self.until = np.array([life.gone for life in ran])
        self.ids = [names.prompts[life.number] for life in ran]
        order = np.argsort(self.accepted, kind="stable")
        self.by_come = self.accepted[order]

    def at(self, at: Array) -> tuple[Array, Array, list[str | None], Array, Array]:
        """Running, pending, the running one's id, how long it has run, how long the oldest pending has waited."""
        inside = np.searchsorted(self.come, at, side="right") - np.searchsorted(self.left, at, side="right")
        if not len(self.begun):
            none = np.full(len(at), np.nan)
            return np.minimum(inside, 0) * 1.0, inside * 1.0, [None] * len(at), none, none
        last = np.searchsorted(self.begun, at, side="right") - 1
        runs = (last >= 0) & (at < self.until[np.maximum(last, 0)])
        running = np.where(inside > 0, runs, False) * 1.0
        pending = np.maximum(inside - running, 0)
        ids = [self.ids[one] if run else None for one, run in zip(last, runs, strict=True)]
        age = np.where(runs, at - self.begun[np.maximum(last, 0)], np.nan)
        gone = np.searchsorted(self.left, at, side="right")
        place = np.clip(gone + running.astype(int), 0, len(self.by_come) - 1)
        oldest = np.where(pending > 0, np.maximum(at - self.by_come[place], 0.0), np.nan)
        return running, pending, ids, age, oldest

    def highest(self, at: Array, since: Array) -> Array:
        """The highest number given since it was started."""
        order = np.argsort(self.accepted, kind="stable")
        times, numbers = self.accepted[order], self.numbers[order]
        last = np.searchsorted(times, at, side="right") - 1
        found = np.where(last >= 0, numbers[np.maximum(last, 0)], np.nan)
        return np.where(times[np.maximum(last, 0)] >= since, found, np.nan)


def _history(lives: list[Life], at: Array, since: Array) -> Array:
    """How many entries its history has: nothing from before its last start."""
    done = np.sort([life.ended for life in lives if life.ended < NEVER])
    upto = np.searchsorted(done, at, side="right")
    before = np.searchsorted(done, np.where(np.isfinite(since), since, -1.0), side="right")
    return np.minimum(upto - before, 10_000).astype(np.float64)


def server_log(world: World, course: Course) -> Batch | None:
    """Lines of the servers' logs, as they are told on a socket."""
    if not world.has_log or world.gateway is not None:
        return None
    rows: list[tuple[float, int, str, str | None, float, float, str]] = []
    nan = float("nan")
    for life in course.lives:
        if life.accepted < NEVER:
            rows.append((life.accepted - 0.001, life.server, "prompt_got", None, nan, nan, "got prompt"))
        if life.load is not None:
            _lines_of_load(world, life, rows)
        if life.ended < NEVER:
            _lines_of_end(world, life, rows)
    for began, _, _ in course.settles:
        rows += [(began + 0.3, one, "cache_emptied", None, nan, nan, "Using RAM pressure cache.") for one in range(len(world.machines))]  # fmt: skip
    for stuck in world.script.stuck:
        dead = next((life for life in course.lives if life.server == stuck.server and life.begun < NEVER and life.gone == NEVER), None)  # fmt: skip
        if dead is not None and not stuck.hangs:
            rows.append((dead.begun + 0.01, stuck.server, "worker_died", None, nan, nan, "Exception in thread Thread-3 (prompt_worker):"))  # fmt: skip
    if not rows:
        return None
    rows.sort(key=lambda row: row[0])
    columns = list(zip(*rows, strict=True))
    return {
        "at_ns": ns(np.array(columns[0])),
        "server": chosen(np.array(columns[1]), [one.url for one in world.machines]),
        "source": "socket",
        "kind": list(columns[2]),
        "model": pa.array(columns[3], pa.string()),
        "loaded_bytes": whole(np.array(columns[4])),
        "duration_s": share(np.array(columns[5])),
        "text": list(columns[6]),
    }


def _lines_of_load(world: World, life: Life, rows: list[Any]) -> None:
    flow, (start, until) = world.workflows[life.workflow], life.load or (0.0, 0.0)
    nan = float("nan")
    if life.evicted:
        text = f"{life.evicted} models unloaded."
        rows.append((start, life.server, "model_unloaded", None, nan, nan, text))
    rows.append(
        (start + 0.001, life.server, "model_requested", flow.model, nan, nan, f"Requested to load {flow.model}")
    )
    share_in = world.script.partial.get(flow.model)
    size = flow.model_bytes * (share_in or 1.0)
    if world.dynamic:
        text = f"Model {flow.model} prepared for dynamic VRAM loading. {size / MIB:.0f}MB Staged. 0 patches attached."
        rows.append((start + 0.01, life.server, "model_staged", flow.model, nan, nan, text))
        return
    how = "completely" if share_in is None else "partially"
    text = f"loaded {how}; {size / MIB:.2f} MB usable, {size / MIB:.2f} MB loaded, full load: {share_in is None}"
    rows.append((until, life.server, "model_loaded", None, size, nan, text))


def _lines_of_end(world: World, life: Life, rows: list[Any]) -> None:
    nan, flow = float("nan"), world.workflows[life.workflow]
    if flow.name in world.script.tiled and life.outcome == "success":
        at = next((start for node, start, _ in life.nodes if node == "8"), life.ended)
        text = "Warning: Ran out of memory when regular VAE decoding, retrying with tiled VAE decoding."
        rows.append((at + 0.2, life.server, "vae_tiled", None, nan, nan, text))
    if life.outcome == "oom":
        rows.append((life.ended - 0.002, life.server, "exception", None, nan, nan, "!!! Exception during processing !!! Allocation on device"))  # fmt: skip
        rows.append(
            (life.ended - 0.001, life.server, "oom", None, nan, nan, "Got an OOM, unloading all loaded models.")
        )
    elif life.code == "NODE_ERROR":
        text = life.fate.message if life.fate is not None and life.fate.message else "CUDA error"
        rows.append((life.ended - 0.001, life.server, "exception", None, nan, nan, f"!!! Exception during processing !!! {text}"[:400]))  # fmt: skip
    took = life.ended - life.begun
    rows.append((life.ended, life.server, "prompt_executed", None, nan, took, f"Prompt executed in {took:.2f} seconds"))


def clocks(world: World, course: Course) -> Batch:
    """The clock of the machine that makes load and records, once a second."""
    at, _ = _readings(world, course, max(1.0, world.every_s))
    offset = np.cumsum(world.random.normal(0, 2e-7, len(at)))
    return {"at_ns": ns(at), "host": "load-host", "offset_ns": lasting(offset), "step_ns": 0, "clock": "system"}


def server_clocks(world: World, course: Course) -> Batch | None:
    """How far each server's clock is from ours, once a minute."""
    if world.gateway is not None:
        return None
    batches = []
    for index, machine in enumerate(world.machines):
        at = np.arange(60.0, course.end, 60.0)
        done = np.searchsorted(np.sort([life.ended for life in course.lives if life.server == index]), at)
        at, done = at[done > 0], done[done > 0]
        if len(at):
            batches.append(
                {
                    "at_ns": ns(at),
                    "server": machine.url,
                    "worker": "load-0",
                    "offset_ns": lasting(world.random.normal(0, 3e-4, len(at))),
                    "error_ns": lasting(np.full(len(at), 1.6e-3)),
                    "prompts": whole(done.astype(float)),
                }
            )
    return together(batches) if batches else None
