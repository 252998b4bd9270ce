"""What came of looking at one thing: its state, what was seen, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from comfysoak.check.rows import RowKind
from comfysoak_core.codes import Code


class State(StrEnum):
    """How it is. A warning does not fail the check; what was not looked at is skipped, with the reason."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `seen` has the evidence in one or two sentences; of a skipped row, why.

    `remedy` says what to do, and is never empty for a warning or a failure. `code` is what the catalogue of failures
    calls it, where it has a name for it. Texts may hold what servers said: who shows them makes them harmless.
    """

    kind: RowKind
    state: State
    seen: str
    remedy: str = ""
    code: Code | None = None
    took_s: float | None = None

    def __post_init__(self) -> None:
        """A complaint without a remedy is a mistake of ours."""
        if self.state in {State.WARNING, State.FAILED} and not self.remedy:
            raise ValueError(f"{self.kind.id} complains and says not what to do")
