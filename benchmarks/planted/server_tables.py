"""What servers would have told the probes: their queues, their memory, their logs, their clocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.planted import history
from benchmarks.planted.columns import chosen, lasting, ns, share, together, whole
from benchmarks.planted.course import NEVER, Course, Life
from benchmarks.planted.gpu_tables import Gpu, readings
from benchmarks.planted.host_tables import rss
from benchmarks.planted.load_tables import Names
from benchmarks.planted.world import GIB, MIB, World

Batch = dict[str, Any]
Array = NDArray[Any]


def server(world: World, course: Course, names: Names) -> Batch | None:
    """What each server said of itself, once a second."""
    if world.gateway is not None:
        return None
    return together([_server_of(world, course, names, index) for index in range(len(world.machines))])


def _server_of(world: World, course: Course, names: Names, index: int) -> Batch:
    numbers, machine = world.random, world.machines[index]
    at, late = readings(world, course, world.every_s)
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
    since = np.full(len(at), -np.inf)
    for away in sorted((one for one in world.script.outages if one.server == index), key=lambda one: one.from_s):
        back = course.end + 1 if away.back_s is None else away.back_s
        down |= (at >= away.from_s) & (at < back)
        since = np.where(at >= back, back, since)
    lives = [life for life in course.lives if life.server == index and life.accepted < NEVER]
    queue = _Queue(lives, names)
    running, pending, running_id, age, oldest = queue.at(at + answer)
    told = ~down
    kept = history.length(world, course, index, at) * (1.0 - down)
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
        "running_prompt_id": pa.array(
            [name if up else None for name, up in zip(running_id, told, strict=True)], pa.string()
        ),
        "highest_number": share(queue.highest(at, since) * blank),
        "history_length": whole(np.where(every, kept, np.nan) * blank),
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
        running = ((inside > 0) & runs) * 1.0
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
        let_go = (began + 0.3, "cache_emptied", None, nan, nan, "Using RAM pressure cache.")
        rows += [(let_go[0], server, *let_go[1:]) for server in range(len(world.machines))]
    rows += [
        (life.begun + 0.01, life.server, "worker_died", None, nan, nan, "Exception in thread Thread-3 (prompt_worker):")
        for life in course.lives
        if life.begun < NEVER and life.gone == NEVER and not life.nodes
    ]
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
    at, raised = life.ended - 0.001, "!!! Exception during processing !!! "
    if life.outcome == "oom":
        rows.append((at - 0.001, life.server, "exception", None, nan, nan, f"{raised}Allocation on device"))
        rows.append((at, life.server, "oom", None, nan, nan, "Got an OOM, unloading all loaded models."))
    elif life.code == "NODE_ERROR":
        message = (life.fate.message if life.fate else None) or "CUDA error"
        rows.append((at, life.server, "exception", None, nan, nan, f"{raised}{message}"[:400]))
    took = life.ended - life.begun
    rows.append((life.ended, life.server, "prompt_executed", None, nan, took, f"Prompt executed in {took:.2f} seconds"))


def clocks(world: World, course: Course) -> Batch:
    """The clock of the machine that makes load and records, once a second."""
    at, _ = readings(world, course, max(1.0, world.every_s))
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
