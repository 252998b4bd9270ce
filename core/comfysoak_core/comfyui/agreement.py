"""Do the two channels agree? What a prompt's socket told, beside what its history entry says."""

from __future__ import annotations

from collections.abc import Iterator

from comfysoak_core.comfyui.heard import Heard
from comfysoak_core.comfyui.history import HistoryEntry, OutputFile

MAX_NAMED = 5


def disagreements(heard: Heard, entry: HistoryEntry, *, listened: bool) -> Iterator[str]:
    """Each thing they tell differently; what fell into a gap between two sockets is no disagreement.

    `listened`: there was meant to be a socket.
    """
    if heard.knows_how and entry.succeeded is not None and heard.succeeded != entry.succeeded:
        said, wrote = ("success", "failure") if heard.succeeded else ("failure", "success")
        yield f"the socket told of {said}, history of {wrote}"
    if listened and heard.gaps == 0 and heard.ended_ns is None:
        yield "history had its end, its socket had not told of it"
    if heard.started_server_ms is not None and entry.started_ms not in (None, heard.started_server_ms):
        yield f"execution_start: the socket told {heard.started_server_ms} ms, history {entry.started_ms} ms"
    if heard.knows_how and heard.ended_server_ms is not None and entry.ended_ms not in (None, heard.ended_server_ms):
        yield f"the end: the socket told {heard.ended_server_ms} ms, history {entry.ended_ms} ms"
    if heard.heard_all:
        yield from _nodes(heard, entry)


def _nodes(heard: Heard, entry: HistoryEntry) -> Iterator[str]:
    """Of a prompt of which the socket told everything."""
    if heard.cached is not None and entry.cached is not None:
        cached = heard.ids.intersection(entry.cached)
        if cached != heard.cached:
            yield f"cached nodes: the socket told {_named(heard.cached)}, history {_named(cached)}"
    if heard.failure is not None and entry.failure is not None and heard.failure.node_id != entry.failure.node_id:
        yield f"failed node: the socket told {heard.failure.node_id}, history {entry.failure.node_id}"
    if heard.succeeded and entry.succeeded:
        told, kept = {_file(file) for file in heard.files}, {_file(file) for file in entry.files}
        if told != kept:
            yield f"outputs: only the socket told {_named(told - kept)}, only history {_named(kept - told)}"


def _file(file: OutputFile) -> str:
    return f"{file.node_id}:{file.type}/{file.subfolder}/{file.filename}"


def _named(names: frozenset[str] | set[str]) -> str:
    shown = sorted(names)[:MAX_NAMED]
    return ", ".join(name[:100] for name in shown) + (", ..." if len(names) > MAX_NAMED else "") if shown else "none"
