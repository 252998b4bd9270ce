from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.recording.received import Received
from comfysoak_core.recording.transfer import Inbox, Outbox, Piece, Taken

HOST = "gpu-2"
NAMES = [f"{HOST}~load-1-77-ab~{table}~{number:06d}.jsonl" for table in ("prompts", "nodes") for number in range(3)]


@dataclass
class Line:
    """A line between the two that loses, doubles and reorders what it carries, as chance has it."""

    chance: Random
    files: dict[str, bytes]
    taken: dict[str, bytes] = field(default_factory=dict)
    out: Outbox = field(default_factory=lambda: Outbox(piece_bytes=5, window_bytes=20))
    into: Inbox = field(default_factory=lambda: Inbox(HOST))
    pieces: list[Piece] = field(default_factory=list)
    answers: list[tuple[str, int, bool]] = field(default_factory=list)

    def step(self) -> None:
        """One thing happens."""
        match self.chance.randrange(8):
            case 0 | 1 | 2:
                piece = self.out.next()
                self.pieces += [piece] * self.chance.choice([1, 1, 1, 2]) if piece else []
            case 3 | 4:
                self._carry()
            case 5 | 6 if self.answers:
                name, had, again = self.answers.pop(self.chance.randrange(len(self.answers)))
                self.out.heard(name, had, again=again)
            case 7 if self.chance.random() < 0.2:
                self.cut()

    def cut(self) -> None:
        """What was on its way is gone, in both directions."""
        self.pieces.clear()
        self.answers.clear()
        self.out.cut()

    def _carry(self) -> None:
        if self.pieces:
            piece = self.pieces.pop(self.chance.randrange(len(self.pieces)))
            if self.chance.random() < 0.9:
                self._arrive(piece)

    def _arrive(self, piece: Piece) -> None:
        data = self.files[piece.name][piece.offset : piece.offset + piece.length]
        taken = self.into.take(piece.name, piece.offset, piece.length)
        assert taken is not None
        if taken.at is not None:
            assert taken.at == len(self.taken.get(piece.name, b"")), "a hole"
            self.taken[piece.name] = self.taken.get(piece.name, b"") + data[taken.skip :]
            self.into.written(piece.name, taken.had)
        self.answers.append((piece.name, taken.had, taken.again))


@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 40), min_size=6, max_size=6))
def test_whatever_the_line_does_the_files_arrive_as_they_were(seed: int, sizes: list[int]) -> None:
    """Loss, doubling, reordering and cuts: what has arrived is a prefix at any time and the whole at the end."""
    chance = Random(seed)
    line = Line(chance, {name: chance.randbytes(size) for name, size in zip(NAMES, sizes, strict=True)})
    seen = dict.fromkeys(NAMES, 0)
    for _ in range(300):
        grown = chance.choice(NAMES)
        earlier = [name for name in NAMES if name < grown and name.split("~")[2] == grown.split("~")[2]]
        if all(seen[name] == len(line.files[name]) for name in earlier):  # as a journal grows: one after the other
            seen[grown] = min(seen[grown] + chance.randrange(1, 20), len(line.files[grown]))
        line.out.see({name: size for name, size in seen.items() if size})
        line.step()
        assert line.out.in_flight_bytes <= 20
        for name, data in line.taken.items():
            assert line.files[name].startswith(data)
            assert all(line.taken[before] == line.files[before] for before in _before(name))
    line.out.see({name: len(data) for name, data in line.files.items()})
    line.cut()
    while (piece := line.out.next()) is not None:
        line._arrive(piece)
        for name, had, again in line.answers:
            line.out.heard(name, had, again=again)
        line.answers.clear()
    assert line.taken == line.files
    assert line.out.left_bytes == 0


def _before(name: str) -> list[str]:
    return [other for other in NAMES if other.split("~")[2] == name.split("~")[2] and other < name]


def test_a_stretch_is_deleted_when_a_later_one_has_begun_to_arrive() -> None:
    """The last stretch of a process stays: it may still grow."""
    out = Outbox()
    out.see({NAMES[0]: 10, NAMES[1]: 10})
    assert out.next() == Piece(NAMES[0], 0, 10)
    assert out.next() is None, "the next stretch begins when this one has arrived"
    out.heard(NAMES[0], 10)
    assert out.delivered() == []
    assert out.next() == Piece(NAMES[1], 0, 10)
    out.heard(NAMES[1], 10)
    assert out.delivered() == [NAMES[0]]
    assert out.delivered() == []


def test_enough_on_its_way_is_enough() -> None:
    """No piece is given out beyond the window, until something of it has arrived."""
    out = Outbox(piece_bytes=10, window_bytes=25)
    out.see({NAMES[0]: 100})
    assert [out.next(), out.next(), out.next(), out.next()] == [
        Piece(NAMES[0], 0, 10),
        Piece(NAMES[0], 10, 10),
        Piece(NAMES[0], 20, 5),
        None,
    ]
    out.heard(NAMES[0], 10)
    assert out.next() == Piece(NAMES[0], 25, 10)


@pytest.mark.parametrize(
    "name",
    [
        "../run.json",
        f"../{NAMES[0]}",
        "/etc/passwd",
        f"{HOST}~load~prompts~000000.jsonl/../../x",
        f"{HOST}~load~passwords~000000.jsonl",
        f"{HOST}~load~prompts~000000.jsonl\n",
        f"{HOST}~load~prompts~0.jsonl",
        f"{HOST}~..~prompts~000000.jsonl~",
        "supervisor~supervisor-1-aa~events~000000.jsonl",
        "gpu-3~load-1-77-ab~prompts~000000.jsonl",
        "",
        "x" * 5000,
    ],
)
def test_only_stretches_of_the_machine_itself_are_taken(name: str) -> None:
    """No name leads out of the journal, and none to what another process writes."""
    assert Inbox(HOST).take(name, 0, 10) is None


def test_a_machine_cannot_have_files_without_end() -> None:
    """Beyond a bound no further process of a machine is taken."""
    inbox = Inbox(HOST)
    taken = []
    for number in range(3000):
        name = f"{HOST}~load-{number}~prompts~000000.jsonl"
        found = inbox.take(name, 0, 1)
        if found is not None:
            inbox.written(name, 1)
            taken.append(name)
    assert len(taken) == 2048


def test_pieces_land_on_disk_once_and_damaged_ones_are_asked_for_again(tmp_path: Path) -> None:
    """What was sent twice is there once; a piece whose checksum is wrong leaves nothing behind."""
    received = Received(tmp_path, HOST, left_free_bytes=0)
    assert received.take(NAMES[0], 0, b"first\n", zlib.crc32(b"first\n")) == Taken(6, at=0)
    assert received.take(NAMES[0], 6, b"broken", 1) == Taken(6, again=True)
    assert received.take(NAMES[0], 0, b"first\nsecond\n", zlib.crc32(b"first\nsecond\n")) == Taken(13, at=6, skip=6)
    assert received.take(NAMES[0], 0, b"first\n", zlib.crc32(b"first\n")) == Taken(13)
    assert received.take(NAMES[1], 0, b"x", zlib.crc32(b"x")) == Taken(1, at=0)
    assert (tmp_path / NAMES[0]).read_bytes() == b"first\nsecond\n"
    (tmp_path / NAMES[0]).unlink()  # the recorder has moved it into the tables
    assert received.take(NAMES[0], 13, b"late", zlib.crc32(b"late")) == Taken(17)
    received.sync()
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[1]]


def test_a_disk_without_room_takes_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    """A piece that was refused comes again when there is room."""
    full = Received(tmp_path, HOST, left_free_bytes=1 << 60)
    with pytest.raises(OSError, match="left on the disk"):
        full.take(NAMES[0], 0, b"first\n", zlib.crc32(b"first\n"))
    full._left_free_bytes = 0
    assert full.take(NAMES[0], 0, b"first\n", zlib.crc32(b"first\n")) == Taken(6, at=0)
