"""What must be put back at a gateway, kept in a file while it is changed, so that it outlives a process that is killed.

One file for each gateway, in the user's state folder, for the user's eyes only (0600). It holds one key with its two
values, and no secret: what may hold one is not changed. A check that finds one whose process is gone puts the value
back, unless somebody has changed it since.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from comfysoak_core.comfyui.json_text import document_or_none

Value = bool | int | str | list[Any]
_FOLDER: Final = "comfysoak"
_MOST_BYTES: Final = 4 * 1024 * 1024  # a mapping is written by hand, and no longer than this


@dataclass(frozen=True, slots=True)
class Owed:
    """`key` at this gateway is `now`, and was `was`."""

    gateway: str
    read: str  # the route that has it
    update: str
    key: str  # within a part of the configuration: `part.key`
    was: Value
    now: Value
    pid: int

    @property
    def is_orphaned(self) -> bool:
        """Whether the check that changed it is gone."""
        if self.pid == os.getpid():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


def path_of(gateway: str, environment: Mapping[str, str]) -> Path:
    """Where it is kept."""
    base = environment.get("XDG_STATE_HOME", "")
    folder = Path(base) if Path(base).is_absolute() else Path(environment.get("HOME", "/")) / ".local" / "state"
    return folder / _FOLDER / f"gateway-{hashlib.sha256(gateway.encode()).hexdigest()[:16]}.json"


def keep(owed: Owed, path: Path) -> None:
    """Write it down, whole and on disk, before anything is changed. OSError when that is not possible."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(written, orjson.dumps(asdict(owed)))
        os.fsync(written)
    finally:
        os.close(written)


def kept(path: Path) -> Owed | None:
    """What an earlier check owes; None: nothing that can be read."""
    try:
        with path.open("rb") as file:
            found = document_or_none(file.read(_MOST_BYTES))
    except OSError:
        return None
    try:
        owed = Owed(**found) if isinstance(found, dict) else None
    except TypeError:
        return None
    return owed if owed is not None and _is_sound(owed) else None


def drop(path: Path) -> None:
    """It has been put back."""
    with suppress(OSError):
        path.unlink()


def _is_sound(owed: Owed) -> bool:
    texts = (owed.gateway, owed.read, owed.update, owed.key)
    values = (owed.was, owed.now)
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(value, int | str | list) for value in values)
        and type(owed.pid) is int
        and owed.pid > 0
    )
