"""What a model load is, and by what one is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pandas as pd


class Source(StrEnum):
    """What told of a load, the most trustworthy first."""

    LOG = "log"
    MEMORY = "memory"
    PROGRESS = "progress"


class Origin(StrEnum):
    """Where the weights came from."""

    COLD = "cold"  # a file had to be read for it (which may lie in the system's cache of files)
    WARM = "warm"  # they were in the server's memory, and only moved
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Place:
    """The node in whose window a load fell."""

    prompt_id: str
    node_id: str
    node_class: str | None
    workflow: str
    started: pd.Timestamp
    ended: pd.Timestamp | None


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """One move of a model's weights to where they are used.

    `ended` is None where nothing tells it: no zero is made of that. `model` is the class the log names (`SDXL`), and
    `file` what the loader node reads, by the workflow; each None where it is not told. `size_bytes` is what was moved,
    of a `staged` one what was staged.
    """

    server: str
    model: str | None
    started: pd.Timestamp
    ended: pd.Timestamp | None
    size_bytes: float | None
    source: Source
    partial: bool = False  # the server said it did not fit
    staged: bool = False  # dynamic VRAM: weights follow page by page as layers want them, and may never all be there
    ended_by: Source | None = None  # what told the end, where that is another than the one that told of the load
    place: Place | None = None
    file: str | None = None
    origin: Origin = Origin.UNKNOWN
    read_s: float | None = None  # what the loader node took to read the file, of a cold one

    @property
    def label(self) -> str:
        """What to call it: the model, else its file, else the node it was in."""
        if self.model or self.file:
            return self.model or self.file or ""
        return f"in {self.place.node_class or 'a node'}" if self.place is not None else "unnamed"

    @property
    def moved_s(self) -> float | None:
        """How long moving the weights took; None: not told."""
        return None if self.ended is None else float((self.ended - self.started).total_seconds())

    @property
    def lasted_s(self) -> float | None:
        """How long reading and moving took together; None: the move is not told."""
        return None if self.moved_s is None else self.moved_s + (self.read_s or 0.0)

    @property
    def known_until(self) -> pd.Timestamp:
        """Its end, or its start where that is all that is known."""
        return self.started if self.ended is None else self.ended
