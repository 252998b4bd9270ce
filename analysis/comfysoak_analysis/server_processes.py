"""The processes of servers over the run, in one pass: what each used at most, and its memory over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from comfysoak_analysis.buckets import Buckets
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import Held, Part, Track, parts

SERVER = "server"
SERVER_ROLES = (SERVER, "server_child", "proxy")
_COLUMNS = ("rss_bytes", "cpu_ratio", "handles", "connections")
_LABELS = ("host", "role", "name", "started_ns", "server")


@dataclass(slots=True)
class ServerProcess:
    """One process; one that began anew under an old number is another."""

    host: str
    pid: int
    role: str
    name: str
    told: dict[str, Held]
    memory: Track
    server: str | None = None  # its address, where that is known

    def most(self, column: str) -> float:
        """The largest value; NaN where it was not told."""
        return self.told[column].most

    def mean(self, column: str) -> float:
        """The mean of all readings; NaN where there is none."""
        held = self.told[column]
        return held.total / held.count if held.count else float("nan")

    def memory_track(self) -> Buckets:
        """Resident memory on the coarse grid."""
        return self.memory.buckets()


def server_processes(run: Run) -> tuple[ServerProcess, ...]:
    """All of them, those with most memory first."""
    return run.once(_server_processes)


def serving(run: Run) -> tuple[ServerProcess, ...]:
    """Those that were servers of a known address themselves; one that was started again has several."""
    found = [one for one in server_processes(run) if one.role == SERVER and one.server]
    return tuple(sorted(found, key=lambda one: (one.server or "", one.host, one.pid)))


def _server_processes(run: Run) -> tuple[ServerProcess, ...]:
    found: dict[tuple[str, int, int], ServerProcess] = {}
    for part in parts(run.reader("processes"), "processes", "pid", _COLUMNS, _LABELS):
        for labels, rows in _by_labels(part):
            host, role, name, started_ns, server = labels
            if role not in SERVER_ROLES:
                continue
            key = str(host), int(part.subject), int(started_ns or 0)
            if key not in found:
                told = {column: Held(0, 0) for column in _COLUMNS}
                found[key] = ServerProcess(key[0], key[1], "", "", told, Track(run.coarse, run.start_ns or 0))
            one = found[key]
            one.role, one.name = str(role), str(name) if name is not None else ""
            one.server = str(server) if server is not None else one.server
            for column, held in one.told.items():
                held.add(part.at_ns[rows], part.values[column][rows])
            one.memory.add(part.at_ns[rows], part.values["rss_bytes"][rows])
    ordered = sorted(found.items(), key=lambda one: (-np.nan_to_num(one[1].most("rss_bytes")), one[0]))
    return tuple(process for _, process in ordered)


def _by_labels(part: Part) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
    """The rows of each combination of labels, in the order in which these first appear."""
    codes = np.stack([part.texts[label][0] for label in _LABELS], axis=1)
    if (codes == codes[0]).all():
        yield _names(part, codes[0]), np.arange(len(codes))
        return
    combinations, first, which = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    for place in np.argsort(first).tolist():
        yield _names(part, combinations[place]), np.flatnonzero(which.ravel() == place)


def _names(part: Part, codes: np.ndarray) -> tuple[Any, ...]:  # texts and numbers
    return tuple(part.texts[label][1][code] for label, code in zip(_LABELS, codes.tolist(), strict=True))
