"""One measured figure: what a benchmark yields and the table shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, its goal, and its peer measured beside it in the same run.

    `ratio` is this figure against the peer's, in the direction in which more is better for us; `spread` says how far
    the runs lay apart (`min..max`).
    """

    name: str
    value: float
    unit: str
    goal: str | None = None
    met: bool | None = None
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    spread: str = ""
    runs: int = 1
