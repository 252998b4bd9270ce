"""Text of others on a terminal: what could move the cursor or set the title is taken out."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


def printable(text: str) -> str:
    """`text` on one line, with every run of control characters as one space."""
    return _CONTROL.sub(" ", text)
