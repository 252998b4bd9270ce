"""What the readings of each server's queue show over time: prompts that run for long, and answers that came late.

One pass over the table of servers keeps little of it: who ran longer than `LEAST_NS`, and each reading that was slow,
refused or not answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from comfysoak_analysis.findings.once import once
from comfysoak_analysis.frames import Run
from comfysoak_core.clock import NS_PER_S

LEAST_NS = 20 * NS_PER_S  # what runs for less is not kept
SLOW_NS = NS_PER_S  # an answer that takes longer is a slow one
LATE_NS = NS_PER_S // 2  # a reading that began so late was held up by our own machine
READ_AT_LEAST_NS = 65 * NS_PER_S  # the longest time between two readings of a large queue
_REFUSED, _UNANSWERED = "refused", r"^all: |canary_answer_ns: .*(timed out|no answer|timeout)"
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
    """Columns of readings, all of one length."""

    at: Any
    ids: Any  # of what runs; None where nothing does
    pending: Any
    known: Any  # the queue was told
    stuck: Any  # something runs or waits


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
        prompt_id, stuck = rows.ids[first], bool(rows.stuck[first])
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


@once
def watches(run: Run) -> Mapping[str, Watch]:
    """By server."""
    found: dict[str, Watch] = {}
    for batch in run.recording.stream("server", columns=_COLUMNS):
        table = pa.Table.from_batches([batch])
        for server in pc.unique(table["server"]).to_pylist():
            part = table.filter(pc.equal(table["server"], server)) if server is not None else table.slice(0, 0)
            if part.num_rows:
                _take(found.setdefault(server, Watch(server)), part)
    for watch in found.values():
        watch.close(is_last=True)
    return found


def _take(watch: Watch, table: pa.Table) -> None:
    """The rows of one server of one batch."""
    at = table["at_ns"].to_numpy()
    canary, late = (_whole(table[name], 0) for name in ("canary_answer_ns", "late_ns"))
    slow = np.flatnonzero((canary > SLOW_NS) & (late <= LATE_NS))
    ids = table["running_prompt_id"]
    watch.slow += [(int(at[one]), int(canary[one]), ids[int(one)].as_py()) for one in slow]
    missing = pc.fill_null(table["missing"], "")
    refused = pc.match_substring(missing, _REFUSED, ignore_case=True)
    unanswered = pc.and_(pc.match_substring_regex(missing, _UNANSWERED, ignore_case=True), pc.invert(refused))
    watch.refused += at[refused.to_numpy()].tolist()
    watch.unanswered += at[unanswered.to_numpy() & (late <= LATE_NS)].tolist()
    running, pending = (_whole(table[name], -1) for name in ("queue_running", "queue_pending"))
    texts = np.asarray(ids.to_pylist(), dtype=object)
    named = table["running_prompt_id"].is_valid().to_numpy()
    stuck = np.where(running > 0, named, pending > 0)  # of what runs without a name nobody can tell that it stays
    watch.take(_Readings(at, texts, np.maximum(pending, 0), running >= 0, stuck))


def _whole(column: Any, missing: int) -> Any:  # pyarrow publishes no types
    return pc.fill_null(column, missing).to_numpy()
