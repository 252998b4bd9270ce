"""What the probes would have read of the GPUs of a course."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.planted.columns import chosen, lasting, ns, share, together, whole
from benchmarks.planted.course import Course
from benchmarks.planted.world import MIB, World

Batch = dict[str, Any]
Array = NDArray[Any]
_CLOCK = 1.98e9
WINDOW_S = 0.35  # over which the driver tells utilisation
_LOST = "all: the GPU is lost (NVML error 15)"
_UNKNOWN = "all: unknown error of the driver (NVML error 999)"


class Gpu:
    """One GPU over the run: how busy it was, what it held, how it was clocked."""

    def __init__(self, world: World, course: Course, index: int) -> None:
        self.world, self.index, self.machine = world, index, world.machines[index]
        self.end = course.end
        spans = sorted((a, min(b, course.end), part) for a, b, part in course.busy[index] if a < course.end)
        edges, totals, total = [0.0], [0.0], 0.0
        for begun, stop, part in spans:
            start = max(begun, edges[-1])
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
        share_busy: Array = (upto - since) / window_s
        return share_busy

    def held(self, at: Array) -> Array:
        """What is used of its memory, all processes together."""
        found: Array = self._held[np.maximum(np.searchsorted(self._at, at, side="right") - 1, 0)].copy()
        for index, extra in self.world.script.vram:
            if index == self.index:
                found += np.where(found > 1e8, extra(at), 0.0)
        for one in self.world.script.strangers:
            if one.server == self.index:
                found += np.where((at >= one.from_s) & (at < one.until_s), one.held_bytes, 0.0)
        held: Array = np.minimum(found, self.machine.vram_bytes * 0.997)
        return held

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

    def missing(self, at: Array) -> tuple[NDArray[np.bool_], list[str | None] | None]:
        """At which moments it did not answer, and what each row says of that."""
        if self.gone is None:
            return np.zeros(len(at), dtype=bool), None
        away = at >= self.gone.at_s
        text = _LOST if self.gone.lost else _UNKNOWN
        return away, [text if one else None for one in away]


def readings(world: World, course: Course, every_s: float, start: float = -0.4) -> tuple[Array, Array]:
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


def _bare(columns: Batch, away: NDArray[np.bool_], texts: list[str | None] | None) -> Batch:
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
        at, late = _thinned(one, *readings(world, course, world.gpu_every_s))
        busy = one.busy(at, WINDOW_S)
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
    at, late = _thinned(one, *readings(world, course, every_s))
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
            np.round(38 + 30 * lagged(busy, every_s / 45) + 22 * lagged(warm * 1.0, every_s / 8))
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


def lagged(values: Array, rate: float) -> Array:
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
        at, late = _thinned(one, *readings(world, course, max(5.0, world.every_s)))
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
        at, late = readings(world, course, max(5.0, world.every_s))
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
