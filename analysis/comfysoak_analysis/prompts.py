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
from typing import Any

import numpy as np
import pandas as pd

from comfysoak_analysis.server_clocks import on_our_clock
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.stage import COLD_START, SETTLE, TRIAL, WARMUP

Bools = np.ndarray[Any, np.dtype[Any]]

NOT_MEASURED_PHASES = (WARMUP, SETTLE, COLD_START)
NOT_INTENDED = (Outcome.NOT_SENT.value, Outcome.ABORTED.value)


def with_derived_columns(prompts: pd.DataFrame, clocks: pd.DataFrame, *, trials: Container[str]) -> pd.DataFrame:
    """`prompts` with the columns above; of the trials of a search only those of the phases `trials` are measured.

    `clocks`: what was measured of the servers' clocks.
    """
    frame = prompts
    outcome = _texts(frame["outcome"])
    frame["started_at"] = _started_at(frame, clocks)
    frame["done_at"] = frame["left"].fillna(frame["end_received"]).fillna(frame["finished"])
    frame["latency_s"] = _seconds(frame["done_at"], frame["scheduled"])
    frame["service_s"] = _service_s(frame)
    frame["queue_wait_s"] = _queue_wait_s(frame)
    frame["fetch_s"] = _seconds(frame["fetched"], frame["end_received"])
    frame["intended"] = ~outcome.among(("", *NOT_INTENDED))
    phase = _texts(frame["phase"])
    frame["measured"] = frame["intended"] & phase.where(lambda name: is_counted(name, trials))
    frame["work"] = ~outcome.among((Outcome.CACHED.value,))
    frame["ok"] = outcome.equals(_texts(frame["expected"], missing=Outcome.SUCCESS.value))
    ended = outcome.among((Outcome.SUCCESS.value, Outcome.TIMEOUT.value, Outcome.GIVEN_UP.value))
    frame["timeable"] = frame["intended"] & frame["work"] & ended
    frame["timed"] = frame["measured"] & frame["timeable"]
    return frame


class _Texts:
    """A column of texts that repeat, by its few values; what is missing is `missing`."""

    def __init__(self, codes: Bools, names: list[str]) -> None:
        self._codes, self._names = codes, names

    def where(self, holds: Callable[[str], bool]) -> Bools:
        """In which rows something holds of the text."""
        found: Bools = np.array([holds(name) for name in self._names], dtype=bool)[self._codes]
        return found

    def among(self, values: Container[str]) -> Bools:
        """In which rows the text is one of these."""
        return self.where(lambda name: name in values)

    def equals(self, other: _Texts) -> Bools:
        """In which rows the two texts are the same."""
        same = np.array([[mine == its for its in other._names] for mine in self._names], dtype=bool)
        found: Bools = same[self._codes, other._codes]
        return found


def _texts(column: pd.Series, missing: str = "") -> _Texts:
    values = column.array
    if isinstance(values, pd.Categorical):
        return _Texts(values.codes, [*map(str, values.categories), missing])  # the code of none is -1: the last
    codes, names = pd.factorize(column)
    return _Texts(codes, [*map(str, names), missing])


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


def _seconds(later: pd.Series, earlier: pd.Series) -> pd.Series:
    return (later - earlier).dt.total_seconds()


def _service_s(frame: pd.DataFrame) -> pd.Series:
    """By the server's clock; by our receive times where history was not read."""
    told = _seconds(frame["ended_server"], frame["started_server"])
    seen = _seconds(frame["end_received"], frame["start_received"])
    service = told.where(told >= 0, seen)
    return service.where((service >= 0) & frame["cancel_asked"].isna())


def _started_at(frame: pd.DataFrame, clocks: pd.DataFrame) -> pd.Series:
    """The better of two witnesses: our socket, and the server's clock as far as its offset is known."""
    received, error_s = frame["start_received"], frame["start_error_s"].fillna(0.0)
    least_s = float(clocks["error_s"].min())  # NaN, and nothing is above it, where no clock is known
    asked = np.flatnonzero(received.isna() | (error_s > least_s))
    if not len(asked):
        return received
    few = frame.iloc[asked]
    told, told_error_s = on_our_clock(few["started_server"], few["server"], clocks)
    worse = few["start_received"].isna() | (few["start_error_s"].fillna(0.0) > told_error_s)
    better = few["start_received"].where(~(worse & told.notna()), told)
    started: np.ndarray[Any, np.dtype[Any]] = received.to_numpy().copy()
    started[asked] = better.to_numpy()
    return pd.Series(started, index=frame.index)


def _queue_wait_s(frame: pd.DataFrame) -> pd.Series:
    """To the start of work; where that is not known, back from the end by the service time."""
    by_start = _seconds(frame["started_at"], frame["sent"])
    by_end = _seconds(frame["end_received"], frame["sent"]) - frame["service_s"]
    wait = by_start.fillna(by_end)
    floor: Any = np.maximum(wait.to_numpy(dtype=float), 0.0)  # messages may come before the answer to POST
    return pd.Series(floor, index=frame.index)
