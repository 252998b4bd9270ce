"""Where the troubleshooting guide has the entry of a code, or of a row of the check: an anchor each, with its name."""

from __future__ import annotations

from typing import Final

GUIDE: Final = "docs/troubleshooting.md"
_ONLINE: Final = "https://github.com/comfysoak/comfysoak/blob/main"


def place_of(name: str) -> str:
    """The entry in this repository, as a reader of a terminal finds it."""
    return f"{GUIDE}#{name}"


def address_of(name: str) -> str:
    """The entry online: pages are moved about, and a path relative to them would lead nowhere."""
    return f"{_ONLINE}/{place_of(name)}"
