"""From stretches of journal to the rows that count.

Of rows with one id the last counts, but what has ended stays ended: only another ended row replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfysoak_core.errors import RecordingError
from comfysoak_core.recording.journal import columns
from comfysoak_core.recording.stretch import Stretch, read_batches
from comfysoak_core.rows import Row

Values = Sequence[Any]  # a row, in the column order of its type

# Columns beside ORDERED_BY that are moments in the life of a row; deadlines are not, they may never come.
MOMENTS: dict[str, tuple[str, ...]] = {
    "prompts": ("sent_ns", "accepted_ns", "start_received_ns", "end_received_ns", "fetched_ns", "finished_ns"),
    "nodes": ("first_progress_ns", "ended_ns"),
    "sessions": ("opened_ns", "closed_ns"),
}


def moments(row_type: type[Row]) -> tuple[str, ...]:
    """The columns of a row type that say when something happened."""
    return (row_type.ORDERED_BY, *MOMENTS.get(row_type.TABLE, ()))


@dataclass(slots=True)
class Gathered:
    """Rows of one table. `carried` has the ids that were open before: nothing of them is in the tables yet."""

    row_type: type[Row]
    rows: list[Values] = field(default_factory=list)  # of tables without ids
    by_id: dict[str, Values] = field(default_factory=dict)
    carried: frozenset[str] = frozenset()
    damaged: list[Stretch] = field(default_factory=list)

    def all_rows(self) -> list[Values]:
        """Every row that counts."""
        return self.rows if self.row_type.ENDED_BY is None else list(self.by_id.values())

    def ended_rows(self) -> list[Values]:
        """The rows that are complete."""
        if self.row_type.ENDED_BY is None:
            return self.rows
        end = columns(self.row_type).index(self.row_type.ENDED_BY)
        return [row for row in self.by_id.values() if row[end] is not None]

    def open_rows(self) -> list[Values]:
        """The rows that may still change."""
        if self.row_type.ENDED_BY is None:
            return []
        end = columns(self.row_type).index(self.row_type.ENDED_BY)
        return [row for row in self.by_id.values() if row[end] is None]

    def first_seen(self) -> dict[str, int]:
        """Ids not known from before and their `ORDERED_BY`: one of them may be in the tables already."""
        if self.row_type.ENDED_BY is None:
            return {}
        at = columns(self.row_type).index(self.row_type.ORDERED_BY)
        return {
            row_id: row[at] if isinstance(row[at], int) else 0
            for row_id, row in self.by_id.items()
            if row_id not in self.carried
        }


def gather(
    row_type: type[Row],
    open_file: Path | None,
    taken: Iterable[Stretch],
    pause: Callable[[], None] = lambda: None,
) -> Gathered:
    """The rows of `open_file` (carried over from earlier) and then of the stretches `taken`, in order.

    `pause` is called between batches; it may raise to stop. Raises FileNotFoundError when a file is gone.
    """
    gathered = Gathered(row_type)
    if open_file is not None:
        _take(gathered, open_file, pause)
        gathered.carried = frozenset(gathered.by_id)
    for stretch in taken:
        try:
            _take(gathered, stretch.path, pause)
        except RecordingError:
            gathered.damaged.append(stretch)
    return gathered


def _take(gathered: Gathered, path: Path, pause: Callable[[], None]) -> None:
    for batch in read_batches(path):
        pause()
        rows = aligned(batch.rows, batch.columns, gathered.row_type)
        if gathered.row_type.ENDED_BY is None:
            gathered.rows.extend(rows)
        else:
            _take_by_id(gathered, rows, gathered.row_type.ENDED_BY)


def _take_by_id(gathered: Gathered, rows: Iterable[Values], ended_by: str) -> None:
    names = columns(gathered.row_type)
    key, end = names.index("id"), names.index(ended_by)
    for row in rows:
        row_id = row[key]
        if not isinstance(row_id, str):
            continue
        if row[end] is not None or row_id not in gathered.by_id or gathered.by_id[row_id][end] is None:
            gathered.by_id[row_id] = row


def aligned(rows: Iterable[Values], names: Sequence[str], row_type: type[Row]) -> Iterable[Values]:
    """Rows with the columns `names`, in the column order of `row_type`: None where a column is missing."""
    wanted = columns(row_type)
    if tuple(names) == wanted:
        return rows
    places = [names.index(name) if name in names else None for name in wanted]
    return [[None if place is None else row[place] for place in places] for row in rows]
