"""THROTTLED: the driver says that heat, power or hardware holds the clocks down, and the SM clock of the busy GPU fell.

Both are asked for. Reasons are set for moments on every healthy card, and clocks fall when there is nothing to do. The
power cap of software is the usual state of many cards at full load: it counts only where clocks fell by a tenth and
service times rose with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Buckets
from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.services import services
from comfysoak_analysis.findings.whose import gpus
from comfysoak_analysis.findings.windows import centres_s
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.codes import Code

BUSY, BUSY_BY_CAP = 0.2, 0.5  # utilisation; clocks fall by themselves when there is nothing to do
FALLEN, FALLEN_BY_CAP = 0.95, 0.9  # of the clock it runs at when busy and not held down
COUNTED = 0.1  # of the time, by the driver's counters of throttled time
LEAST_S, LEAST_SHARE = 10.0, 0.01  # of the time it was busy
SLOWER = 1.05  # service times, for the power cap to count
FEWEST = 5  # readings, for a clock of its own
_FEWEST_PROMPTS = 5
_HARD = {
    "hardware_thermal": "heat (hardware)",
    "software_thermal": "heat",
    "power_brake": "the power brake",
    "hardware_slowdown": "hardware slowdown",
}
_CAP = "software_power_cap"
_CLOCK, _BY_HEAT, _BY_POWER, _HEAT = (
    "sm_clock_hertz", "thermal_throttled_s", "power_throttled_s", "temperature_celsius",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slowed:
    """One GPU that was held down: where in the coarse grid, for how long, why, and its clocks."""

    uuid: str
    where: np.ndarray  # buckets, true or false
    first_s: float
    last_s: float
    slowed_s: float
    busy_s: float
    why: str
    by_cap: bool
    clock_hertz: float
    usual_hertz: float
    hottest_celsius: float


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding; that with the longest time first."""
    found = [(one, slower_by(run, states, one)) for one in slowed(run)]
    told = [(one, slower) for one, slower in found if not one.by_cap or (slower is not None and slower >= SLOWER)]
    if not told:
        return
    edges = [(one.uuid, at_s) for one, _ in told for at_s in (one.first_s, one.last_s)]
    rows = [(uuid, run.start + pd.Timedelta(seconds=at_s), None) for uuid, at_s in edges]
    only_cap = all(one.by_cap for one, _ in told)
    yield finding(
        Code.THROTTLED, pd.DataFrame(rows, columns=["id", "moment", "server"]).drop_duplicates(),
        " ".join(_words(one, slower) for one, slower in told[:3]), states, count=len(told),
        certainty=Certainty.LIKELY if only_cap else Certainty.CERTAIN,
        unless="The work itself drew more power then: at a power cap that lowers clocks as well." if only_cap else "",
        chart="states",
    )  # fmt: skip


def slowed(run: Run) -> tuple[Slowed, ...]:
    """The GPUs whose clocks fell while the driver gave a reason, the longest first."""
    return run.once(_all_slowed)


def _all_slowed(run: Run) -> tuple[Slowed, ...]:
    slow = run.tracks("gpu_slow", (_CLOCK, _BY_HEAT, _BY_POWER, _HEAT))
    use = run.tracks("gpu", ("utilisation_ratio",))
    most = run.tracks("gpu_health", ("sm_clock_most_hertz",))
    reasons = run.flags("gpu_slow", "event_reasons")
    found = []
    for uuid, track in slow.items():
        busy = use[uuid]["utilisation_ratio"].mean if uuid in use else np.full(run.coarse.count, np.nan)
        highest = most[uuid]["sm_clock_most_hertz"].high if uuid in most else np.array([np.nan])
        one = _slowed(uuid, track, busy, reasons.get(uuid, {}), highest)
        found += [] if one is None else [one]
    return tuple(sorted(found, key=lambda one: -one.slowed_s))


def slower_by(run: Run, states: GpuStates, one: Slowed) -> float | None:
    """How many times longer the same workflow took meanwhile on its servers; None where that is not known."""
    all_of = services(run, states)
    owners = {server for gpu in gpus(run) if gpu.uuid == one.uuid for server in gpu.servers}
    if not owners and len(all_of.servers) > 1:
        return None  # the others would hide it, or hide behind it
    mine = np.isin(all_of.server, [all_of.servers.index(name) for name in owners if name in all_of.servers])
    mine = (mine if owners else np.ones(mine.size, dtype=bool)) & ~all_of.is_cold
    then = one.where[run.coarse.index(np.maximum(all_of.at_s, 0.0))]
    ratios = []
    for workflow in range(len(all_of.workflows)):
        same = mine & (all_of.workflow == workflow)
        if min((same & then).sum(), (same & ~then).sum()) >= _FEWEST_PROMPTS:
            ratios.append(float(np.median(all_of.log_s[same & then]) - np.median(all_of.log_s[same & ~then])))
    return float(np.exp(np.median(ratios))) if ratios else None


def _slowed(
    uuid: str, track: Mapping[str, Buckets], use: Floats, reasons: Mapping[str, Buckets], highest: Floats
) -> Slowed | None:
    clock = track[_CLOCK].mean
    places = np.flatnonzero(np.isfinite(clock))
    if places.size < FEWEST:
        return None
    clock, grid = clock[places], track[_CLOCK].grid
    lasted = _lasted_s(places, grid.width_s)
    busy, full = (~(use[places] < least) for least in (BUSY, BUSY_BY_CAP))  # unknown: whatever the clocks say
    set_ = {name: np.nan_to_num(flag.mean[places]) >= 0.5 for name, flag in reasons.items()}
    hard = _any(set_, _HARD, places.size) | (_growth(track[_BY_HEAT].mean[places]) > COUNTED * lasted)
    cap = _any(set_, (_CAP,), places.size) | (_growth(track[_BY_POWER].mean[places]) > COUNTED * lasted)
    free = busy & ~hard & ~cap
    own = float(np.median(clock[free])) if free.sum() >= FEWEST else float("nan")
    known = highest[np.isfinite(highest)]
    usual = own if np.isfinite(own) else float(known.max()) if known.size else float("nan")
    with np.errstate(invalid="ignore"):
        by_hard, by_cap = busy & hard & (clock < FALLEN * usual), full & cap & ~hard & (clock < FALLEN_BY_CAP * own)
    busy_s = float(lasted[busy].sum())
    for held, is_cap in ((by_hard, False), (by_cap, True)):
        slowed_s = float(lasted[held].sum())
        if slowed_s >= max(LEAST_S, LEAST_SHARE * busy_s):
            where = np.zeros(grid.count, dtype=bool)
            for place, length in zip(places[held], lasted[held], strict=True):
                where[place : place + max(round(length / grid.width_s), 1)] = True
            at_s, warm = centres_s(grid)[places[held]], track[_HEAT].high[places[held]]
            why = "its power cap" if is_cap else _why(set_, held)
            hottest = float(np.nanmax(warm)) if np.isfinite(warm).any() else float("nan")
            first_s, last_s, fell_to = float(at_s[0]), float(at_s[-1]), float(np.median(clock[held]))
            return Slowed(uuid, where, first_s, last_s, slowed_s, busy_s, why, is_cap, fell_to, usual, hottest)
    return None


def _lasted_s(places: np.ndarray, width_s: float) -> Floats:
    """What each reading stands for: the time to the next one, in a gap no more than usual."""
    apart = np.diff(places) * width_s
    usual = float(np.median(apart))
    lasted: Floats = np.append(np.where(apart <= 3 * usual, apart, usual), usual)
    return lasted


def _any(set_: Mapping[str, np.ndarray], names: Iterable[str], size: int) -> np.ndarray:
    found = np.zeros(size, dtype=bool)
    for name in names:
        found |= set_.get(name, False)
    return found


def _growth(counter: Floats) -> Floats:
    """By how much a counter grows to the next reading; 0 where that is not known."""
    grown = np.diff(counter, append=np.nan)
    with np.errstate(invalid="ignore"):
        return np.where(grown > 0, grown, 0.0)


def _why(set_: Mapping[str, np.ndarray], held: np.ndarray) -> str:
    named = [words for name, words in _HARD.items() if name in set_ and (set_[name] & held).any()]
    return " and ".join(named) or "heat, by the driver's count of throttled time"


def _words(one: Slowed, slower: float | None) -> str:
    fell = 1 - one.clock_hertz / one.usual_hertz
    said = (
        f"{one.uuid} ran at {one.clock_hertz / 1e6:,.0f} MHz instead of {one.usual_hertz / 1e6:,.0f} MHz ({fell:.0%} "
        f"less) for {one.slowed_s:,.0f} s of {one.busy_s:,.0f} s in which it was busy, held down by {one.why}, from "
        f"{one.first_s:,.0f} s to {one.last_s:,.0f} s into the run."
    )
    if np.isfinite(one.hottest_celsius):
        said += f" It was up to {one.hottest_celsius:.0f} °C."
    if slower is not None:
        said += f" The same workflows took {slower:.2f} times as long meanwhile."
    return said + (" For information: a cap is a setting, no fault." if one.by_cap else "")
