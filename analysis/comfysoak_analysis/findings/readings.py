"""What the readings of each server's queue show over time: prompts that run for long, and answers that came late.

One pass over the table of servers keeps little of it: who ran longer than `LEAST_NS`, and each reading that was slow,
refused or not answered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import coded
from comfysoak_core.clock import NS_PER_S

LEAST_NS = 20 * NS_PER_S  # what runs for less is not kept
SLOW_NS = NS_PER_S  # an answer that takes longer is a slow one
LATE_NS = NS_PER_S // 2  # a reading that began so late was held up by our own machine
READ_AT_LEAST_NS = 65 * NS_PER_S  # the longest time between two readings of a large queue
_REFUSED = re.compile("refused", re.IGNORECASE)
_UNANSWERED = re.compile(r"^all: |canary_answer_ns: .*(timed out|no answer|timeout)", re.IGNORECASE)
_COLUMNS = (
    "at_ns", "server", "late_ns", "canary_answer_ns", "queue_running", "queue_pending", "running_prompt_id", "missing",
)  # fmt: skip


@dataclass(slots=True)
class Stretch:
    """Readings in a row in which the same prompt ran; `prompt_id` is None where prompts waited and none ran."""

    server: str
    prompt_id: str | None
    began_ns: int
    ended_ns: int
    readings: int = 1
    answered_ns: int = 0  # of it, the time over which the server answered
    waiting_last: int = 0
    waiting_most: int = 0
    is_last: bool = True  # nothing else was seen to run afterwards


@dataclass(frozen=True, slots=True)
class _Readings:
    """Columns of readings, all of one length but `texts`, which has what the codes `ids` stand for."""

    at: Any
    ids: Any  # of what runs; -1, whose text is None, where nothing does
    texts: list[str | None]
    pending: Any
    known: Any  # the queue was told
    stuck: Any  # something runs or waits
    canary: Any
    slow: Any
    refused: Any
    unanswered: Any

    def of(self, where: Any) -> _Readings:
        """Some of them."""
        columns = {one.name: getattr(self, one.name) for one in fields(self)}
        return _Readings(**{name: column if name == "texts" else column[where] for name, column in columns.items()})


@dataclass(slots=True)
class Watch:
    """What the readings of one server show."""

    server: str
    readings: int = 0
    stretches: list[Stretch] = field(default_factory=list)
    slow: list[tuple[int, int, str | None]] = field(default_factory=list)  # when, for how long (ns), what ran
    unanswered: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    _now: Stretch | None = None
    _gap: bool = False  # the reading before was not answered

    def take(self, rows: _Readings) -> None:
        """The next readings of this server, in order of time."""
        self.readings += len(rows.known)
        at, ids = rows.at[rows.known], rows.ids[rows.known]
        if not len(at):
            self._gap = True
            return
        steps = self._steps(rows, at)
        edges = [0, *(np.flatnonzero((ids[1:] != ids[:-1]) | np.diff(rows.stuck[rows.known])) + 1).tolist(), len(at)]
        begins, ends = np.array(edges[:-1]), np.array(edges[1:])
        lasting = at[ends - 1] - at[begins] >= LEAST_NS
        lasting[[0, -1]] = True  # these may go on from the batch before, or into the next
        for begin, end in zip(begins[lasting].tolist(), ends[lasting].tolist(), strict=True):
            self._same(rows, np.flatnonzero(rows.known)[begin:end], steps[begin:end])
        self._gap = not bool(rows.known[-1])

    def _steps(self, rows: _Readings, at: Any) -> Any:
        """For each answered reading the time since the one before; 0 where the server was silent meanwhile."""
        before = self._now.ended_ns if self._now is not None else int(at[0])
        steps = np.diff(at, prepend=before)
        positions = np.flatnonzero(rows.known)
        silent = np.diff(positions, prepend=-1) > 1
        silent[0] |= self._gap
        return np.where(silent | (steps > READ_AT_LEAST_NS), 0, steps)

    def _same(self, rows: _Readings, where: Any, steps: Any) -> None:
        """Readings in a row that tell the same; a step is counted to the reading at its end."""
        first, last = int(where[0]), int(where[-1])
        prompt_id, stuck = rows.texts[rows.ids[first]], bool(rows.stuck[first])
        now = self._now
        if now is not None and (not stuck or now.prompt_id != prompt_id):
            self.close(is_last=False)
            now = None
        if not stuck:
            return
        if now is None:
            begun = int(rows.at[first])
            now = self._now = Stretch(self.server, prompt_id, begun, begun, 0)
            steps = steps[1:]  # the first one leads to its beginning
        now.answered_ns += int(steps.sum())
        now.readings += len(where)
        now.ended_ns, now.waiting_last = int(rows.at[last]), int(rows.pending[last])
        now.waiting_most = max(now.waiting_most, int(rows.pending[where].max()))

    def close(self, *, is_last: bool) -> None:
        """What ran is over, or the recording is."""
        if self._now is not None and self._now.ended_ns - self._now.began_ns >= LEAST_NS:
            self._now.is_last = is_last
            self.stretches.append(self._now)
        self._now = None


def watches(run: Run) -> Mapping[str, Watch]:
    """By server."""
    return run.once(_watches)


def _watches(run: Run) -> Mapping[str, Watch]:
    found: dict[str, Watch] = {}
    for piece in run.reader("server").in_order(_COLUMNS):
        servers, names = coded(piece["server"])
        readings = _taken(piece)
        for code, server in enumerate(names):
            where = np.flatnonzero(servers == code)
            if server is not None and where.size:
                _take(found.setdefault(server, Watch(server)), readings.of(where))
    for watch in found.values():
        watch.close(is_last=True)
    return found


def _taken(piece: pa.Table) -> _Readings:
    """What all rows of a piece tell."""
    running, pending = (_whole(piece[name], -1) for name in ("queue_running", "queue_pending"))
    ids, texts = coded(piece["running_prompt_id"])
    stuck = np.where(running > 0, ids >= 0, pending > 0)  # of what runs without a name nobody can tell that it stays
    missing, said = coded(piece["missing"])
    refused = np.array([bool(text and _REFUSED.search(text)) for text in said], dtype=bool)
    unanswered = np.array([bool(text and _UNANSWERED.search(text)) for text in said], dtype=bool) & ~refused
    canary, late = (_whole(piece[name], 0) for name in ("canary_answer_ns", "late_ns"))
    in_time = late <= LATE_NS
    return _Readings(
        at=_whole(piece["at_ns"], 0),
        ids=ids,
        texts=texts,
        pending=np.maximum(pending, 0),
        known=running >= 0,
        stuck=stuck,
        canary=canary,
        slow=(canary > SLOW_NS) & in_time,
        refused=refused[missing],
        unanswered=unanswered[missing] & in_time,
    )


def _take(watch: Watch, rows: _Readings) -> None:
    """The rows of one server of one piece."""
    slow = np.flatnonzero(rows.slow).tolist()
    watch.slow += [(int(rows.at[one]), int(rows.canary[one]), rows.texts[rows.ids[one]]) for one in slow]
    watch.refused += rows.at[rows.refused].tolist()
    watch.unanswered += rows.at[rows.unanswered].tolist()
    watch.take(rows)


def _whole(column: pa.ChunkedArray, missing: int) -> Any:  # pyarrow publishes no types
    return pc.fill_null(column, missing).to_numpy()
