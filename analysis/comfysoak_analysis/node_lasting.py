"""How long nodes ran in measured prompts: exact, although there are five rows a prompt and no room for their ids.

Nodes belong to prompts by id. Prompts that are not measured (a warm-up, a canary, what was aborted) are the few: their
ids are looked for, and only in those pieces of the table that lie in their time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import coded, moments_in
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.parquet import Group

_LABELS = ("node_class", "workflow", "server")
_TIMES = ("started_ns", "ended_ns", "in_gap")
UNKNOWN = "(unknown)"
_MARGIN_NS = 60 * NS_PER_S  # what is told of a node late


@dataclass(frozen=True, slots=True)
class NodeTimes:
    """How long nodes of one class ran."""

    node_class: str
    count: int
    median_s: float
    p95_s: float
    max_s: float
    total_s: float


def node_lasted_s(run: Run, node: str | None, workflow: str | None, server: str | None) -> pd.Series:
    """How long each node ran; of one class, workflow or server where that is named."""
    wanted = {name: value for name, value in zip(_LABELS, (node, workflow, server), strict=True) if value is not None}
    others, groups = _others(run), run.reader("nodes").groups()
    found = [_measured_s(group, others)[_matching(group.table(_LABELS), wanted)] for group in groups]
    known = np.concatenate(found) if found else np.empty(0, np.float32)
    return pd.Series(known[~np.isnan(known)])


class TimesOfNodes:
    """Collects, while the table of nodes is read, how long those of measured prompts ran."""

    def __init__(self, run: Run) -> None:
        self._others = _others(run)
        self._by_class: dict[str, list[np.ndarray]] = {}

    def add(self, group: Group) -> None:
        """More rows."""
        lasted_s = _measured_s(group, self._others)
        codes, names = coded(group.table(("node_class",))["node_class"])
        order = np.argsort(_narrow(codes, len(names)), kind="stable")
        edges = np.searchsorted(codes[order], np.arange(-1, len(names)))
        for code, (first, last) in enumerate(pairwise(edges), -1):
            values = lasted_s[order[first:last]]
            self._by_class.setdefault(names[code] or UNKNOWN, []).append(values[~np.isnan(values)])

    def times(self) -> tuple[NodeTimes, ...]:
        """Of each class, the one that took most of all first; what was collected is let go."""
        found = [_times(name, np.concatenate(self._by_class.pop(name))) for name in sorted(self._by_class)]
        return tuple(sorted((one for one in found if one.count), key=lambda one: -one.total_s))


def _narrow(codes: np.ndarray, names: int) -> np.ndarray:
    """Of one byte where that is enough: sorted in a tenth of the time."""
    return codes.astype(np.int8) if names <= np.iinfo(np.int8).max else codes


def _times(name: str, lasted_s: np.ndarray) -> NodeTimes:
    if not lasted_s.size:
        return NodeTimes(name, 0, float("nan"), float("nan"), float("nan"), 0.0)
    total, most = float(lasted_s.sum(dtype=np.float64)), float(lasted_s.max())
    median, p95 = (float(one) for one in np.quantile(lasted_s, (0.5, 0.95), overwrite_input=True))
    return NodeTimes(name, int(lasted_s.size), median, p95, most, total)


def _matching(piece: pa.Table, wanted: dict[str, str]) -> np.ndarray:
    mask = np.ones(piece.num_rows, bool)
    for column, value in wanted.items():
        codes, names = coded(piece[column])
        mask &= np.array([name == value for name in names], dtype=bool)[codes]
    return mask


def _measured_s(group: Group, others: _Others) -> np.ndarray:
    """How long each node of a measured prompt ran; NaN of the others, and where the socket was away meanwhile."""
    times = group.table(_TIMES)
    lasted_s = _lasted_s(times)
    if others.are_near(times):
        prompts = group.table(("prompt_id",))["prompt_id"]
        lasted_s[pc.is_in(prompts, value_set=others.ids).to_numpy()] = np.nan
    return lasted_s


@dataclass(frozen=True, slots=True)
class _Others:
    """The prompts that are not measured, and when nodes of theirs may have run."""

    ids: pa.Array
    begins_ns: np.ndarray
    ends_ns: np.ndarray

    def are_near(self, piece: pa.Table) -> bool:
        """Whether any of their nodes may be in a piece."""
        if not len(self.ids) or not piece.num_rows:
            return False
        first, last = (pc.min_max(piece["started_ns"])[edge].as_py() or 0 for edge in ("min", "max"))
        return bool(((self.begins_ns <= last + _MARGIN_NS) & (self.ends_ns >= first - _MARGIN_NS)).any())


def _others(run: Run) -> _Others:
    rows = run.unmeasured
    ended = pc.fill_null(pc.max_element_wise(rows["end_received_ns"], rows["finished_ns"]), run.end_ns or 0)
    return _Others(rows["id"].combine_chunks(), pc.fill_null(rows["scheduled_ns"], 0).to_numpy(), ended.to_numpy())


def _lasted_s(times: pa.Table) -> np.ndarray:
    lasted = moments_in(times["ended_ns"]) - moments_in(times["started_ns"])
    lasted_s = (lasted.view(np.int64) / NS_PER_S).astype(np.float32)
    away = pc.fill_null(times["in_gap"], fill_value=False)
    if pc.any(away).as_py() or np.isnat(lasted).any():
        lasted_s[away.to_numpy() | np.isnat(lasted)] = np.nan
    return lasted_s
