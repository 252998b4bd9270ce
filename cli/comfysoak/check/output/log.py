"""What happens, as lines of JSON for whatever gathers logs: `{"at": ..., "event": ..., ...}`, one a line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from comfysoak.check.account import Account
from comfysoak.check.output.document import row_of
from comfysoak.check.row import Row


class Log:
    """Writes lines until nobody takes them any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_wanted = True

    def write(self, event: str, **fields: Any) -> None:
        """One event, with fields that JSON can hold; `at` is UTC."""
        if self._is_wanted:
            line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | fields
            try:
                self._stream.write(f"{orjson.dumps(line).decode()}\n")
                self._stream.flush()
            except OSError:
                self._is_wanted = False

    def row(self, row: Row) -> None:
        """A row that was decided."""
        self.write("row", **row_of(row))

    def ended(self, account: Account) -> None:
        """How the check came out."""
        counts = {state.value: count for state, count in account.counts.items()}
        self.write("ended", conclusion=account.conclusion, exit_code=int(account.exit_code), counts=counts)
