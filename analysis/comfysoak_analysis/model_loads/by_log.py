"""Loads by lines of the server's log.

A call of the server that loads models prints, without another line of loading between: `Requested to load X` for each
model that is not there yet; perhaps `N models unloaded.`; then, in the same order, one line for each model it moved.
Only a staged one is named again. Versions before 0.33 go through the models in the order of a set, but through the
same one twice. What is printed more: a model that is there only partially says so again at each use, with no request.
What is printed less: a model that shares the weights of one that is there (another LoRA strength, a sampling patch)
is requested, and nothing is moved for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd

from comfysoak_analysis.model_loads.load import ModelLoad, Source

MIB = 1024**2
_STAGED = re.compile(r"\. ([0-9]{1,9})MB Staged")
_REQUESTED, _LOADED, _STAGED_KIND, _EXECUTED = "model_requested", "model_loaded", "model_staged", "prompt_executed"
_ALL_GONE = ("oom", "cache_emptied", "ready")  # no model is there after such a line
_FAILED = ("exception", "oom", "worker_died", "ready")  # what was being loaded may not have got there
_LOST = "lost"
KINDS = (_REQUESTED, _LOADED, _STAGED_KIND, _EXECUTED, *_ALL_GONE, "exception", "worker_died")


@dataclass(frozen=True, slots=True)
class _Line:
    at: pd.Timestamp
    kind: str
    model: str | None
    size_bytes: float | None
    text: str


@dataclass(slots=True)
class _Batch:
    """What one call of the server has said so far."""

    requests: list[_Line] = field(default_factory=list)
    loaded: list[_Line] = field(default_factory=list)
    staged: list[_Line] = field(default_factory=list)


def by_log(log: pd.DataFrame, gaps: Sequence[pd.Timestamp], server: str) -> Iterator[ModelLoad]:
    """The loads that the lines of one server tell; at each of `gaps` lines were lost."""
    batch, held, after_gap = _Batch(), set[str](), False
    for line in _lines(log, gaps):
        if line.kind == _REQUESTED:
            if batch.loaded or batch.staged:
                yield from _close(batch, held, server, failed=False)
            batch.requests.append(line)
        elif line.kind == _STAGED_KIND:
            batch.staged.append(line)
        elif line.kind == _LOADED:
            if not batch.requests and after_gap:
                yield _load(line, line, server)  # its request was among the lines that were lost
            elif batch.requests:
                batch.loaded.append(line)
        else:
            yield from _close(batch, held, server, failed=line.kind in (*_FAILED, _LOST))
            if line.kind in _ALL_GONE:
                held.clear()
        after_gap = line.kind == _LOST or (after_gap and line.kind == _LOADED)
    yield from _close(batch, held, server, failed=True)


def _lines(log: pd.DataFrame, gaps: Sequence[pd.Timestamp]) -> list[_Line]:
    rows = log[log["kind"].isin(KINDS)]
    columns = (rows[name] for name in ("at", "kind", "model", "loaded_bytes", "text"))
    lines = [
        _Line(at, kind, None if pd.isna(model) else str(model), None if pd.isna(size) else float(size), str(text))
        for at, kind, model, size, text in zip(*columns, strict=True)
    ]
    lines += [_Line(at, _LOST, None, None, "") for at in gaps]
    return sorted(lines, key=lambda line: line.at)  # stable: lines of one moment keep the order they were written in


def _close(batch: _Batch, held: set[str], server: str, *, failed: bool) -> Iterator[ModelLoad]:
    """What came of the requests. Without an end, and with its weights there already, one is no load at all."""
    ends = _ends(batch, held)
    for request in batch.requests:
        end = ends.get(id(request))
        if end is None and not failed and request.model in held:
            continue
        yield _load(request, end, server)
    held |= {request.model for request in batch.requests if request.model and (id(request) in ends or not failed)}
    batch.requests, batch.loaded, batch.staged = [], [], []


def _ends(batch: _Batch, held: set[str]) -> dict[int, _Line]:
    """Which line tells the end of which request: by name where there is one, else by the order."""
    ends: dict[int, _Line] = {}
    for line in [line for line in (*batch.staged, *batch.loaded) if line.model]:
        named = (one for one in batch.requests if one.model == line.model and id(one) not in ends)
        if (request := next(named, None)) is not None:
            ends[id(request)] = line
    lines = [line for line in batch.loaded if not line.model]
    open_ones = [request for request in batch.requests if id(request) not in ends]
    if len(lines) < len(open_ones):
        new = [request for request in open_ones if request.model not in held]
        open_ones = new if len(new) == len(lines) else open_ones  # those there already needed no move
    elif len(lines) > len(open_ones):
        whole = [line for line in lines if "partially" not in line.text]
        lines = whole if len(whole) == len(open_ones) else lines  # those there partially say so again
    ends.update({id(request): line for request, line in zip(open_ones, lines, strict=False)})
    return ends


def _load(first: _Line, end: _Line | None, server: str) -> ModelLoad:
    """One load by its request and its end; by its end alone it has no duration, nor when it was staged."""
    staged = end is not None and end.kind == _STAGED_KIND
    return ModelLoad(
        server,
        first.model,
        first.at,
        None if end is None or staged or end is first else end.at,
        _size(end),
        Source.LOG,
        partial=end is not None and "partially" in end.text,
        staged=staged,
    )


def _size(end: _Line | None) -> float | None:
    if end is None or end.kind != _STAGED_KIND:
        return None if end is None else end.size_bytes
    match = _STAGED.search(end.text)
    return None if match is None else float(match[1]) * MIB
