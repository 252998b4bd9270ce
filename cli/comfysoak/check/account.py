"""What a check came to: its rows, and what they are about. Every output is made of this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from comfysoak.check.row import Row, State
from comfysoak.check.rows import Part
from comfysoak_core.errors import ExitCode

OURS: Final = "A mistake of ours, not of yours"  # how a row begins whose part broke


@dataclass(frozen=True, slots=True)
class Account:
    """All rows that were decided, in order. `interrupted`: the signal's name, when it ended before its end."""

    rows: tuple[Row, ...]
    target: str  # base URL of the ComfyUI; empty: none was named
    gateway: str  # its address; empty: none was named
    comfyui_version: str
    began_at: datetime
    took_s: float
    prompts_sent: int
    interrupted: ExitCode | None = None

    @property
    def counts(self) -> Mapping[State, int]:
        """How many rows there are of each state."""
        return Counter(row.state for row in self.rows)

    @property
    def exit_code(self) -> ExitCode:
        """Interrupted before all; a warning fails nothing."""
        if self.interrupted is not None:
            return self.interrupted
        return ExitCode.TARGET_NOT_READY if self.of(State.FAILED) else ExitCode.OK

    @property
    def conclusion(self) -> str:
        """`passed`, `failed` or `not valid`: in the words of verdicts."""
        if self.of(State.FAILED):
            return "failed"
        return "passed" if self.interrupted is None and self.judged else "not valid"

    @property
    def judged(self) -> int:
        """How many rows were looked at."""
        return len(self.rows) - self.counts.get(State.SKIPPED, 0)

    def of(self, state: State) -> tuple[Row, ...]:
        """The rows of one state, in order."""
        return tuple(row for row in self.rows if row.state is state)

    def to_mend(self) -> tuple[Row, ...]:
        """The rows that failed by no mistake of ours."""
        return tuple(row for row in self.of(State.FAILED) if not row.seen.startswith(OURS))

    def by_part(self) -> dict[Part, tuple[Row, ...]]:
        """The rows of each part that has any."""
        parts = {part: tuple(row for row in self.rows if row.kind.part is part) for part in Part}
        return {part: rows for part, rows in parts.items() if rows}
