"""What happens, on stderr: lines for people, or lines of JSON (`--log-json`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from comfysoak.check.monitor.happening import Happening
from comfysoak.check.output.log import Log
from comfysoak_core.recording.redaction import redact
from comfysoak_core.terminal import printable

LONGEST: Final = 1_000  # characters of what others have said
_EVENT: Final = 13


class Logbook:
    """Writes until nobody reads it any more. Safe from all threads. Quiet: what went as it should is left out."""

    def __init__(
        self,
        stream: TextIO,
        *,
        as_json: bool,
        quiet: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stream = stream
        self._quiet = quiet
        self._now = now
        self._json = Log(stream) if as_json else None
        self._is_wanted = True
        self._lock = threading.Lock()

    def tell(self, one: Happening) -> None:
        """One more line."""
        if self._quiet and one.is_routine:
            return
        words = _harmless(one.words)
        with self._lock:
            if self._json is not None:
                self._json.write(one.event, words=words, **_fields(one.fields))
            else:
                self._line(f"{self._now():%Y-%m-%dT%H:%M:%SZ}  {one.event:<{_EVENT}}  {words}\n")

    def _line(self, line: str) -> None:
        if self._is_wanted:
            try:
                self._stream.write(line.encode(self._stream.encoding or "utf-8", "replace").decode("utf-8", "replace"))
                self._stream.flush()
            except OSError:
                self._is_wanted = False


def _fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _harmless(value) if isinstance(value, str) else value for name, value in fields.items()}


def _harmless(text: str) -> str:
    return printable(redact(text))[:LONGEST]
