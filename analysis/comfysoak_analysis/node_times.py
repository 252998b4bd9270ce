"""How long nodes ran in measured prompts: exact, although there are five rows a prompt and no room for their ids.

Nodes belong to prompts by id. Prompts that are not measured (a warm-up, a canary, what was aborted) are the few: their
ids are looked for, and only in those pieces of the table that lie in their time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import coded
from comfysoak_analysis.prompts import NOT_INTENDED, is_counted
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Role

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


def node_times(run: Run) -> tuple[NodeTimes, ...]:
    """Of each class, the one that took most of all first."""
    return run.once(_node_times)


def node_lasted_s(run: Run, node: str | None, workflow: str | None, server: str | None) -> pd.Series:
    """How long each node ran; of one class, workflow or server where that is named."""
    wanted = {name: value for name, value in zip(_LABELS, (node, workflow, server), strict=True) if value is not None}
    found = [lasted_s[_matching(piece, wanted)] for piece, lasted_s in _measured(run)]
    known = np.concatenate(found) if found else np.empty(0, np.float32)
    return pd.Series(known[~np.isnan(known)])


def _node_times(run: Run) -> tuple[NodeTimes, ...]:
    by_class: dict[str, list[np.ndarray]] = {}
    for piece, lasted_s in _measured(run):
        codes, names = coded(piece["node_class"])
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(-1, len(names)))
        for code, (first, last) in enumerate(pairwise(edges), -1):
            values = lasted_s[order[first:last]]
            by_class.setdefault(names[code] or UNKNOWN, []).append(values[~np.isnan(values)])
    found = [_times(name, np.concatenate(by_class.pop(name))) for name in sorted(by_class)]
    return tuple(sorted((one for one in found if one.count), key=lambda one: -one.total_s))


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


def _measured(run: Run) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Nodes of measured prompts in pieces, and how long each ran; NaN where the socket was away meanwhile."""
    others = _others(run)
    for piece in run.reader("nodes").pieces_with((*_LABELS, *_TIMES), "prompt_id", others.are_near):
        lasted_s = _lasted_s(piece)
        if "prompt_id" in piece.column_names:
            lasted_s[pc.is_in(piece["prompt_id"], value_set=others.ids).to_numpy()] = np.nan
        yield piece, lasted_s


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
    columns = ("id", "scheduled_ns", "end_received_ns", "finished_ns")
    seen = ("role", "phase", "outcome")
    rows = pa.concat_tables(
        [*run.reader("prompts").rows_where(columns, seen, lambda piece: _is_other(run, piece)),
         run.reader("prompts").none(columns)]
    )  # fmt: skip
    ended = pc.fill_null(pc.max_element_wise(rows["end_received_ns"], rows["finished_ns"]), run.end_ns or 0)
    return _Others(rows["id"].combine_chunks(), pc.fill_null(rows["scheduled_ns"], 0).to_numpy(), ended.to_numpy())


def _is_other(run: Run, piece: pa.Table) -> pa.ChunkedArray:
    trials = run.trial_phases
    mask = _where(piece["role"], lambda role: role == Role.CANARY.value)
    mask |= _where(piece["phase"], lambda phase: not is_counted(phase or "", trials))
    mask |= _where(piece["outcome"], lambda outcome: outcome is None or outcome in NOT_INTENDED)
    return pa.chunked_array([pa.array(mask)])


def _where(column: pa.ChunkedArray, holds: Callable[[str | None], bool]) -> np.ndarray:
    codes, names = coded(column)
    return np.array([holds(name) for name in names], dtype=bool)[codes]


def _lasted_s(piece: pa.Table) -> np.ndarray:
    lasted = pc.subtract(piece["ended_ns"], piece["started_ns"]).cast(pa.float64(), safe=False).to_numpy() / NS_PER_S
    away = pc.fill_null(piece["in_gap"], fill_value=False).to_numpy()
    return np.where(away, np.nan, lasted).astype(np.float32)
