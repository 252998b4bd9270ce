"""What there is to tell of GPUs, hosts, processes, containers and events that were only watched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import counted
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import Held, parts
from comfysoak_analysis.server_processes import ServerProcess, server_processes
from comfysoak_analysis.watched_gpus import watched_gpus
from comfysoak_core.codes import Severity
from comfysoak_core.scenario.quantities import format_duration

MOST_EVENTS = 200
MOST_ROWS = 50
_NO_NEWS = frozenset({"host", "probe_paused", "probe_resumed"})


@dataclass(frozen=True, slots=True)
class HostFigures:
    """One host over the time it was watched; NaN where it was not told."""

    host: str
    samples: int
    cores: float
    cpu_mean: float
    cpu_most: float
    memory_most_bytes: float
    memory_total_bytes: float
    pressure_most: float  # the largest share of ten seconds in which some task waited for CPU, memory or disk
    disk_free_bytes: float


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """One process of a server; `cpu` in cores."""

    name: str
    host: str
    pid: int
    role: str
    cpu_mean: float
    cpu_most: float
    memory_most_bytes: float
    handles_most: float
    connections_most: float


@dataclass(frozen=True, slots=True)
class ContainerFigures:
    """The limits one server lived under, and how often they struck while it was watched."""

    name: str
    host: str
    server: str
    memory_most_bytes: float
    memory_limit_bytes: float
    cpu_limit_cores: float
    throttled_s: float
    oom_kills: float


@dataclass(frozen=True, slots=True)
class Happened:
    """One event; `after_s` seconds after the start."""

    after_s: float
    kind: str
    subject: str
    detail: str


def hosts(run: Run) -> tuple[HostFigures, ...]:
    """Each host that was watched, by name."""
    return run.once(_hosts)


@dataclass(slots=True)
class _Host:
    """One host while its samples come in."""

    samples: int
    told: dict[str, Held]
    memory: Held  # in use


_PRESSURES = ("cpu_pressure_ratio", "memory_pressure_ratio", "io_pressure_ratio")
_OF_HOSTS = ("cpu_count", "cpu_ratio", "memory_total_bytes", "memory_available_bytes", "disk_free_bytes", *_PRESSURES)


def _hosts(run: Run) -> tuple[HostFigures, ...]:
    found: dict[str, _Host] = {}
    for part in parts(run.reader("host"), "host", "host", _OF_HOSTS):
        if part.subject not in found:
            found[part.subject] = _Host(0, {column: Held(0, 0) for column in _OF_HOSTS}, Held(0, 0))
        one = found[part.subject]
        one.samples += len(part.at_ns)
        for column, values in part.values.items():
            one.told[column].add(part.at_ns, values)
        one.memory.add(part.at_ns, part.values["memory_total_bytes"] - part.values["memory_available_bytes"])
    return tuple(_host(name, one) for name, one in sorted(found.items()))


def _host(name: str, one: _Host) -> HostFigures:
    cpu = one.told["cpu_ratio"]
    pressures = [one.told[column].most for column in _PRESSURES]
    return HostFigures(
        host=name,
        samples=one.samples,
        cores=one.told["cpu_count"].most,
        cpu_mean=cpu.total / cpu.count if cpu.count else math.nan,
        cpu_most=cpu.most,
        memory_most_bytes=one.memory.most,
        memory_total_bytes=one.told["memory_total_bytes"].most,
        pressure_most=float(np.fmax.reduce(pressures)),
        disk_free_bytes=one.told["disk_free_bytes"].least,
    )


def processes(run: Run) -> tuple[ProcessFigures, ...]:
    """The processes of servers, those with most memory first; one that began anew under an old number is another."""
    return tuple(_process(one) for one in server_processes(run)[:MOST_ROWS])


def _process(one: ServerProcess) -> ProcessFigures:
    return ProcessFigures(
        name=one.name,
        host=one.host,
        pid=one.pid,
        role=one.role.replace("_", " "),
        cpu_mean=one.mean("cpu_ratio"),
        cpu_most=one.most("cpu_ratio"),
        memory_most_bytes=one.most("rss_bytes"),
        handles_most=one.most("handles"),
        connections_most=one.most("connections"),
    )


def containers(run: Run) -> tuple[ContainerFigures, ...]:
    """The containers, or limits without one, of servers."""
    rows = run.containers
    keys = [rows["host"], rows["server"], rows["container"].fillna("")]
    return tuple(_container(part) for _, part in rows.groupby(keys))[:MOST_ROWS]


def _container(rows: pd.DataFrame) -> ContainerFigures:
    last = rows.iloc[-1]
    named = next((one for one in (last["name"], last["container"]) if isinstance(one, str) and one), "no container")
    return ContainerFigures(
        name=named,
        host=str(last["host"]),
        server=str(last["server"]),
        memory_most_bytes=_most(rows["memory_used_bytes"]),
        memory_limit_bytes=_last(rows["memory_limit_bytes"]),
        cpu_limit_cores=_last(rows["cpu_limit_cores"]),
        throttled_s=_grown(rows["cpu_throttled_s"]),
        oom_kills=_grown(rows["oom_kills"]),
    )


def happened(run: Run) -> tuple[Happened, ...]:
    """The events of a recording, the first of them where there are too many."""
    rows = run.events[~run.events["kind"].isin(_NO_NEWS)].head(MOST_EVENTS)
    told = rows[["kind", "subject", "server", "detail"]].fillna("").itertuples(index=False, name=None)
    return tuple(
        Happened(float(after), str(kind).replace("_", " "), str(subject or server), str(detail))
        for after, (kind, subject, server, detail) in zip(run.since_start_s(rows["at"]), told, strict=True)
    )


def events_words(run: Run) -> str:
    """A sentence where not all events are shown."""
    count = int((~run.events["kind"].isin(_NO_NEWS)).sum())
    return f"Of {count:,} events the first {MOST_EVENTS} are shown." if count > MOST_EVENTS else ""


def what_was_watched(run: Run) -> str:
    """`2 GPUs, 1 host, 1 server`; empty where nothing was."""
    counts = (
        (len(watched_gpus(run)) or run.gpu_slow["uuid"].nunique(), "GPU"),
        (len(hosts(run)), "host"),
        (run.server["server"].nunique(), "server"),
        (run.containers["container"].nunique(), "container"),
    )
    return ", ".join(counted(int(count), what) for count, what in counts if count)


def headline(run: Run) -> str:
    """`Watched for 10m`."""
    return f"Watched for {_in_words(run.duration_s)}"


def said(run: Run, findings: Sequence[Finding]) -> str:
    """What was watched and how much was found: with the headline before it, this stands for a verdict."""
    found = ", ".join(
        counted(count, f"{severity.value} finding")
        for severity in (Severity.CRITICAL, Severity.WARNING, Severity.INFO)
        if (count := sum(one.severity is severity for one in findings))
    )
    watched = what_was_watched(run) or "nothing answered"
    return f"{watched}; {found or 'no findings'}."


def story(findings: Sequence[Finding]) -> str:
    """What was found, by its codes."""
    grave = [one.code.value for one in findings if one.severity is not Severity.INFO]
    none = "No load was made and no prompt judged: this is a recording of watching."
    return none + (f" Found: {', '.join(grave)}." if grave else "")


def _in_words(seconds: float) -> str:
    return format_duration(round(seconds) if seconds >= 10 else round(seconds, 1))


def _most(values: pd.Series) -> float:
    return float(values.max())


def _last(values: pd.Series) -> float:
    known = values.dropna()
    return float(known.iloc[-1]) if len(known) else math.nan


def _grown(values: pd.Series) -> float:
    """By how much a counter grew, restarts of it left out; NaN where it was never told."""
    known = values.dropna()
    return float(known.diff().clip(lower=0).sum()) if len(known) else math.nan
