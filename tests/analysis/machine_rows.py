"""Recordings of machines, column by column: servers, their GPUs, and what is planted in them.

A `Soak` begins as a calm one: each server on a GPU of its own, a prompt every few seconds, memory that saws by some
hundred MiB, nothing that leads anywhere. Its methods add tables; `open` writes it and opens it.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.planted.writing import write
from comfysoak_analysis import Run, open_run
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.run_file import Ended, EndReason, RunFile, Segment, ServerFacts
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Workload
from tests.analysis.planted import GIB, START_NS, graph

MIB = 1024**2
HOST = "gpu-1"
WORKFLOWS = ("large", "small")
ALL_S = np.ndarray[Any, np.dtype[np.float64]]
Of = Callable[[ALL_S], Any]


def server(number: int = 0) -> str:
    """The address of a server."""
    return f"http://{HOST}:{8188 + number}"


def gpu(number: int = 0) -> str:
    """The UUID of its GPU."""
    return f"GPU-{number}"


def pid(number: int = 0) -> int:
    """Its process."""
    return 700 + number


@dataclass
class Soak:
    """`hours` long, of `servers` servers."""

    hours: float = 2.0
    servers: int = 1
    seed: int = 1
    tables: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    text: str = ""  # in each prompt

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        for number in range(self.servers):
            self.add(
                "gpu_processes",
                at_ns=self.ns(np.array([1.0])), host=HOST, uuid=gpu(number), pid=pid(number), name="python",
                memory_bytes=GIB, is_server=True, read_cost_ns=1,
            )  # fmt: skip
            self.add(
                "processes", at_ns=self.ns(np.array([1.0])), host=HOST, pid=pid(number), role="server",
                server=server(number), read_cost_ns=1,
            )  # fmt: skip

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.hours * 3600

    def ns(self, at_s: ALL_S) -> Any:
        """Moments of the recording."""
        return START_NS + np.round(at_s * NS_PER_S).astype(np.int64)

    def every(self, step_s: float) -> ALL_S:
        """A moment each step."""
        return np.arange(step_s / 2, self.seconds, step_s)

    def add(self, table: str, **columns: Any) -> Soak:
        """More rows of a table."""
        self.tables.setdefault(table, []).append(columns)
        return self

    def saw(self, at_s: ALL_S, swing: float = 300 * MIB, period_s: float = 47.0) -> ALL_S:
        """Memory of allocators: it saws, and is never twice the same."""
        phase = (at_s / period_s) % 1.0
        return 3 * GIB + swing * phase + self.random.normal(0, 12 * MIB, at_s.size)

    def gpu_samples(
        self,
        used: Of | None = None,
        use: Of | None = None,
        *,
        number: int = 0,
        step_s: float = 2.0,
        source: str = "nvml",
    ) -> Soak:
        """Memory (bytes) and utilisation of a GPU of 24 GiB, each as a function of time."""
        at_s = self.every(step_s)
        memory = self.saw(at_s) if used is None else used(at_s)
        busy = 0.95 if use is None else np.asarray(use(at_s), dtype=float)
        return self.add(
            "gpu", at_ns=self.ns(at_s), host=HOST, source=source, uuid=gpu(number), index=number, read_cost_ns=1,
            memory_used_bytes=np.round(memory).astype(np.int64), memory_total_bytes=24 * GIB, utilisation_ratio=busy,
        )  # fmt: skip

    def gpu_slow(
        self, clock: Of | None = None, reasons: Of | None = None, *, number: int = 0, step_s: float = 2.0, **more: Any
    ) -> Soak:
        """SM clock (hertz) and event reasons of a GPU."""
        at_s = self.every(step_s)
        hertz = 1_700e6 if clock is None else clock(at_s)
        hertz = np.round(hertz + self.random.normal(0, 5e6, at_s.size)).astype(np.int64)
        told = "" if reasons is None else list(reasons(at_s))
        columns = {name: np.asarray(value(at_s)) for name, value in more.items()}
        return self.add(
            "gpu_slow", at_ns=self.ns(at_s), host=HOST, source="nvml", uuid=gpu(number), index=number, read_cost_ns=1,
            sm_clock_hertz=hertz, event_reasons=told, **columns,
        )  # fmt: skip

    def prompts(
        self, service: Callable[[ALL_S, np.ndarray], Any] | None = None, *, number: int = 0, every_s: float = 12.0,
        share: Of | None = None, failed: Callable[[ALL_S], Any] | None = None,
        fails_as: tuple[str, str] = ("oom", "OOM"), **more: Any,
    ) -> Soak:  # fmt: skip
        """Prompts of two workflows; `service(at_s, is_large)` in seconds, `share` of the large one over time."""
        at_s = self.every(every_s) + self.random.uniform(0, every_s / 4, self.every(every_s).size)
        large = self.random.random(at_s.size) < (0.5 if share is None else share(at_s))
        usual = np.where(large, 6.0, 2.0) * np.exp(self.random.normal(0, 0.04, at_s.size))
        lasted = usual if service is None else usual * service(at_s, large)
        bad = np.zeros(at_s.size, dtype=bool) if failed is None else failed(at_s)
        started, ended = self.ns(at_s), self.ns(at_s + lasted)
        return self.add(
            "prompts", id=[str(uuids.UUID(int=int(self.random.integers(2**62)))) for _ in at_s], server=server(number),
            worker="load-0", client_id="c", workflow=list(np.where(large, "large", "small")), phase="load",
            scheduled_ns=started, sent_ns=started, accepted_ns=started, start_received_ns=started,
            end_received_ns=ended, started_server_ns=started, ended_server_ns=ended, finished_ns=ended,
            outcome=list(np.where(bad, fails_as[0], "success")), code=[fails_as[1] if one else None for one in bad],
            **more,
        )  # fmt: skip

    def rss(self, used: Of, *, number: int = 0, step_s: float = 10.0) -> Soak:
        """Resident memory of a server's process."""
        at_s = self.every(step_s)
        return self.add(
            "processes", at_ns=self.ns(at_s), host=HOST, pid=pid(number), role="server", server=server(number),
            rss_bytes=np.round(used(at_s)).astype(np.int64), read_cost_ns=1,
        )  # fmt: skip

    def queue(self, pending: Of, *, number: int = 0, step_s: float = 1.0, **more: Of) -> Soak:
        """What a server said of its queue."""
        at_s = self.every(step_s)
        waiting = np.asarray(pending(at_s)) + np.zeros(at_s.size)
        columns = {name: np.asarray(value(at_s)) for name, value in more.items()}
        return self.add(
            "server", at_ns=self.ns(at_s), server=server(number), queue_pending=waiting.astype(np.int64),
            **({"queue_running": (waiting > 0).astype(np.int64)} | columns),
        )  # fmt: skip

    def settles(self, count: int, lasts_s: float = 60.0) -> list[tuple[float, float]]:
        """So many settles of all servers, evenly over the run; their spans."""
        begins = (np.arange(count) + 0.5) * self.seconds / count
        for number in range(self.servers):
            for subject, at_s in (("begin", begins), ("end", begins + lasts_s)):
                self.add(
                    "events", at_ns=self.ns(at_s), source="load-0", kind="settled", server=server(number),
                    subject=subject, detail="",
                )  # fmt: skip
        return [(float(begin), float(begin) + lasts_s) for begin in begins]

    def event(self, at_s: float, kind: str, **columns: Any) -> Soak:
        """One event of the sampler."""
        return self.add("events", at_ns=self.ns(np.array([at_s])), source="sampler", kind=kind, **columns)

    def models(self, switches: list[tuple[float, str]], number: int = 0) -> Soak:
        """Loads of models by the server's log, each at its moment."""
        at_s = np.array([at for at, _ in switches])
        names = [name for _, name in switches]
        common = {"server": server(number), "source": "socket"}
        self.add("server_log", at_ns=self.ns(at_s), kind="model_requested", model=names,
                 text=[f"Requested to load {name}" for name in names], **common)  # fmt: skip
        return self.add(
            "server_log", at_ns=self.ns(at_s + 1.0), kind="model_loaded", loaded_bytes=2 * GIB,
            text=["loaded completely; 2048.00 MB loaded, full load: True"] * len(names), **common,
        )  # fmt: skip

    def _graph(self) -> dict[str, Any]:
        nodes = graph("portrait-sdxl")
        nodes["7"]["inputs"]["text"] = self.text
        return nodes

    def open(self, directory: Path) -> Run:
        """Written, and opened."""
        end_ns = START_NS + round(self.seconds * NS_PER_S)
        facts = tuple(
            ServerFacts(url=server(number), devices=(self.devices[number],) if self.devices else ())
            for number in range(self.servers)
        )
        plan = Plan(
            name="soak", seed=1, servers=tuple(server(number) for number in range(self.servers)),
            workloads=tuple(Workload(name=name, graph=self._graph(), deadline_s=120.0) for name in WORKFLOWS),
            stages=(Stage(duration_s=self.seconds, users=Line.level(1)),),
        )  # fmt: skip
        run = RunFile(
            id="00000000-0000-4000-8000-000000000002", name="soak", created_ns=START_NS,
            segments=(Segment(started_ns=START_NS, ended_ns=end_ns),), servers=facts,
            plan=plan.model_dump(mode="json"),
            ended=Ended(at_ns=end_ns, reason=EndReason.FINISHED), sealed=True,
        )  # fmt: skip
        return open_run(write(directory, run, self.tables))
