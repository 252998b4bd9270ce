"""What follows from a prompt's row: how long each part of its life took, and whether it counts.

Columns added to the frame of prompts:

    latency_s     from the moment it was due to its end, or to where its user gave up: what a user waits, and in open
                  load the only honest one
    service_s     what the server worked on it, by the server's own clock in history where that is known; none where
                  it was taken back on the way
    started_at    when work began: as received, or by the server's clock where that tells it better
    queue_wait_s  from sending to that
    fetch_s       from its end to its outputs fetched and checked
    intended      it was sent and came to an end of its own (not `not_sent`, not `aborted`)
    measured      not in a warm-up, and intended
    work          the server did work for it: it was not answered from the cache
    ok            its outcome is the expected one
    timeable      it has a time worth telling: it did work, and succeeded, timed out or was given up. Without the last
                  two, of which only the least is known, a server would look the faster the more users lose patience
    timed         it belongs into percentiles: timeable and measured
    done_at       the moment it ended for its user, by whatever tells it best
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Protocol

import numpy as np
import pandas as pd

from comfysoak_analysis.server_clocks import on_our_clock
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.stage import COLD_START, SETTLE, TRIAL, WARMUP

Array = np.ndarray[Any, np.dtype[Any]]
Bools = np.ndarray[Any, np.dtype[Any]]
Moments = np.ndarray[Any, np.dtype[np.datetime64]]

NOT_MEASURED_PHASES = (WARMUP, SETTLE, COLD_START)
NOT_INTENDED = (Outcome.NOT_SENT.value, Outcome.ABORTED.value)


class Rows(Protocol):
    """Prompts in columns of plain numbers, wherever they come from."""

    def moments(self, name: str) -> Moments:
        """A column such as `sent`; NaT where there is none."""

    def seconds(self, name: str) -> Floats:
        """A duration such as `start_error_s`; NaN where there is none."""

    def texts(self, name: str, missing: str = "") -> Texts:
        """A column of texts that repeat; `missing` stands for none."""


def with_derived_columns(prompts: pd.DataFrame, clocks: pd.DataFrame, *, trials: Container[str]) -> pd.DataFrame:
    """`prompts` with the columns above, in place: see `derived`."""
    for name, column in derived(_FrameRows(prompts), clocks, trials=trials).items():
        prompts[name] = column
    return prompts


def derived(rows: Rows, clocks: pd.DataFrame, *, trials: Container[str]) -> dict[str, Array]:
    """The columns above; of the trials of a search only those of the phases `trials` are measured.

    `clocks`: what was measured of the servers' clocks.
    """
    outcome, phase = rows.texts("outcome"), rows.texts("phase")
    started, sent, ended = _started_at(rows, clocks), rows.moments("sent"), rows.moments("end_received")
    done = _first_known(rows.moments("left"), ended, rows.moments("finished"))
    service_s = _service_s(rows)
    intended, work = ~outcome.among(("", *NOT_INTENDED)), ~outcome.among((Outcome.CACHED.value,))
    measured = intended & phase.where(lambda name: is_counted(name, trials))
    timeable = intended & work & outcome.among((Outcome.SUCCESS.value, Outcome.TIMEOUT.value, Outcome.GIVEN_UP.value))
    return {
        "started_at": started,
        "done_at": done,
        "latency_s": _seconds(done, rows.moments("scheduled")),
        "service_s": service_s,
        "queue_wait_s": _queue_wait_s(_seconds(started, sent), _seconds(ended, sent) - service_s),
        "fetch_s": _seconds(rows.moments("fetched"), ended),
        "intended": intended,
        "measured": measured,
        "work": work,
        "ok": outcome.equals(rows.texts("expected", missing=Outcome.SUCCESS.value)),
        "timeable": timeable,
        "timed": measured & timeable,
    }


class Texts:
    """A column of texts that repeat, by its few values; what is missing is `missing`."""

    def __init__(self, codes: Array, names: list[str]) -> None:
        """`codes`: the place of each row's text in `names`; -1, the last of them, is what stands for none."""
        self._codes, self._names = codes, names

    def where(self, holds: Callable[[str], bool]) -> Bools:
        """In which rows something holds of the text."""
        found: Bools = np.array([holds(name) for name in self._names], dtype=bool)[self._codes]
        return found

    def at(self, places: Array) -> Array:
        """The texts of some rows."""
        found: Array = np.array(self._names, dtype=object)[self._codes[places]]
        return found

    def among(self, values: Container[str]) -> Bools:
        """In which rows the text is one of these."""
        return self.where(lambda name: name in values)

    def equals(self, other: Texts) -> Bools:
        """In which rows the two texts are the same."""
        same = np.array([[mine == its for its in other._names] for mine in self._names], dtype=bool)
        found: Bools = same[self._codes, other._codes]
        return found


class _FrameRows:
    """`Rows` of a frame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def moments(self, name: str) -> Moments:
        return self._frame[name].to_numpy(dtype="datetime64[ns]")

    def seconds(self, name: str) -> Floats:
        return self._frame[name].to_numpy(dtype=float, na_value=np.nan)

    def texts(self, name: str, missing: str = "") -> Texts:
        column = self._frame[name]
        if isinstance(column.array, pd.Categorical):
            return Texts(column.array.codes, [*map(str, column.array.categories), missing])
        codes, names = pd.factorize(column)
        return Texts(codes, [*map(str, names), missing])


def as_measured(prompts: pd.DataFrame) -> pd.DataFrame:
    """The same, every one of them measured: to look at a phase by itself."""
    return prompts.assign(measured=prompts["intended"], timed=prompts["timeable"])


def is_counted(phase: str, trials: Container[str]) -> bool:
    """Whether prompts of a phase are measured."""
    return phase not in NOT_MEASURED_PHASES and (not phase.startswith(TRIAL) or phase in trials)


def moments(prompts: pd.DataFrame) -> pd.Series:
    """Where each stands in time: when it ended; when it was due, where nothing tells its end."""
    return prompts["done_at"].fillna(prompts["scheduled"])


def is_judged(prompts: pd.DataFrame) -> pd.Series:
    """Which prompts are judged."""
    chosen: pd.Series = prompts["measured"] & (prompts["work"] | prompts["ok"])
    return chosen


def judged(prompts: pd.DataFrame) -> pd.DataFrame:
    """The prompts that say whether the target works: measured ones, less those it answered from its cache unasked.

    A prompt that did no work could not fail; counting it would make any target look better than it is.
    """
    return prompts[is_judged(prompts)]


def _seconds(later: Moments, earlier: Moments) -> Floats:
    """NaN where one of the two is not known."""
    told = (later.view(np.int64) - earlier.view(np.int64)) / NS_PER_S
    unknown = np.isnat(later) | np.isnat(earlier)
    if unknown.any():
        told[unknown] = np.nan
    return told


def _first_known(*witnesses: Moments) -> Moments:
    """Of each prompt what the first that knows it says."""
    found = witnesses[0].copy()
    for witness in witnesses[1:]:
        np.copyto(found, witness, where=np.isnat(found))
    return found


def _service_s(rows: Rows) -> Floats:
    """By the server's clock; by our receive times where history was not read."""
    told = _seconds(rows.moments("ended_server"), rows.moments("started_server"))
    seen = _seconds(rows.moments("end_received"), rows.moments("start_received"))
    service = np.where(told >= 0, told, seen)
    service[~((service >= 0) & np.isnat(rows.moments("cancel_asked")))] = np.nan
    return service


def _started_at(rows: Rows, clocks: pd.DataFrame) -> Moments:
    """The better of two witnesses: our socket, and the server's clock as far as its offset is known."""
    received, error_s = rows.moments("start_received"), np.nan_to_num(rows.seconds("start_error_s"))
    least_s = float(clocks["error_s"].min())  # NaN, and nothing is above it, where no clock is known
    asked = np.flatnonzero(np.isnat(received) | (error_s > least_s))
    if not len(asked):
        return received
    servers = rows.texts("server").at(asked)
    told, told_error_s = on_our_clock(pd.Series(rows.moments("started_server")[asked]), pd.Series(servers), clocks)
    worse = np.isnat(received[asked]) | (error_s[asked] > told_error_s.to_numpy())
    better = worse & told.notna().to_numpy()
    started = received.copy()
    started[asked[better]] = told.to_numpy()[better]
    return started


def _queue_wait_s(by_start: Floats, by_end: Floats) -> Floats:
    """To the start of work; where that is not known, back from the end by the service time."""
    wait = np.where(np.isnan(by_start), by_end, by_start)
    return np.maximum(wait, 0.0)  # messages may come before the answer to POST
