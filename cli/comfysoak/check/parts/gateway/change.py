"""Changing one value of the gateway's configuration, and putting it back: also when the check is interrupted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from comfysoak.check.parts.gateway.door import Door, Who, said, status_of
from comfysoak.check.parts.gateway.owed import Owed, Value, drop, keep, kept, path_of
from comfysoak_core.comfyui.json_text import bounded
from comfysoak_core.recording.redaction import redact

_TRIES: Final = 3  # a gateway may be busy just then; it must not stay changed for that


class NotPossibleError(Exception):
    """Nothing was changed, and why: words, and what to do."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy


@dataclass(slots=True)
class Change:
    """One value that was changed. `differing`: keys that are not as they were afterwards; None: not put back yet."""

    key: str
    was: Value
    now: Value
    read_back: object = None
    also_changed: tuple[str, ...] = ()
    differing: tuple[str, ...] | None = None
    trouble: str = ""  # what the gateway said to the change
    left: str = ""  # what it said to putting it back, where that failed

    @property
    def is_back(self) -> bool:
        """Whether all is as it was."""
        return self.differing == ()


@contextmanager
def changed(door: Door, read: str, update: str, key: str, now: Value) -> Iterator[Change]:
    """`key` is `now` within the block, and what it was after it. NotPossibleError before anything is changed."""
    before = _read(door, read)
    was = value_at(before, key)
    if type(was) is not type(now) or not isinstance(was, int | str | list):
        raise NotPossibleError(f"{key} is {_short(was)} there, which is nothing to try a change with")
    if was == now:
        raise NotPossibleError(f"{key} is {_short(was)} there already")
    if isinstance(was, str) and redact(was) != was:
        raise NotPossibleError(f"{key} holds a secret, which would have to be written down to be put back")
    if (unfaithful := written_differently(before)) is not None:
        raise NotPossibleError(*unfaithful)
    path = path_of(door.url, os.environ)
    owed = Owed(door.url, read, update, key, was, now, os.getpid())
    _keep(owed, path)
    change = Change(key, was, now)
    try:
        change.trouble = _apply(door, update, with_value(before, key, now))
        after = door.read(Who.ADMIN, read)
        if isinstance(after, Mapping):
            change.read_back = value_at(after, key)
            change.also_changed = different(before, after, but=key)
        yield change
    finally:
        _put_back(door, owed, change, path, before)


def _put_back(door: Door, owed: Owed, change: Change, path: Path, before: Mapping[str, Any]) -> None:
    """As it was before. A signal that comes in the midst of it ends the check, but not this."""
    try:
        _write_back(door, owed, change, path, before)
    except KeyboardInterrupt:
        _write_back(door, owed, change, path, before)
        raise


def _write_back(door: Door, owed: Owed, change: Change, path: Path, before: Mapping[str, Any]) -> None:
    for _ in range(_TRIES):
        change.left = _written(door, owed, before)
        if not change.left:
            break
    after = door.read(Who.ADMIN, owed.read)
    if not isinstance(after, Mapping):
        change.left = change.left or said(after)
        return
    change.differing = different(before, after)
    if owed.key not in change.differing:
        drop(path)


def put_back_of_earlier(door: Door) -> str | None:
    """What a check that was killed had left changed, put back now: told in words; None: there was nothing."""
    path = path_of(door.url, os.environ)
    owed = kept(path)
    if owed is None or owed.gateway != door.url or not owed.is_orphaned:
        return None
    now = door.read(Who.ADMIN, owed.read)
    what = f"{owed.key}, which an earlier check that was killed had set to {_short(owed.now)}"
    if not isinstance(now, Mapping):
        return f"{what}, is still to be put back to {_short(owed.was)}: that takes an administrator's token"
    if value_at(now, owed.key) != owed.now:
        drop(path)
        return None  # somebody has set it since
    trouble = _written(door, owed, now)
    after = door.read(Who.ADMIN, owed.read)
    if not trouble and isinstance(after, Mapping) and value_at(after, owed.key) == owed.was:
        drop(path)
        return f"{what}, was put back to {_short(owed.was)}"
    return f"{what}, could not be put back to {_short(owed.was)}: {trouble or 'it reads otherwise'}"


def written_differently(document: Mapping[str, Any]) -> tuple[str, str] | None:
    """What an update would store otherwise than it is, so that nothing could be put back exactly; None: nothing."""
    for key, value in flat(document).items():
        if key.endswith("COMFYUI_BASE_URL") and isinstance(value, str) and value != value.strip("/"):
            why = f"{key} has a slash at its end, which any update takes away: it could not be put back exactly"
            return why, f"Set {key}={value.strip('/')}"
    for key in ("IMAGE_SIZE", "IMAGE_STEPS"):
        if key in document and document[key] is None:
            return f"{key} has no value, and an update takes none", f"Set {key}."
    return None


def different(before: Mapping[str, Any], after: Mapping[str, Any], but: str | None = None) -> tuple[str, ...]:
    """The keys that differ, in order; those within a part as `part.key`."""
    old, new = flat(before), flat(after)
    missing = object()
    return tuple(
        key for key in sorted(old.keys() | new.keys()) if key != but and old.get(key, missing) != new.get(key, missing)
    )


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the keys of its parts as `part.key`: old gateways nest them."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}.{key}": part for key, part in value.items()}
        else:
            found[name] = value
    return found


def value_at(document: Mapping[str, Any], key: str) -> Any:  # any value of JSON
    """The value of a key, or of `part.key`; None: it has none."""
    return flat(document).get(key)


def with_value(document: Mapping[str, Any], key: str, value: Value) -> dict[str, Any]:
    """The configuration with another value for a key, or for `part.key`."""
    part, _, name = key.rpartition(".")
    return {**document, part: {**document[part], name: value}} if part else {**document, name: value}


def _short(value: object) -> str:
    """A value as it may be shown: a mapping is long."""
    return bounded(redact(value if isinstance(value, str) else str(value)), 120)


def _read(door: Door, path: str) -> Mapping[str, Any]:
    found = door.read(Who.ADMIN, path)
    if not isinstance(found, Mapping):
        raise NotPossibleError(f"its configuration cannot be read: {said(found)}")
    return found


def _keep(owed: Owed, path: Path) -> None:
    try:
        keep(owed, path)
    except FileExistsError:
        raise NotPossibleError(
            f"another check changes it just now, or has left it changed: {path} says what",
            f"Look there, then: rm {path}",
        ) from None
    except OSError as error:
        raise NotPossibleError(
            f"what must be put back cannot be written down at {path} ({error.strerror}), so nothing was changed",
            "Set XDG_STATE_HOME to a folder that can be written.",
        ) from None


def _apply(door: Door, update: str, document: Mapping[str, Any]) -> str:
    """Post it; what went wrong, empty: nothing."""
    answer = door.ask(Who.ADMIN, "POST", update, dict(document))
    return "" if status_of(answer) == 200 else said(answer)


def _written(door: Door, owed: Owed, base: Mapping[str, Any]) -> str:
    """Post the value as it was, within what else stands there now; what went wrong, empty: nothing."""
    now = door.read(Who.ADMIN, owed.read)
    current = now if isinstance(now, Mapping) else base
    return _apply(door, owed.update, with_value(current, owed.key, owed.was))
