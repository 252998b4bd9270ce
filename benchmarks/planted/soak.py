"""A long soak as the recorder leaves it: 8 servers, 8 GPUs at 10 Hz, 5 M prompts with five nodes each in 72 h.

    write_soak(Path("/tmp/soak"))                    # all of it: some minutes, 3 GB, a few hundred MB of memory
    write_soak(Path("/tmp/soak"), scale=0.001)       # the first 4 minutes of it, made in seconds

`scale` is the share of the 72 h; rates stay as they are. Everything is drawn from `seed` and the number of a stretch,
so that the tables agree with each other although each is made by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.planted.ids import hex_ids, joined, uuids
from benchmarks.planted.writing import Columns, write
from comfysoak_core.clock import NS_PER_MS, NS_PER_S
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
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.sessions import Sessions
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Workload

START_NS = 1_795_000_000 * NS_PER_S
WHOLE_S = 259_200
PROMPTS, SESSIONS = 5_000_000, 500_000
SERVERS, GPU_HZ, WORKERS = 8, 10, 4
STRETCH_S = 10_800  # one file of about a million rows of nodes and of GPU samples
USERS_A_SERVER = 12
GIB = 1024**3
WORKFLOWS = ("turbo-512", "portrait-sdxl", "sketch-sd15", "upscale")
_SHARES = np.array([0.45, 0.2, 0.25, 0.1])
_SERVICE_S = np.array([0.22, 0.55, 0.3, 0.48])
_MODELS = ("SDXL", "SDXL", "BaseModel", "SDXL")
_NODES = ("CLIPTextEncode", "EmptyLatentImage", "KSampler", "VAEDecode", "SaveImage")
_NODE_IDS = ("6", "5", "3", "8", "9")
_NODE_SHARES = np.array([0.05, 0.01, 0.74, 0.15, 0.05])
_FAILURES = (
    ("oom", "OOM", "torch.OutOfMemoryError", "Allocation on device 0 would exceed allowed memory"),
    ("failed", "NODE_ERROR", "RuntimeError", "Expected all tensors to be on the same device"),
    ("timeout", "DEADLINE", None, None),
    ("failed", "OUTPUT_WRONG", None, None),
)
_FAILURES_A_PROMPT = 4e-4 / 4
_LOADS_A_PROMPT = 8e-4

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The prompts of one stretch of time in order of their start; moments in seconds after the start of the run."""

    number: int
    since_s: float
    server: Array
    workflow: Array
    scheduled: Array
    begun: Array
    ended: Array
    failure: Array  # index into _FAILURES; -1: none
    loads: Array  # whether the model was loaded first

    @property
    def count(self) -> int:
        return len(self.server)


class _Soak:
    """The whole run, a stretch at a time."""

    def __init__(self, scale: float, seed: int) -> None:
        self.seed = seed
        self.duration_s = WHOLE_S * scale
        self.warmup_s = min(600.0, self.duration_s / 10)

    def stretches(self) -> Iterator[tuple[int, float, float]]:
        """Number, beginning and length of each."""
        for number, since in enumerate(np.arange(0, self.duration_s, STRETCH_S)):
            yield number, float(since), float(min(STRETCH_S, self.duration_s - since))

    def noise(self, number: int, what: int) -> np.random.Generator:
        """The chance of one table in one stretch."""
        return np.random.default_rng((self.seed, number, what))

    def prompts(self, number: int, since_s: float, lasts_s: float) -> _Stretch:
        """Each server works on one prompt after the other, with pauses in which nothing waits."""
        noise = self.noise(number, 0)
        count = max(round(PROMPTS / WHOLE_S * lasts_s / SERVERS), 1)
        parts = [self._of_server(noise, server, count, since_s, lasts_s) for server in range(SERVERS)]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[2], kind="stable")
        return _Stretch(number, since_s, *(column[order] for column in columns))

    def _of_server(
        self, noise: np.random.Generator, server: int, count: int, since_s: float, lasts_s: float
    ) -> tuple[Array, ...]:
        workflow = noise.choice(len(WORKFLOWS), count, p=_SHARES)
        loads = noise.random(count) < _LOADS_A_PROMPT
        took = _SERVICE_S[workflow] * noise.lognormal(0.0, 0.15, count) + loads * 1.5
        idle = noise.exponential(0.08, count)
        stretch = (lasts_s - 5.0 if lasts_s > 20 else lasts_s * 0.75) / (took.sum() + idle.sum())
        begun = since_s + np.cumsum(idle + took) * stretch - took * stretch
        ended = begun + took * stretch
        waited = noise.gamma(2.0, 1.2, count) * (1 + 0.5 * np.sin(begun / 6000))
        scheduled = np.maximum(begun - waited, since_s * (since_s > 0))
        failure = np.where(
            noise.random(count) < _FAILURES_A_PROMPT, noise.integers(0, len(_FAILURES), count), -1
        ).astype(np.int8)
        return np.full(count, server), workflow, scheduled, begun, ended, failure, loads


def write_soak(path: Path, scale: float = 1.0, seed: int = 1) -> Path:
    """Write the recording into the new directory `path`."""
    soak = _Soak(scale, seed)
    return write(
        path,
        _run_file(soak),
        {
            "prompts": (_prompts(soak, *one) for one in soak.stretches()),
            "nodes": (_nodes(soak, *one) for one in soak.stretches()),
            "sessions": (_sessions(soak, *one) for one in soak.stretches()),
            "gpu": (_gpu(soak, *one) for one in soak.stretches()),
            "gpu_slow": (_gpu_slow(soak, *one) for one in soak.stretches()),
            "gpu_health": (_gpu_health(soak, *one) for one in soak.stretches()),
            "gpu_processes": (_gpu_processes(soak, *one) for one in soak.stretches()),
            "host": (_host(soak, *one) for one in soak.stretches()),
            "processes": (_processes(soak, *one) for one in soak.stretches()),
            "server": (_server(soak, *one) for one in soak.stretches()),
            "server_log": (_server_log(soak, *one) for one in soak.stretches()),
            "generator": (_generator(soak, *one) for one in soak.stretches()),
            "events": [_events(soak)],
            "clocks": [_clocks(soak)],
            "server_clocks": [_server_clocks(soak)],
        },
    )


def _prompts(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    one = soak.prompts(number, since_s, lasts_s)
    noise, count = soak.noise(number, 1), one.count
    failed = one.failure >= 0
    cached = ~failed & (noise.random(count) < 1e-4)
    done = ~failed & ~cached
    outcome = np.where(cached, "cached", "success").astype(object)
    texts = {name: np.full(count, None, dtype=object) for name in ("code", "error_type", "error_message")}
    texts["code"][cached] = "CACHE_HIT"
    for index, (ended_how, *told) in enumerate(_FAILURES):
        outcome[one.failure == index] = ended_how
        for name, text in zip(texts, told, strict=True):
            texts[name][one.failure == index] = text
    at_sampler = np.isin(one.failure, (0, 1))
    received, fetched = one.ended + noise.uniform(0.0004, 0.002, count), one.ended + noise.uniform(0.01, 0.05, count)
    finished = np.where(done, fetched, received) + 0.001
    seeds = pa.array(noise.integers(1 << 48, 1 << 53, count)).cast(pa.string())
    return {
        "id": _ids(soak, one),
        "server": _named([_url(server) for server in range(SERVERS)], one.server),
        "worker": _named([f"gpu-0-load-{worker}" for worker in range(WORKERS)], one.server % WORKERS),
        "client_id": _clients(soak, one.server, noise.integers(0, USERS_A_SERVER, count)),
        "workflow": _named(WORKFLOWS, one.workflow),
        "phase": _named(("warmup", "soak"), (one.scheduled >= soak.warmup_s).astype(int)),
        "variation": joined('{"3.seed": ', seeds, "}"),
        "scheduled_ns": _ns(one.scheduled),
        "deadline_ns": _ns(one.scheduled + 120),
        "sent_ns": _ns(one.scheduled + 0.0008),
        "accepted_ns": _ns(one.scheduled + 0.004),
        "http_status": 200,
        "number": np.arange(count, dtype=float) + 1e7 * number,
        "queue_remaining": noise.integers(1, USERS_A_SERVER, count),
        "start_received_ns": _ns(one.begun + 0.0006),
        "start_error_ns": noise.integers(40_000, 200_000, count),
        "end_received_ns": _ns(received),
        "end_error_ns": noise.integers(40_000, 200_000, count),
        "end_source": "socket",
        "started_server_ns": _ns(one.begun) // NS_PER_MS * NS_PER_MS,
        "ended_server_ns": _ns(one.ended) // NS_PER_MS * NS_PER_MS,
        "fetched_ns": _nullable(_ns(fetched), done),
        "finished_ns": _ns(finished),
        "outcome": pa.array(outcome, pa.string()),
        **{name: pa.array(values, pa.string()) for name, values in texts.items()},
        "node_id": _texts_where(at_sampler, "3"),
        "node_class": _texts_where(at_sampler, "KSampler"),
        "nodes_total": 7,
        "nodes_cached": np.where(cached, 7, 2),
        "nodes_executed": np.where(cached, 0, 5),
        "messages": noise.integers(20, 40, count),
        "message_bytes": noise.integers(4000, 9000, count),
        "outputs_expected": 1,
        "outputs_received": done.astype(np.int64),
        "output_bytes": _nullable(noise.integers(300_000, 1_500_000, count), done),
        "outputs_ok": pa.array(done, mask=~done),
        "front": False,
        "attempt": 1,
        "role": "load",
    }


def _nodes(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    one = soak.prompts(number, since_s, lasts_s)
    noise, count = soak.noise(number, 2), one.count
    shares = _NODE_SHARES * noise.lognormal(0, 0.05, (count, len(_NODES)))
    edges = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)
    lasted = (one.ended - one.begun - 0.002)[:, None]
    begins = one.begun[:, None] + 0.001 + np.concatenate([np.zeros((count, 1)), edges[:, :-1]], axis=1) * lasted
    ends = one.begun[:, None] + 0.001 + edges * lasted
    sampler = np.tile(np.array(_NODES) == "KSampler", count)
    which = np.tile(np.arange(len(_NODES)), count)
    prompt_ids = _ids(soak, one).take(pa.array(np.repeat(np.arange(count), len(_NODES))))
    node_ids = _named(_NODE_IDS, which)
    classes = np.where((which == 1) & np.repeat(one.loads, len(_NODES)), len(_NODES), which)
    begun, lasts = begins.ravel(), (ends - begins).ravel()
    return {
        "id": joined(prompt_ids, "/", node_ids),
        "prompt_id": prompt_ids,
        "node_id": node_ids,
        "display_node_id": node_ids,
        "node_class": _named((*_NODES, "CheckpointLoaderSimple"), classes),
        "server": _named([_url(server) for server in range(SERVERS)], np.repeat(one.server, len(_NODES))),
        "workflow": _named(WORKFLOWS, np.repeat(one.workflow, len(_NODES))),
        "started_ns": _ns(begun),
        "first_progress_ns": _nullable(_ns(begun + lasts / 12), sampler),
        "ended_ns": _ns(begun + lasts),
        "steps": pa.array(np.full(len(which), 12.0), mask=~sampler),
        "in_gap": noise.random(len(which)) < 1e-4,
    }


def _sessions(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    noise = soak.noise(number, 3)
    count = max(round(SESSIONS / WHOLE_S * lasts_s), 1)
    opening = np.sort(since_s + noise.random(count) * lasts_s)
    lasted = np.minimum(noise.exponential(60.0, count) + 0.5, soak.duration_s - opening)
    dropped = noise.random(count) < 2e-4
    server = noise.integers(0, SERVERS, count)
    churn = noise.random(count) < 0.9
    return {
        "id": uuids(noise, count),
        "server": _named([_url(one) for one in range(SERVERS)], server),
        "worker": _named([f"gpu-0-load-{worker}" for worker in range(WORKERS)], server % WORKERS),
        "role": _named(("user", "churn"), churn.astype(int)),
        "client_id": _clients(soak, server, noise.integers(0, USERS_A_SERVER, count)),
        "opening_ns": _ns(opening),
        "opened_ns": _ns(opening + 0.003),
        "closed_ns": _ns(opening + lasted),
        "close_code": np.where(dropped, 1006, 1000),
        "closed_by": _named(("client", "network"), dropped.astype(int)),
        "reason": _texts_where(dropped, "connection reset"),
        "code": _texts_where(dropped, "WS_ABNORMAL"),
        "messages": noise.integers(10, 2000, count),
        "message_bytes": noise.integers(1000, 400_000, count),
        "longest_silence_ns": noise.integers(10**8, 2 * 10**9, count),
    }


def _ticks(noise: np.random.Generator, since_s: float, lasts_s: float, hertz: float, subjects: int) -> Array:
    """Moments of `subjects` things read one after the other, `hertz` times a second, each a little late."""
    at = np.arange(max(round(lasts_s * hertz), 1)) / hertz + since_s
    late = noise.gamma(2.0, 2e-4, len(at))
    moments: Array = ((at + late)[:, None] + np.arange(subjects) * 3e-4).ravel()
    return moments


def _busy(moments: Array, gpu: Array) -> Array:
    """How busy a GPU is, by the time of day and its number."""
    busy: Array = 0.8 + 0.12 * np.sin(moments / 6000 + gpu)
    return busy


def _gpu(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    noise = soak.noise(number, 4)
    at = _ticks(noise, since_s, lasts_s, GPU_HZ, SERVERS)
    gpu = np.tile(np.arange(SERVERS), len(at) // SERVERS)
    working = noise.random(len(at)) < _busy(at, gpu)
    saw = ((at / 37 + gpu) % 1.0) * 3 * GIB
    used = (9 * GIB + saw + working * 2 * GIB).astype(np.int64) // 4096 * 4096
    return {
        "at_ns": _ns(at),
        "read_cost_ns": noise.integers(40_000, 60_000, len(at)),
        "late_ns": noise.integers(10_000, 900_000, len(at)),
        "host": "gpu-0",
        "source": "nvml",
        "uuid": _named([_uuid(one) for one in range(SERVERS)], gpu),
        "index": gpu,
        "memory_used_bytes": used,
        "memory_total_bytes": 24 * GIB,
        "memory_reserved_bytes": 300 << 20,
        "utilisation_ratio": np.where(working, noise.integers(85, 101, len(at)), noise.integers(0, 30, len(at))) / 100,
        "memory_utilisation_ratio": noise.integers(0, 61, len(at)) / 100,
    }


def _gpu_slow(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    noise = soak.noise(number, 5)
    at = _ticks(noise, since_s, lasts_s, 1, SERVERS)
    gpu = np.tile(np.arange(SERVERS), len(at) // SERVERS)
    busy = np.clip(_busy(at, gpu) + noise.normal(0, 0.05, len(at)), 0, 1)
    capped = busy > 0.97
    return {
        "at_ns": _ns(at),
        "read_cost_ns": noise.integers(60_000, 90_000, len(at)),
        "late_ns": noise.integers(10_000, 900_000, len(at)),
        "host": "gpu-0",
        "source": "nvml",
        "uuid": _named([_uuid(one) for one in range(SERVERS)], gpu),
        "index": gpu,
        "name": "NVIDIA L4",
        "utilisation_mean_ratio": busy,
        "utilisation_highest_ratio": 1.0,
        "utilisation_samples": 6,
        "sm_active_ratio": busy * 0.8,
        "tensor_active_ratio": busy * 0.3,
        "power_watts": 28 + 44 * busy + noise.normal(0, 1, len(at)),
        "power_limit_watts": 72.0,
        "energy_joules": at * 60 + gpu,
        "temperature_celsius": np.round(45 + 25 * busy),
        "performance_state": 0,
        "sm_clock_hertz": np.where(capped, 1_600_000_000, 2_040_000_000),
        "memory_clock_hertz": 6_250_000_000,
        "event_reasons": _named(("", "software_power_cap"), capped.astype(int)),
        "power_throttled_s": at * 1e-4,
        "thermal_throttled_s": 0.0,
        "pcie_sent_bytes_per_s": noise.uniform(1e6, 1e8, len(at)),
        "pcie_received_bytes_per_s": noise.uniform(1e6, 1e8, len(at)),
    }


def _gpu_health(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    noise = soak.noise(number, 6)
    at = _ticks(noise, since_s, lasts_s, 0.2, SERVERS)
    gpu = np.tile(np.arange(SERVERS), len(at) // SERVERS)
    return {
        "at_ns": _ns(at), "read_cost_ns": 900_000, "host": "gpu-0", "source": "nvml",
        "uuid": _named([_uuid(one) for one in range(SERVERS)], gpu), "index": gpu, "ecc_corrected": 0,
        "ecc_uncorrected": 0, "pcie_replays": 0, "pcie_generation": 4, "pcie_width": 16, "processes": 1,
        "server_bytes": 9 * GIB, "foreign_processes": 0, "foreign_bytes": 0,
    }  # fmt: skip


def _gpu_processes(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    noise = soak.noise(number, 7)
    at = _ticks(noise, since_s, lasts_s, 0.2, SERVERS)
    gpu = np.tile(np.arange(SERVERS), len(at) // SERVERS)
    return {
        "at_ns": _ns(at), "read_cost_ns": 500_000, "host": "gpu-0",
        "uuid": _named([_uuid(one) for one in range(SERVERS)], gpu), "pid": 1000 + gpu, "kind": "compute",
        "name": "python3", "memory_bytes": 9 * GIB, "utilisation_ratio": 0.8, "is_server": True,
    }  # fmt: skip


def _host(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    noise = soak.noise(number, 8)
    at = _ticks(noise, since_s, lasts_s, 1, 1)
    count = len(at)
    return {
        "at_ns": _ns(at), "read_cost_ns": 500_000, "late_ns": 100_000, "host": "gpu-0",
        "cpu_ratio": noise.uniform(0.3, 0.6, count), "cpu_count": 64,
        "busiest_core_ratio": noise.uniform(0.8, 1.0, count), "iowait_ratio": noise.uniform(0, 0.02, count),
        "steal_ratio": 0.0, "load_1m": noise.uniform(10, 30, count), "memory_total_bytes": 512 * GIB,
        "memory_available_bytes": 300 * GIB + noise.integers(0, 20 * GIB, count), "swap_used_bytes": 0,
        "cpu_pressure_ratio": noise.uniform(0, 0.05, count), "memory_pressure_ratio": 0.0,
        "io_pressure_ratio": noise.uniform(0, 0.05, count), "disk_free_bytes": (2000 * GIB - at * 2e4).astype(np.int64),
        "disk_read_bytes": (at * 1e7).astype(np.int64), "disk_written_bytes": (at * 2e7).astype(np.int64),
        "network_sent_bytes": (at * 3e7).astype(np.int64), "network_received_bytes": (at * 1e6).astype(np.int64),
        "handles": noise.integers(9000, 12_000, count), "handle_limit": 1 << 20, "processes": 700, "threads": 4000,
    }  # fmt: skip


def _processes(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    noise, all_of_them = soak.noise(number, 9), SERVERS + WORKERS + 2
    at = _ticks(noise, since_s, lasts_s, 1, all_of_them)
    which = np.tile(np.arange(all_of_them), len(at) // all_of_them)
    of_server = which < SERVERS
    roles = np.select([of_server, which < SERVERS + WORKERS, which == SERVERS + WORKERS], [0, 1, 2], 3)
    urls = np.array([_url(server) for server in range(SERVERS)], dtype=object)
    return {
        "at_ns": _ns(at), "read_cost_ns": 300_000, "host": "gpu-0", "pid": 1000 + which,
        "role": _named(("server", "load", "sampler", "recorder"), roles),
        "server": pa.array(urls[which % SERVERS], pa.string(), mask=~of_server),
        "name": "python3", "started_ns": START_NS - 60 * NS_PER_S,
        "cpu_ratio": noise.uniform(0.2, 0.9, len(at)), "cpu_seconds": at * 0.5,
        "rss_bytes": 3 * GIB + noise.integers(0, GIB, len(at)), "read_bytes": (at * 1e4).astype(np.int64),
        "written_bytes": (at * 1e5).astype(np.int64), "handles": noise.integers(100, 200, len(at)),
        "connections": noise.integers(10, 40, len(at)), "threads": 60,
    }  # fmt: skip


def _server(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    noise = soak.noise(number, 10)
    at = _ticks(noise, since_s, lasts_s, 1, SERVERS)
    which = np.tile(np.arange(SERVERS), len(at) // SERVERS)
    running, pending = _queue(soak.prompts(number, since_s, lasts_s), at, which)
    return {
        "at_ns": _ns(at), "server": _named([_url(server) for server in range(SERVERS)], which), "late_ns": 100_000,
        "queue_answer_ns": noise.integers(10**6, 4 * 10**6, len(at)),
        "canary_answer_ns": noise.integers(5 * 10**5, 2 * 10**6, len(at)),
        "queue_running": running, "queue_pending": pending, "running_age_ns": noise.integers(10**7, 10**9, len(at)),
        "oldest_pending_age_ns": noise.integers(10**8, 10**10, len(at)), "highest_number": np.floor(at * 2.4),
        "vram_total_bytes": 24 * GIB, "vram_free_bytes": noise.integers(9 * GIB, 14 * GIB, len(at)),
        "torch_vram_total_bytes": 12 * GIB, "torch_vram_free_bytes": noise.integers(0, GIB, len(at)),
        "ram_total_bytes": 512 * GIB, "ram_free_bytes": 300 * GIB,
    }  # fmt: skip


def _queue(prompts: _Stretch, at: Array, which: Array) -> tuple[Array, Array]:
    """How many prompts ran and waited at each moment of each server, by their own times: Little's law holds."""
    running, pending = np.zeros(len(at), np.int64), np.zeros(len(at), np.int64)
    for server in range(SERVERS):
        own, polled = prompts.server == server, which == server
        accepted, begun, ended = (
            np.searchsorted(np.sort(moments[own]), at[polled], side="right")
            for moments in (prompts.scheduled + 0.003, prompts.begun, prompts.ended)
        )
        running[polled], pending[polled] = begun - ended, np.maximum(accepted - begun, 0)
    return running, pending


def _server_log(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    """What a server says of each prompt it took and ended, and of each model it loaded meanwhile."""
    one = soak.prompts(number, since_s, lasts_s)
    loading = one.begun[one.loads]
    at = np.concatenate([one.scheduled + 0.003, one.ended, loading + 0.02, loading + 1.2])
    kinds = np.repeat(np.arange(4), [one.count, one.count, len(loading), len(loading)])
    server = np.concatenate([one.server, one.server, one.server[one.loads], one.server[one.loads]])
    models = np.array(_MODELS, dtype=object)[one.workflow[one.loads]]
    took = one.ended - one.begun
    executed = joined("Prompt executed in ", pc.round(pa.array(took), 2).cast(pa.string()), " seconds")
    said = pa.chunked_array(
        [
            pa.repeat(pa.scalar("got prompt"), one.count),
            executed,
            joined("Requested to load ", pa.array(models, pa.string()), ""),
            pa.repeat(pa.scalar("loaded completely;  4897.05 MB loaded, full load: True"), len(loading)),
        ]
    )
    none = np.full(2 * one.count, None, dtype=object)
    return {
        "at_ns": _ns(at), "server": _named([_url(server) for server in range(SERVERS)], server), "source": "socket",
        "kind": _named(("prompt_got", "prompt_executed", "model_requested", "model_loaded"), kinds),
        "model": pa.array(np.concatenate([none, models, np.full(len(models), None)]), pa.string()),
        "loaded_bytes": _nullable(np.full(len(at), 4897 << 20), kinds == 3),
        "duration_s": np.where(kinds == 1, np.concatenate([took, took, loading, loading]), np.nan),
        "text": said.combine_chunks(),
    }  # fmt: skip


def _generator(soak: _Soak, number: int, since_s: float, lasts_s: float) -> Columns:
    noise = soak.noise(number, 11)
    at = _ticks(noise, since_s, lasts_s, 1, WORKERS)
    which = np.tile(np.arange(WORKERS), len(at) // WORKERS)
    return {
        "at_ns": _ns(at), "worker": _named([f"gpu-0-load-{worker}" for worker in range(WORKERS)], which),
        "pid": 2000 + which, "users": SERVERS * USERS_A_SERVER // WORKERS, "sockets": 30,
        "in_flight": noise.integers(0, 24, len(at)), "cpu_ratio": noise.uniform(0.2, 0.5, len(at)),
        "lag_max_ns": noise.integers(10**5, 5 * 10**6, len(at)),
        "lateness_max_ns": noise.integers(10**5, 8 * 10**6, len(at)), "handles": 80, "handle_limit": 65_536,
        "rss_bytes": 180 << 20, "journal_errors": 0, "rows_dropped": 0,
    }  # fmt: skip


def _events(soak: _Soak) -> Columns:
    """Each load process tells of each phase; the sampler of each GPU it found and of Xids."""
    phases = [(0.0, "warmup"), (soak.warmup_s, "soak")]
    told = [(at + 0.003 * worker, f"gpu-0-load-{worker}", "phase", name, "")
            for at, name in phases for worker in range(WORKERS)]  # fmt: skip
    told += [(0.0, "sampler", "gpu", _uuid(gpu), "NVIDIA L4, by nvml") for gpu in range(SERVERS)]
    xids = np.arange(5000.0, soak.duration_s, 40_000.0)
    told += [
        (float(at), "sampler", "xid", _uuid(index % SERVERS), "Xid 31: MMU fault") for index, at in enumerate(xids)
    ]
    told.sort()
    at, source, kind, subject, detail = (list(column) for column in zip(*told, strict=True))
    return {"at_ns": _ns(np.array(at)), "source": source, "kind": kind, "subject": subject, "detail": detail}


def _clocks(soak: _Soak) -> Columns:
    at = np.arange(0, soak.duration_s, 10.0)
    return {
        "at_ns": _ns(at),
        "host": "gpu-0",
        "offset_ns": (at * 100).astype(np.int64),
        "step_ns": 0,
        "clock": "system",
    }


def _server_clocks(soak: _Soak) -> Columns:
    at = np.repeat(np.arange(0, soak.duration_s, 60.0), SERVERS)
    which = np.tile(np.arange(SERVERS), len(at) // SERVERS)
    return {
        "at_ns": _ns(at), "server": _named([_url(server) for server in range(SERVERS)], which), "worker": "load",
        "offset_ns": 200_000, "error_ns": 600_000, "prompts": 100, "drift_ppm": 0.5,
    }  # fmt: skip


def _run_file(soak: _Soak) -> RunFile:
    end_ns, warm_ns = (START_NS + round(at * NS_PER_S) for at in (soak.duration_s, soak.warmup_s))
    urls = tuple(_url(server) for server in range(SERVERS))
    plan = Plan(
        name="soak",
        seed=soak.seed,
        servers=urls,
        workloads=tuple(Workload(name=name, graph=_graph(model), deadline_s=120.0)
                        for name, model in zip(WORKFLOWS, _MODELS, strict=True)),
        stages=(
            Stage(duration_s=soak.warmup_s, users=Line.level(SERVERS * USERS_A_SERVER), phase="warmup"),
            Stage(duration_s=soak.duration_s - soak.warmup_s, users=Line.level(SERVERS * USERS_A_SERVER)),
        ),
        sessions=Sessions(watchers=0),
        goals=("prompts.latency.p95 < 20s", "prompts.failed < 1%", "server.queue.max < 100"),
    )  # fmt: skip
    return RunFile(
        id="00000000-0000-4000-8000-000000000072",
        name="soak",
        created_ns=START_NS - 2 * NS_PER_S,
        harness_version="0.1.0",
        python_version="3.11.7",
        argv=("comfysoak", "run", "soak.yaml"),
        segments=(Segment(started_ns=START_NS, ended_ns=end_ns),),
        plan=plan.model_dump(mode="json"),
        hosts=(HostFacts(name="gpu-0", os="Linux", cpu_count=64, memory_bytes=512 * GIB),),
        gpus=tuple(GpuFacts(host="gpu-0", uuid=_uuid(gpu), source="nvml", index=gpu, name="NVIDIA L4",
                            memory_total_bytes=24 * GIB) for gpu in range(SERVERS)),
        servers=tuple(ServerFacts(url=url, comfyui_version="0.3.64", argv=("main.py", "--listen")) for url in urls),
        phases=(
            PhaseFacts(name="warmup", started_ns=START_NS, ended_ns=warm_ns),
            PhaseFacts(name="soak", started_ns=warm_ns, ended_ns=end_ns),
        ),
        ended=Ended(at_ns=end_ns, reason=EndReason.FINISHED),
        sealed=True,
    )  # fmt: skip


def _graph(model: str) -> dict[str, Any]:
    sampler = {"seed": 1, "steps": 12, "model": ["4", 0], "positive": ["6", 0], "latent_image": ["5", 0]}
    return {
        "3": {"class_type": "KSampler", "inputs": sampler},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{model.lower()}.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "soak", "images": ["8", 0]}},
    }


def _ids(soak: _Soak, one: _Stretch) -> pa.Array:
    return uuids(soak.noise(one.number, 20), one.count)


def _clients(soak: _Soak, server: Array, user: Array) -> pa.Array:
    """Each user has a client id for good: 32 hexadecimal digits."""
    return hex_ids(soak.noise(0, 21), SERVERS * USERS_A_SERVER).take(pa.array(server * USERS_A_SERVER + user))


def _named(names: Any, which: Array) -> pa.Array:  # a sequence of texts
    return pa.DictionaryArray.from_arrays(pa.array(which.astype(np.int8)), pa.array(list(names), pa.string()))


def _texts_where(known: Array, text: str) -> pa.Array:
    """One text where it is true, null elsewhere."""
    return pa.array(np.full(len(known), text, dtype=object), pa.string(), mask=~known)


def _nullable(values: Array, known: Array) -> pa.Array:
    return pa.array(values, mask=~known)


def _ns(seconds: Array) -> Array:
    nanoseconds: Array = START_NS + np.round(seconds * NS_PER_S).astype(np.int64)
    return nanoseconds


def _url(server: int) -> str:
    return f"http://gpu-0:{8188 + server}"


def _uuid(gpu: int) -> str:
    return f"GPU-{gpu:08x}-7b1c-4d2e-9f00-0123456789ab"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    write_soak(arguments.path, arguments.scale)
