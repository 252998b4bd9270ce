"""Every measure of the goal language by its name: from a run, its findings and filters to a value.

`prompts.*` are those of the measured prompts; filtered by a phase that is not measured (a warm-up) they are those of
that phase all the same. Rates are over the time in which the phase chosen, or the whole run, was measured, whatever
other filters say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from comfysoak_analysis.binomial import UNLIKELY
from comfysoak_analysis.efficiency import busy_while_queued, efficiency, used_uuids
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.memory import ram_leak, vram_leak
from comfysoak_analysis.findings.rising import Series, slope_of
from comfysoak_analysis.findings.told import named_sockets
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.measures import GpuFigures, Sockets, Spread, gpus, measured_s, sockets_of, spread
from comfysoak_analysis.model_loads import ModelLoad
from comfysoak_analysis.model_states import model_states
from comfysoak_analysis.node_lasting import node_lasted_s
from comfysoak_analysis.prompts import as_measured, is_judged
from comfysoak_analysis.reliability import PER_HOURS, reliability
from comfysoak_analysis.server_hosts import gpus_beside
from comfysoak_analysis.statistics.rates import Interval, rate_at_most, rate_interval
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.codes import Severity
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.goals import By, parse_goal
from comfysoak_core.scenario.stage import ARRIVALS, USERS


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with how many cases it rests on; `low` and `high` where an interval tells more than the value."""

    value: float  # NaN: nothing to measure
    samples: int
    nothing: str = "no prompt was measured"  # why there is none
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Evidence:
    """All that measures are computed from; what is costly is made when first asked for."""

    run: Run
    findings: Sequence[Finding]
    told_states: GpuStates | None = None
    filters: Mapping[By, str] = field(default_factory=dict)  # a server by its address, or its number from 0
    unlikely: float = UNLIKELY  # how rarely an interval may miss the truth

    def __post_init__(self) -> None:
        """A server's number becomes its address: of embedded ones nobody knows it before they have started."""
        servers = self.run.plan.servers if self.run.plan is not None else ()
        number = self.filters.get(By.SERVER, "")
        if number.isdecimal() and int(number) < len(servers):
            object.__setattr__(self, "filters", {**self.filters, By.SERVER: servers[int(number)]})

    @cached_property
    def states(self) -> GpuStates:
        """What GPUs did and which models were loaded."""
        return GpuStates(self.run) if self.told_states is None else self.told_states

    @cached_property
    def loads(self) -> Sequence[ModelLoad]:
        """Model loads, of the server chosen."""
        return [load for load in self.states.loads if self.filters.get(By.SERVER, load.server) == load.server]

    @cached_property
    def in_phase(self) -> pd.DataFrame:
        """The prompts of the phase chosen, or all."""
        prompts = self.run.prompts
        if By.PHASE not in self.filters:
            return prompts
        chosen = prompts[prompts["phase"] == self.filters[By.PHASE]]
        return chosen if chosen["measured"].any() else as_measured(chosen)

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """The prompts chosen by all filters."""
        prompts = self.in_phase
        for by in (By.WORKFLOW, By.SERVER):
            if by in self.filters:
                prompts = prompts[prompts[by.value] == self.filters[by]]
        if By.MODEL in self.filters:
            prompts = prompts[model_states(prompts, self.loads) == self.filters[By.MODEL]]
        return prompts

    @cached_property
    def sockets(self) -> Sockets:
        """The sockets chosen; filtered by code, those hours are of all sockets and the drops of that code."""
        frame = named_sockets(self.run)
        for by in (By.SERVER, By.ROLE):
            if by in self.filters:
                frame = frame[frame[by.value] == self.filters[by]]
        if By.CODE in self.filters:
            frame = frame.assign(dropped=frame["dropped"] & (frame["code"] == self.filters[By.CODE]))
        return sockets_of(frame)

    @property
    def servers(self) -> tuple[str, ...] | None:
        """The server chosen; None for all."""
        return (self.filters[By.SERVER],) if By.SERVER in self.filters else None

    @cached_property
    def gpus(self) -> tuple[GpuFigures, ...]:
        """The GPUs chosen."""
        found = gpus(self.run)
        if By.SERVER in self.filters:
            beside = set(gpus_beside(self.run, self.filters[By.SERVER])["uuid"].astype(str))
            found = tuple(gpu for gpu in found if gpu.uuid in beside)
        name = self.filters.get(By.GPU)
        return found if name is None else tuple(gpu for gpu in found if name in {gpu.uuid, str(gpu.index)})


def measure(name: str, evidence: Evidence) -> Measured:
    """The value of measure `name` in its base unit; NaN with the reason where there is nothing to measure."""
    family, _, rest = name.partition(".")
    if family == "failures":
        return _failures(rest, evidence)
    if rest.count(".") == 1 and (family, rest.partition(".")[0]) in _SPREADS:
        time, _, statistic = rest.partition(".")
        values, nothing = _SPREADS[family, time](evidence, time)
        found: Spread = spread(values)
        return Measured(float(getattr(found, statistic)), found.count, nothing)
    return _MEASURES[name](evidence)


def times_of(evidence: Evidence, time: str) -> pd.Series:
    """`latency`, `service`, `queue_wait` or `fetch` of the prompts that have a time worth telling."""
    prompts = evidence.prompts
    return pd.Series(prompts[f"{time}_s"].to_numpy()[prompts["timed"].to_numpy(dtype=bool)])


def share_of(name: str, evidence: Evidence) -> tuple[int, int]:
    """How many of how many: of `prompts.failed` and `prompts.cached`."""
    if name == "prompts.failed":
        counted = is_judged(evidence.prompts)
        return int((counted & ~evidence.prompts["ok"]).sum()), int(counted.sum())
    chosen = evidence.prompts["measured"]
    return int((chosen & ~evidence.prompts["work"]).sum()), int(chosen.sum())


def _prompt_times(evidence: Evidence, time: str) -> tuple[pd.Series, str]:
    return times_of(evidence, time), "no measured prompt came to a timed end"


def _typical_service(evidence: Evidence) -> Measured:
    """The median service time of each workflow, together as a geometric mean by the weights of the mix.

    The median of all would jump from one workflow's to another's with a mix that differs by chance.
    """
    prompts = evidence.prompts[evidence.prompts["timed"]]
    medians = prompts.groupby("workflow", observed=True)["service_s"].median()
    medians = medians[medians > 0]
    plan = evidence.run.plan
    planned = {one.name: one.weight for one in (plan.workloads if plan is not None else ()) if one.weight > 0}
    weights = np.array([planned.get(str(name), 1.0) for name in medians.index], dtype=float)
    if not medians.size:
        return Measured(math.nan, 0, "no measured prompt came to a timed end")
    middle = float(np.average(np.log(medians.to_numpy(dtype=float)), weights=weights))
    return Measured(math.exp(middle), int(prompts["service_s"].notna().sum()))


def _node_times(evidence: Evidence, _time: str) -> tuple[pd.Series, str]:
    chosen = {by: evidence.filters.get(by) for by in (By.NODE, By.WORKFLOW, By.SERVER)}
    lasted = node_lasted_s(evidence.run, chosen[By.NODE], chosen[By.WORKFLOW], chosen[By.SERVER])
    return lasted, "no such node was seen to run"


def _load_times(evidence: Evidence, _time: str) -> tuple[pd.Series, str]:
    known = [load.lasted_s for load in evidence.loads if load.lasted_s is not None]
    return pd.Series(known, dtype=float), "no model load was told with its length"


_SPREADS: dict[tuple[str, str], Callable[[Evidence, str], tuple[pd.Series, str]]] = {
    **{("prompts", time): _prompt_times for time in ("latency", "service", "queue_wait", "fetch")},
    ("nodes", "time"): _node_times,
    ("models", "load"): _load_times,
}


def _share(name: str) -> Callable[[Evidence], Measured]:
    def measured(evidence: Evidence) -> Measured:
        hits, cases = share_of(name, evidence)
        return Measured(hits / cases if cases else math.nan, cases)

    return measured


def _failures(code: str, evidence: Evidence) -> Measured:
    """How often a code was found; zero is an answer."""
    count = sum(finding.count for finding in evidence.findings if finding.code.value == code)
    return Measured(float(count), len(evidence.run.prompts))


def _weighing(severity: Severity) -> Callable[[Evidence], Measured]:
    def measured(evidence: Evidence) -> Measured:
        count = sum(found.severity is severity and found.accepted is None for found in evidence.findings)
        return Measured(float(count), len(evidence.findings))

    return measured


def _count(evidence: Evidence) -> Measured:
    count = int((evidence.prompts["measured"] & evidence.prompts["work"]).sum())
    return Measured(float(count), count)


def _succeeded(prompts: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
    done = prompts["measured"] & prompts["work"] & prompts["ok"] & (prompts["outcome"] == Outcome.SUCCESS.value)
    return done.to_numpy(dtype=bool)


def _rate(evidence: Evidence, count: int) -> Measured:
    lasted_s = measured_s(evidence.in_phase)
    return Measured(count / lasted_s * 60 if lasted_s > 0 else math.nan, count)


def _per_minute(evidence: Evidence) -> Measured:
    return _rate(evidence, int(_succeeded(evidence.prompts).sum()))


def _good_per_minute(evidence: Evidence) -> Measured:
    """Those within the limits the scenario's goals set for their latency."""
    prompts = evidence.prompts
    good = _succeeded(prompts).copy()
    for chosen, limit_s in latency_limits(evidence.run.plan.goals if evidence.run.plan is not None else ()):
        about = np.ones(len(prompts), dtype=bool)
        for by, name in chosen.items():
            if by is not By.MODEL:
                about &= (prompts[by.value] == name).to_numpy(dtype=bool)
            else:
                about &= model_states(prompts, evidence.loads) == name
        good &= ~about | (prompts["latency_s"].to_numpy() < limit_s)
    return _rate(evidence, int(good.sum()))


def latency_limits(goals: Iterable[str]) -> list[tuple[Mapping[By, str], float]]:
    """What prompts each goal on `prompts.latency` is about, and its limit in seconds."""
    found: list[tuple[Mapping[By, str], float]] = []
    for text in goals:
        try:
            goal = parse_goal(text)
        except ValueError:
            continue
        if goal.measure.startswith("prompts.latency.") and goal.comparison in {"<", "<="}:
            found.append((dict(goal.filters), goal.value))
    return found


def _per_gpu_hour(evidence: Evidence) -> Measured:
    found = efficiency(evidence.run, evidence.servers)
    done = int(_succeeded(evidence.prompts).sum())
    hours = found.gpu_hours
    return Measured(done / hours if hours > 0 else math.nan, done)


def _per_kwh(evidence: Evidence) -> Measured:
    found = efficiency(evidence.run, evidence.servers)
    done, kwh = int(_succeeded(evidence.prompts).sum()), found.energy_kwh
    return Measured(done / kwh if kwh > 0 else math.nan, done, "the energy of the GPUs is not known")


def _loads_per_prompt(evidence: Evidence) -> Measured:
    done = int((evidence.prompts["measured"] & evidence.prompts["work"]).sum())
    chosen = evidence.in_phase[evidence.in_phase["measured"]]
    if chosen.empty or not done:
        return Measured(math.nan, 0)
    first, last = chosen["scheduled"].min(), chosen["done_at"].max()
    within = sum(first <= load.started <= last for load in evidence.loads)
    return Measured(within / done, done)


_NO_SOCKET = "no socket was opened"


def _dropped(evidence: Evidence) -> Measured:
    return Measured(evidence.sockets.dropped_share, evidence.sockets.opened, _NO_SOCKET)


def _drops(evidence: Evidence) -> Measured:
    found = evidence.sockets
    return Measured(float(found.dropped) if found.opened else math.nan, found.opened, _NO_SOCKET)


def _drops_per_hour(evidence: Evidence) -> Measured:
    return Measured(evidence.sockets.drops_per_hour, evidence.sockets.opened, _NO_SOCKET)


def _silence(evidence: Evidence) -> Measured:
    return Measured(evidence.sockets.longest_silence_s, evidence.sockets.opened, _NO_SOCKET)


def _server_values(evidence: Evidence, *columns: str) -> pd.DataFrame:
    """Columns of what servers said of themselves, of the server chosen."""
    if By.SERVER not in evidence.filters:
        return evidence.run.frame("server", columns)
    rows = evidence.run.frame("server", ("server", *columns))
    return rows[rows["server"] == evidence.filters[By.SERVER]].drop(columns="server")


_NO_QUEUE = "the queue was never read"


def _queue(evidence: Evidence) -> pd.Series:
    rows = _server_values(evidence, "queue_running", "queue_pending")
    waiting: pd.Series = (rows["queue_running"] + rows["queue_pending"]).dropna()
    return waiting


def _queue_max(evidence: Evidence) -> Measured:
    waiting = _queue(evidence)
    return Measured(float(waiting.max()), len(waiting), _NO_QUEUE)


def _queue_mean(evidence: Evidence) -> Measured:
    waiting = _queue(evidence)
    return Measured(float(waiting.mean()), len(waiting), _NO_QUEUE)


def _answer_p99(evidence: Evidence) -> Measured:
    """Of each reading the slower answer: a loop that was blocked holds up the one that is asked first."""
    rows = _server_values(evidence, "canary_answer_ns", "queue_answer_ns")
    found = spread(rows.max(axis=1))
    return Measured(found.p99, found.count, _NO_QUEUE)


def _server_memory_max(evidence: Evidence) -> Measured:
    tracks = evidence.run.tracks("processes", ("rss_bytes",), by="server")
    chosen = [one["rss_bytes"].high for server, one in tracks.items()
              if evidence.servers is None or server in evidence.servers]  # fmt: skip
    return _highest(chosen, "no process of a server was watched")


def _highest(parts: Sequence[Floats], nothing: str) -> Measured:
    known = np.concatenate(parts) if parts else np.array([])
    known = known[~np.isnan(known)]
    return Measured(float(known.max()) if known.size else math.nan, int(known.size), nothing)


_NO_GPU = "no GPU was watched"


def _fresh_samples(evidence: Evidence) -> int:
    """Of all GPUs chosen; what an exporter only repeats is none."""
    return sum(gpu.samples for gpu in evidence.gpus)


def _memory_max(evidence: Evidence) -> Measured:
    found = [gpu.memory_max_bytes for gpu in evidence.gpus if not math.isnan(gpu.memory_max_bytes)]
    return Measured(max(found, default=math.nan), _fresh_samples(evidence), _NO_GPU)


def _memory_max_share(evidence: Evidence) -> Measured:
    found = [gpu.memory_max_share for gpu in evidence.gpus if not math.isnan(gpu.memory_max_share)]
    return Measured(max(found, default=math.nan), _fresh_samples(evidence), _NO_GPU)


def _utilisation_mean(evidence: Evidence) -> Measured:
    told = [gpu for gpu in evidence.gpus if not math.isnan(gpu.utilisation_mean)]
    mean = sum(gpu.utilisation_mean for gpu in told) / len(told) if told else math.nan
    return Measured(mean, sum(gpu.samples for gpu in told), "no utilisation was read")


def _while_queued(evidence: Evidence) -> Measured:
    chosen = {gpu.uuid for gpu in evidence.gpus}
    value, samples = busy_while_queued(evidence.run, [uuid for uuid in used_uuids(evidence.run) if uuid in chosen])
    return Measured(value, samples, "never was anything queued while utilisation was read")


def _power_mean(evidence: Evidence) -> Measured:
    found = efficiency(evidence.run, evidence.servers)
    return Measured(found.power_mean_watts, found.gpus, "no power was read")


def _temperature_max(evidence: Evidence) -> Measured:
    tracks = evidence.run.tracks("gpu_slow", ("temperature_celsius",))
    chosen = {gpu.uuid for gpu in evidence.gpus}
    parts = [one["temperature_celsius"].high for uuid, one in tracks.items() if uuid in chosen]
    return _highest(parts, "no temperature was read")


def _gpu_leak(evidence: Evidence) -> Measured:
    chosen = {gpu.uuid for gpu in evidence.gpus}
    series, _ = vram_leak.tested_series(evidence.run, evidence.states)
    return steepest([one for one in series if one.subject in chosen], _NO_GPU, evidence.unlikely)


def _server_leak(evidence: Evidence) -> Measured:
    series, _ = ram_leak.tested_series(evidence.run, evidence.states)
    chosen = [one for one in series if evidence.servers is None or one.subject in evidence.servers]
    return steepest(chosen, "no process of a server was watched", evidence.unlikely)


def steepest(series: Sequence[Series], nothing: str, unlikely: float) -> Measured:
    """The steepest slope by the hour, with the interval of the steepest: each may be it, so each counts for both ends.

    All series together give an interval that lies too high in `unlikely` of all runs at most.
    """
    if not series:
        return Measured(math.nan, 0, nothing)
    confidence = 1 - unlikely / len(series)
    slopes = [slope for one in series if (slope := slope_of(one, confidence)) is not None]
    if not slopes:
        return Measured(math.nan, 0, "too short a run to tell how memory moves")
    steepest = max(slopes, key=lambda slope: slope.slope_per_s)
    low, high = max(slope.low_per_s for slope in slopes), max(slope.high_per_s for slope in slopes)
    return Measured(3600 * steepest.slope_per_s, steepest.points, nothing, 3600 * low, 3600 * high)


_NO_HOURS = "no prompt was measured, so there are no hours of work"


def _reliability_failures(evidence: Evidence) -> Measured:
    found = reliability(evidence.run, evidence.servers)
    count = len(found.failures)
    return Measured(float(count) if found.gpu_hours else math.nan, count, _NO_HOURS)


def _reliability_rate(evidence: Evidence) -> Measured:
    found = reliability(evidence.run, evidence.servers)
    count, confidence = len(found.failures), 1 - evidence.unlikely
    if not found.gpu_hours:
        return Measured(math.nan, count, _NO_HOURS)
    exposure = found.gpu_hours / PER_HOURS
    ends = rate_interval(count, exposure, confidence) if count else Interval(0.0, rate_at_most(exposure, confidence))
    return Measured(found.rate, count, _NO_HOURS, ends.low, ends.high)


def _recovery_max(evidence: Evidence) -> Measured:
    """No failure is nothing to recover from."""
    found = reliability(evidence.run, evidence.servers)
    longest = found.recovery_max_s if found.failures else 0.0
    return Measured(longest if found.gpu_hours else math.nan, len(found.failures), _NO_HOURS)


def _capacity(unit: str) -> Callable[[Evidence], Measured]:
    """The highest load that held; none at all is zero, and no search is no answer."""

    def measured(evidence: Evidence) -> Measured:
        found = [capacity for capacity in evidence.run.capacities if capacity.unit == unit]
        if not found:
            return Measured(math.nan, 0, "no search for it was run")
        highest = min(capacity.found.highest_held or 0.0 for capacity in found)
        return Measured(highest * (60 if unit == ARRIVALS else 1), sum(len(capacity.trials) for capacity in found))

    return measured


_MEASURES: dict[str, Callable[[Evidence], Measured]] = {
    "prompts.count": _count,
    "prompts.failed": _share("prompts.failed"),
    "prompts.cached": _share("prompts.cached"),
    "prompts.typical_service": _typical_service,
    "prompts.per_minute": _per_minute,
    "prompts.good_per_minute": _good_per_minute,
    "prompts.per_gpu_hour": _per_gpu_hour,
    "prompts.per_kwh": _per_kwh,
    "models.loads_per_prompt": _loads_per_prompt,
    "sessions.dropped": _dropped,
    "sessions.drops": _drops,
    "sessions.drops_per_hour": _drops_per_hour,
    "sessions.silence.max": _silence,
    "server.queue.max": _queue_max,
    "server.queue.mean": _queue_mean,
    "server.answer.p99": _answer_p99,
    "server.memory.max": _server_memory_max,
    "gpu.memory.max": _memory_max,
    "gpu.memory.max_share": _memory_max_share,
    "server.memory.leak": _server_leak,
    "gpu.memory.leak": _gpu_leak,
    "gpu.utilisation.mean": _utilisation_mean,
    "gpu.utilisation.while_queued": _while_queued,
    "gpu.power.mean": _power_mean,
    "gpu.temperature.max": _temperature_max,
    "reliability.failures": _reliability_failures,
    "reliability.per_1000_gpu_hours": _reliability_rate,
    "reliability.recovery.max": _recovery_max,
    "capacity.users": _capacity(USERS),
    "capacity.per_minute": _capacity(ARRIVALS),
    "findings.critical": _weighing(Severity.CRITICAL),
    "findings.warning": _weighing(Severity.WARNING),
}
