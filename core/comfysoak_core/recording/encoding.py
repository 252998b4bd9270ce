"""Rows as a line of JSON: whatever a producer took from a server, and without the secrets this process knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from comfysoak_core.recording.redaction import HIDDEN, hide, known_secrets


class RowEncoder:
    """Rows, each a tuple in column order, as a JSON list of lists."""

    def __init__(self) -> None:
        self._secrets = [orjson.dumps(secret)[1:-1] for secret in known_secrets()]
        self.values_dropped = 0  # values no JSON can hold, written as text or null

    def encode(self, rows: Sequence[tuple[Any, ...]]) -> bytes:
        """One line without its end."""
        try:
            line = orjson.dumps(rows)
        except TypeError:  # text of a server with half a character, a number beyond 64 bits
            line = orjson.dumps([tuple(map(self._encodable, row)) for row in rows])
        for secret in self._secrets:
            line = hide(line, secret, HIDDEN.encode())  # a server may say the token it was sent
        return line

    def _encodable(self, value: Any) -> Any:  # whatever a producer took from a server
        try:
            orjson.dumps(value)
        except TypeError:
            self.values_dropped += 1
            return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else None
        return value
