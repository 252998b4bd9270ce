"""What a run was made with, and how well its recording was made: two lists of names and values."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.cold_starts import cold_starts
from comfysoak_analysis.completeness import explained
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import median_s
from comfysoak_analysis.golden import canaries_in_words
from comfysoak_analysis.settles import settled_memory
from comfysoak_analysis.watched_gpus import watched_gpus
from comfysoak_analysis.watching import watching
from comfysoak_analysis.workers import LoadProcess, clocks_in_words, load_processes
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.quantities import format_duration, format_size

Pairs = tuple[tuple[str, str], ...]
COLD_STARTS_SHOWN = 20


def configuration(run: Run) -> Pairs:
    """What was to be run, against what, on what."""
    return tuple(_configuration(run))


def _most_load(plan: Plan) -> str:
    """Users and arrivals at their most, and the traces."""
    rates = [stage.arrivals.rate_per_s.highest for stage in plan.stages if stage.arrivals]
    traces = [f"{stage.replay.name} ({stage.replay.prompts:,} prompts)" for stage in plan.stages if stage.replay]
    arrivals = [f"{60 * max(rates):,.4g} arrivals a minute"] if rates else []
    users = [f"{plan.users_most:,} users"] if plan.users_most or not (arrivals or traces) else []
    return ", ".join([*users, *arrivals, *traces])


def health(run: Run) -> Pairs:
    """How whole the recording is, and whether the harness kept up."""
    return tuple(_health(run))


def _configuration(run: Run) -> Iterator[tuple[str, str]]:
    facts, plan = run.recording.run, run.plan
    yield "Run", f"{facts.name} ({facts.id})"
    if facts.argv:
        yield "Command", " ".join(facts.argv)
    if plan is not None:
        watchers = f"{plan.sessions.watchers:,} watchers"
        yield "Planned", f"{format_duration(plan.duration_s)}, up to {_most_load(plan)} and {watchers}"
        yield "Goals", "; ".join(plan.goals) or "none named: the default ones"
        yield "If undecided", plan.on_undecided
        sources = ", ".join(source.kind + (f" {source.url}" if source.url else "") for source in plan.probes.gpu)
        yield "GPU sources", f"{sources or 'none'}, every {format_duration(plan.probes.every_s)}"
        yield "Target", "embedded simulator" if plan.embedded is not None else ", ".join(plan.servers)
        if plan.gateway is not None:
            yield "Gateway", f"{plan.gateway.url}{plan.gateway.api.path}"
    yield "ComfySoak", f"{facts.harness_version or 'unknown'}, Python {facts.python_version or 'unknown'}"
    for server in facts.servers:
        versions = (("ComfyUI", server.comfyui_version), ("PyTorch", server.pytorch_version))
        parts = [f"{name} {version}" for name, version in versions if version]
        parts += [part for part in (" ".join(server.argv), ", ".join(server.devices)) if part]
        yield f"Server {server.url}", " · ".join(parts) or "said nothing of itself"
    settings = run.server_log[run.server_log["kind"].isin(["setting", "dynamic_vram"])]
    for url, said in settings.groupby("server")["text"]:
        yield f"Log of {url} at its start", " · ".join(dict.fromkeys(said.astype(str)))
    for gpu in facts.gpus:
        memory = format_size(gpu.memory_total_bytes) if gpu.memory_total_bytes else ""
        yield (
            f"GPU {gpu.uuid}",
            " · ".join(
                str(part)
                for part in (gpu.name, memory, gpu.driver and f"driver {gpu.driver}", gpu.host, gpu.source)
                if part
            ),
        )
    for host in facts.hosts:
        memory = format_size(host.memory_bytes) if host.memory_bytes else ""
        yield (
            f"Host {host.name}",
            " · ".join(part for part in (host.os, f"{host.cpu_count} CPUs" if host.cpu_count else "", memory) if part),
        )


def _health(run: Run) -> Iterator[tuple[str, str]]:
    facts = run.recording.run
    yield "Sealed", "yes: all rows are in the tables" if facts.sealed else "no: read from the journal"
    yield "Ended", _ended(run)
    yield "Rows", ", ".join(f"{count:,} {what}" for what, count in _row_counts(run)) or "none"
    yield from _generator(load_processes(run))
    if not run.is_watching:
        yield "Ends of prompts known", _late(run.values("prompts", "end_error_s"), "within ")
    paces = [gpu.pace for gpu in watched_gpus(run).values()]
    if paces:
        (longest,) = _quantiles(pd.Series([pace.longest_s for pace in paces]), 1)
        yield "GPU samples", f"every {_milliseconds(median_s(paces))}, longest gap {_milliseconds(longest)}"
    for cost in watching(run):
        yield f"What watching cost, by pauses of {cost.kind} probes", cost.in_words()
    system = run.clocks[run.clocks["clock"] == "system"]
    if not system.empty:
        (most,) = _quantiles(system["offset_s"].abs(), 1)
        yield "System clocks moved", f"{_milliseconds(most)} at most, against the run's clock"
    of_workers = clocks_in_words(run)
    if of_workers is not None:
        yield "Clocks of workers", of_workers
    for one in cold_starts(run)[:COLD_STARTS_SHOWN]:
        yield f"Cold start of {one.server}", one.in_words() or "it did not begin"
    yield from settled_memory(run)
    if not run.server_clocks.empty:
        yield "Server clocks known", _late(run.server_clocks["error_s"], "within ")
    for queue in explained(run):
        yield f"Queue of {queue.server} explained", queue.words
    yield from canaries_in_words(run)
    for fault in facts.faults:
        yield "Fault", fault


def _generator(processes: tuple[LoadProcess, ...]) -> Iterator[tuple[str, str]]:
    """The load processes about themselves."""
    if not processes:
        return
    users, sockets = max(one.users_most for one in processes), max(one.sockets_most for one in processes)
    yield "Load processes", f"{len(processes):,}, at most {users:,} users and {sockets:,} sockets each"
    yield "Loop woke up late", _late(pd.Series(np.concatenate([one.lag_max_s for one in processes])))
    yield "Prompts left late", _late(pd.Series(np.concatenate([one.lateness_max_s for one in processes])))
    usual, most = _quantiles(pd.Series(np.concatenate([one.cpu_ratio for one in processes])), 0.5, 1)
    if not math.isnan(usual):
        yield "Load CPU", f"{usual:.0%} of a core usually, {most:.0%} at most"
    yield "Refused writes", f"{max(one.journal_errors for one in processes):,}"


def _late(values: pd.Series, by: str = "by ") -> str:
    p99, most = _quantiles(values, 0.99, 1)
    return f"{by}{_milliseconds(p99)} at p99, {_milliseconds(most)} at most"


def _ended(run: Run) -> str:
    ended = run.recording.run.ended
    if ended is None:
        return "the recording does not say"
    return ended.reason.value + (f": {ended.detail}" if ended.detail else "")


def _row_counts(run: Run) -> list[tuple[str, int]]:
    """Tables by what a row of them is; of a recording of watching those with rows, and of hosts and processes, too."""
    counts = [(what, run.extent(table).rows) for table, what in _ROWS]
    if run.is_watching:
        counts += [(what, run.extent(table).rows) for table, what in _ROWS_OF_WATCHING]
        return [(what, count) for what, count in counts if count]
    return counts


_ROWS = (
    ("prompts", "prompts"), ("nodes", "nodes"), ("sessions", "sessions"), ("gpu", "GPU samples"),
    ("server", "server readings"), ("server_log", "log lines"), ("events", "events"),
)  # fmt: skip
_ROWS_OF_WATCHING = (("host", "host readings"), ("processes", "readings of processes"))


def _quantiles(values: pd.Series, *shares: float) -> tuple[float, ...]:
    """NaN where nothing is known."""
    known = values.dropna().to_numpy()
    return tuple(map(float, np.quantile(known, shares))) if known.size else (math.nan,) * len(shares)


def _milliseconds(seconds: float) -> str:
    if math.isnan(seconds):
        return "unknown"
    return "under 0.01 ms" if seconds < 1e-5 else f"{seconds * 1000:,.3g} ms"
