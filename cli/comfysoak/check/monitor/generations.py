"""Everybody's generations, from what is new in /history between two looks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.ending import ending_of_failure
from comfysoak_core.comfyui.history import HistoryEntry

MS_PER_S: Final = 1000
IDS_KEPT: Final = 512


@dataclass(frozen=True, slots=True)
class Generation:
    """One prompt of anybody that has ended. `took_s`: by the server's clock, without its wait."""

    prompt_id: str
    succeeded: bool
    code: Code | None
    took_s: float | None
    why: str = ""

    @classmethod
    def of(cls, entry: HistoryEntry) -> Generation:
        """What an entry says; one without a readable status counts as a success, as it has ended with outputs."""
        took_ms = None
        if entry.started_ms is not None and entry.ended_ms is not None and entry.ended_ms >= entry.started_ms:
            took_ms = entry.ended_ms - entry.started_ms
        took_s = None if took_ms is None else took_ms / MS_PER_S
        if entry.failure is None:
            return cls(entry.prompt_id, entry.succeeded is not False, None, took_s)
        ending = ending_of_failure(entry.failure, interrupt_asked=True)  # by whom is not known here
        why = ": ".join(part for part in (ending.error_type, ending.error_message) if part) or str(ending.outcome)
        return cls(entry.prompt_id, succeeded=False, code=ending.code, took_s=took_s, why=why)

    @property
    def was_interrupted(self) -> bool:
        """Somebody took it back: neither a success nor a fault of the server."""
        return not self.succeeded and self.code is None


@dataclass(slots=True)
class Ended:
    """Which entries of /history were seen. The first page is where it begins: what had ended before is not counted."""

    _seen: dict[str, None] = field(default_factory=dict)  # in order, the newest last
    _latest_ms: int = -1
    _has_begun: bool = False

    def needs_more(self, page: Sequence[HistoryEntry]) -> bool:
        """Whether there may be new ones before this page, which holds none that is known."""
        if not self._has_begun or not page or any(entry.prompt_id in self._seen for entry in page):
            return False
        return (page[0].ended_ms or 0) > self._latest_ms

    def new_of(self, page: Sequence[HistoryEntry]) -> tuple[Generation, ...]:
        """Those of the newest page (oldest first) that have ended since the last one.

        Entries that come into the page because newer ones were deleted are old: they stand before one that is known,
        or ended before the last one that was seen did.
        """
        known = [index for index, entry in enumerate(page) if entry.prompt_id in self._seen]
        fresh = [entry for entry in page[known[-1] + 1 if known else 0 :] if self._is_new(entry)]
        had_begun, self._has_begun = self._has_begun, True
        for entry in page:
            self._seen.pop(entry.prompt_id, None)
            self._seen[entry.prompt_id] = None
            self._latest_ms = max(self._latest_ms, entry.ended_ms or -1)
        for old in list(self._seen)[:-IDS_KEPT]:
            del self._seen[old]
        return tuple(map(Generation.of, fresh)) if had_begun else ()

    def restarted(self) -> None:
        """The server has forgotten all: whatever it has now is new."""
        self._seen, self._latest_ms, self._has_begun = {}, -1, True

    def _is_new(self, entry: HistoryEntry) -> bool:
        return entry.prompt_id not in self._seen and (entry.ended_ms is None or entry.ended_ms >= self._latest_ms)
