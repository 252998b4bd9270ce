"""A journal that travels: what of its stretches is to be sent next, and what of them has come.

    worker   Outbox   sees its files grow, says which piece goes next, hears what the master has
    master   Inbox    says what of a piece that came is new, and where it belongs

A piece is named by file, offset and length, so that sending it twice does no harm and losing it costs sending it
again. Stretches of one process and table go in order, each whole before the next begins: to the master's recorder a
stretch with a later one beside it is complete. Pure: neither files nor sockets are touched here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from comfysoak_core.rows import TABLES

PIECE_BYTES = 128 * 1024
WINDOW_BYTES = 1024 * 1024  # sent and not yet acknowledged: bounds what a slow master lets pile up between the two
OWNERS_MOST = 2048  # processes times tables of one machine: more is no load generator of ours

_NAME = re.compile(r"(?P<owner>(?P<host>[A-Za-z0-9.-]{1,80})~[A-Za-z0-9.-]{1,80}~(?P<table>[a-z_]{1,40}))"
                   r"~(?P<sequence>\d{6,9})\.jsonl")  # fmt: skip


@dataclass(frozen=True, slots=True)
class StretchName:
    """What the file name of a stretch says; `owner` is what all stretches of one process and table share."""

    owner: str
    host: str
    sequence: int

    @classmethod
    def of(cls, name: str) -> StretchName | None:
        """The parts of a name, None for any text that is no name of a stretch: it may come from anybody."""
        match = _NAME.fullmatch(name)
        if match is None or match["table"] not in TABLES:
            return None
        return cls(match["owner"], match["host"], int(match["sequence"]))


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a stretch that are to be sent: `length` of them from `offset` on."""

    name: str
    offset: int
    length: int


@dataclass(slots=True)
class _Way:
    """How far one stretch has gone: `size` on disk, `sent`, and `had` by the master."""

    name: str
    sequence: int
    size: int = 0
    sent: int = 0
    had: int = 0


class Outbox:
    """The sending side. Nothing in it grows but with files that are not delivered."""

    def __init__(self, *, piece_bytes: int = PIECE_BYTES, window_bytes: int = WINDOW_BYTES) -> None:
        self._piece_bytes = piece_bytes
        self._window_bytes = window_bytes
        self._ways: dict[str, list[_Way]] = {}  # by owner, in the order of their sequence

    def see(self, sizes: Mapping[str, int]) -> None:
        """The files there are and their sizes.

        Names must have been listed before the first size was taken: a stretch with a later one beside it had its final
        size then.
        """
        for name in sorted(sizes):
            parts = StretchName.of(name)
            if parts is None:
                continue
            ways = self._ways.setdefault(parts.owner, [])
            way = next((found for found in ways if found.name == name), None)
            if way is None:
                way = _Way(name, parts.sequence)
                ways.append(way)
                ways.sort(key=lambda found: found.sequence)
            way.size = max(way.size, sizes[name])

    def next(self) -> Piece | None:
        """The next piece to send; None when there is none, or enough is on its way. It counts as sent from now on."""
        room = self._window_bytes - self.in_flight_bytes
        for owner, ways in self._ways.items():
            way = next((found for found in ways if found.had < found.size), None)
            if way is None or way.sent >= way.size or room <= 0:
                continue
            piece = Piece(way.name, way.sent, min(way.size - way.sent, self._piece_bytes, room))
            way.sent += piece.length
            self._ways[owner] = self._ways.pop(owner)  # the others' turn
            return piece
        return None

    def heard(self, name: str, had: int, *, again: bool = False) -> None:
        """The master has the first `had` bytes of a stretch; `again`: what was sent beyond that did not get there."""
        parts = StretchName.of(name)
        ways = self._ways.get(parts.owner, []) if parts is not None else []
        for way in ways:
            if way.name == name:
                way.had = max(way.had, min(had, way.size))
                way.sent = way.had if again else max(way.sent, way.had)

    def cut(self) -> None:
        """The connection is gone, and with it what was on its way."""
        for ways in self._ways.values():
            for way in ways:
                way.sent = way.had

    def delivered(self) -> list[str]:
        """Stretches that may be deleted, told once: the master has them whole, and something of a later one."""
        names: list[str] = []
        for ways in self._ways.values():
            while len(ways) > 1 and ways[0].had == ways[0].size and ways[1].had > 0:
                names.append(ways.pop(0).name)
        return names

    @property
    def in_flight_bytes(self) -> int:
        """Sent, and not known to have come."""
        return sum(way.sent - way.had for ways in self._ways.values() for way in ways)

    @property
    def left_bytes(self) -> int:
        """Seen, and not known to have come."""
        return sum(way.size - way.had for ways in self._ways.values() for way in ways)


@dataclass(frozen=True, slots=True)
class Taken:
    """What the receiving side makes of a piece.

    `skip` bytes at its start are known already, the rest is to be written at `at`; None: there is nothing to write.
    `again`: send from `had` on once more.
    """

    had: int
    at: int | None = None
    skip: int = 0
    again: bool = False


class Inbox:
    """The receiving side of one machine: only stretches that bear its name are taken.

    It remembers how far the latest stretch of each owner has come; all before that are whole.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._latest: dict[str, tuple[int, int]] = {}  # by owner: sequence, bytes on disk

    def take(self, name: str, offset: int, length: int) -> Taken | None:
        """What is new in a piece; None when it is not for this inbox. Call `written` when it is on disk."""
        parts = StretchName.of(name)
        if parts is None or parts.host != self._host or offset < 0 or length < 0:
            return None
        if parts.owner not in self._latest and len(self._latest) >= OWNERS_MOST:
            return None
        sequence, had = self._latest.get(parts.owner, (-1, 0))
        if parts.sequence < sequence:
            return Taken(offset + length)
        if parts.sequence > sequence:
            had = 0
        if offset > had:
            return Taken(had, again=True)
        if offset + length <= had:
            return Taken(had)
        return Taken(offset + length, at=had, skip=had - offset)

    def written(self, name: str, had: int) -> None:
        """The first `had` bytes of a stretch are on disk."""
        parts = StretchName.of(name)
        if parts is not None:
            self._latest[parts.owner] = (parts.sequence, had)
