"""The channel between master and workers: who is let in, what is believed, what is kept out."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak.machines.crew import parse_address
from comfysoak.machines.master import Address, Master
from comfysoak.machines.roll import Roll, proof_of
from comfysoak.machines.run_folder import RunFolder
from comfysoak.machines.timekeeping import EXCHANGES, FIRST_EXCHANGES, Timekeeping
from comfysoak.machines.wire import BODY_BYTES, Frames, LineLostError, NonsenseError, Wire
from comfysoak.machines.words import (
    WORDS,
    Begin,
    Complete,
    FilePart,
    Goodbye,
    Greeting,
    Have,
    Hello,
    JournalPart,
    Ping,
    Pong,
    Prepare,
    Ready,
    Refused,
    Welcome,
    Word,
)
from comfysoak.machines.worker import Call, NoMasterError, Worker
from comfysoak_core.clock import NS_PER_S, Anchor, AnchoredClock, ManualClock
from comfysoak_core.errors import ComfySoakError, UsageError
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.run_file import HostFacts
from tests.cli.runs import eventually
from tests.load.locusting import free_ports

VERSION = "1.2.3"
NAME = "gpu-2~load-0-7-ab~events~000000.jsonl"


@pytest.fixture
def master() -> Iterator[Master]:
    """A master that expects two workers."""
    yield from opened()


@pytest.fixture
def locked() -> Iterator[Master]:
    """A master that asks for a key."""
    yield from opened(key="sesame")


def opened(key: str = "") -> Iterator[Master]:
    """A master, closed afterwards."""
    (port,) = free_ports(1)
    found = Master(Address("127.0.0.1", port), Roll(2, VERSION, key), AnchoredClock(Anchor.take()), silence_s=1.0)
    yield found
    found.close()


def hello(number: int = 1, **changes: object) -> Hello:
    """A worker introduces itself."""
    facts = HostFacts(name="gpu-2")
    return Hello(machine=f"{number:032x}", version=VERSION, processes=1, facts=facts).model_copy(update=changes)


def connect(master: Master) -> Wire:
    """A connection, greeted."""
    wire = Wire(socket.create_connection(("127.0.0.1", master.address.port), 5), 5.0)
    assert isinstance(heard(wire), Greeting)
    return wire


def heard(wire: Wire) -> Word:
    """The next thing said."""
    said = wire.receive(5)
    assert said is not None
    return said.word


def joined(master: Master, number: int = 1) -> Wire:
    """A worker that was welcomed."""
    wire = connect(master)
    wire.send(hello(number))
    assert isinstance(heard(wire), Welcome)
    return wire


def a_run(folder: Path) -> Recording:
    """A recording to work for."""
    return Recording.create(folder, "run", clock=ManualClock())


def given_a_run(master: Master, folder: Path, *wires: Wire) -> Recording:
    """All workers of the master have been handed a run and are ready."""
    recording = a_run(folder)
    handing = threading.Thread(target=master.hand_over, args=(recording.path, "run-1", 10.0, lambda: False))
    handing.start()
    for wire in wires:
        assert isinstance(heard(wire), FilePart)
        assert isinstance(heard(wire), Prepare)
        wire.send(Ready())
    handing.join(10)
    assert not handing.is_alive()
    return recording


@pytest.mark.parametrize(
    ("introduction", "why"),
    [
        (hello(version="1.2.2"), "this worker is ComfySoak 1.2.2, its master is 1.2.3"),
        (hello(run="another"), "another one is at this address"),
    ],
)
def test_who_cannot_take_part_is_refused_in_one_sentence(master: Master, introduction: Hello, why: str) -> None:
    """Another version and another run are refused, and the master goes on waiting."""
    with closing(connect(master)) as wire:
        wire.send(introduction)
        refused = heard(wire)
        assert isinstance(refused, Refused)
        assert why in refused.why
    assert master.roll.machines() == []


def test_a_master_with_a_key_takes_only_those_who_have_it(locked: Master) -> None:
    """The proof holds for one connection and one machine; what was overheard is of no use."""
    with closing(Wire(socket.create_connection(("127.0.0.1", locked.address.port), 5), 5.0)) as wire:
        greeting = heard(wire)
        assert isinstance(greeting, Greeting)
        overheard = proof_of("sesame", greeting.nonce, f"{1:032x}")
        wire.send(hello(proof=overheard))
        assert isinstance(heard(wire), Welcome)
    for proof in ("", overheard, proof_of("guess", "nonce", f"{1:032x}")):
        with closing(connect(locked)) as wire:
            wire.send(hello(proof=proof))
            refused = heard(wire)
            assert isinstance(refused, Refused)
            assert "key" in refused.why


def test_machines_of_one_name_get_names_of_their_own_and_no_more_than_expected_come(master: Master) -> None:
    """Containers often share a name; a third of two workers is told so."""
    with closing(joined(master, 1)), closing(joined(master, 2)), closing(connect(master)) as third:
        assert [machine.name for machine in master.roll.machines()] == ["gpu-2", "gpu-2-2"]
        third.send(hello(3))
        refused = heard(third)
        assert isinstance(refused, Refused)
        assert "has its 2 workers" in refused.why


def test_workers_that_do_not_come_are_told_with_the_call_that_is_missing(master: Master) -> None:
    """With how many are there and what to type."""
    said: list[str] = []
    with closing(joined(master)), pytest.raises(UsageError, match="1 of 2 workers have come") as caught:
        master.wait_for_all(0.3, lambda: False, said.append)
    assert f"comfysoak worker --master-host HOST --master-port {master.address.port}" in str(caught.value)
    assert said[-1] == "1 of 2 workers are there: gpu-2"


def test_a_port_that_is_taken_is_told_at_once(master: Master) -> None:
    """With the option that names another."""
    with pytest.raises(UsageError, match="--bind"):
        Master(master.address, Roll(1, VERSION, ""), ManualClock(), silence_s=1.0)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack(">II", 1 << 31, 0),
        struct.pack(">II", 10, 1 << 31),
        struct.pack(">II", 9, 0) + b"not JSON!",
        struct.pack(">II", 2, 0) + b"{}",
        struct.pack(">II", 17, 0) + b'{"kind":"unknown"}'[:17],
        b"\x00" * 8,
    ],
)
def test_strangers_are_shown_out_and_leave_no_trace(master: Master, said: bytes) -> None:
    """Whatever speaks something else on this port is cut off before it takes memory."""
    with closing(socket.create_connection(("127.0.0.1", master.address.port), 5)) as stranger:
        stranger.sendall(said)
        stranger.settimeout(5)
        while stranger.recv(4096):
            pass
    with closing(joined(master)):
        assert len(master.roll.machines()) == 1


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_no_bytes_break_the_reader_of_frames(data: bytes, cuts: list[int]) -> None:
    """They are frames, or they are told to be none."""
    frames = Frames()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    try:
        for start, end in itertools.pairwise(edges):
            frames.feed(data[start:end])
            while frames.next() is not None:
                pass
    except NonsenseError:
        pass


@given(word=st.sampled_from([Ping(number=3), Begin(), Have(name="x", had=1 << 40), Pong(number=1, at_ns=5)]),
       body=st.binary(max_size=50), step=st.integers(1, 20))  # fmt: skip
def test_frames_survive_any_cutting(word: Word, body: bytes, step: int) -> None:
    """However the network cuts them, the same words come out."""
    text = word.model_dump_json().encode()
    data = (struct.pack(">II", len(text), len(body)) + text + body) * 2
    frames, found = Frames(), []
    for start in range(0, len(data), step):
        frames.feed(data[start : start + step])
        while (said := frames.next()) is not None:
            found.append(said)
    assert [(said.word, said.body) for said in found] == [(word, body)] * 2


@pytest.mark.parametrize(
    "name",
    [
        "../../run.json",
        "/etc/passwd",
        "run.json",
        "gpu-3~load-0-7-ab~events~000000.jsonl",
        NAME.replace("load", "../x"),
    ],
)
def test_a_worker_cannot_write_outside_its_own_journal(master: Master, tmp_path: Path, name: str) -> None:
    """It is cut off, and the run directory is as it was."""
    with closing(joined(master, 1)) as wire, closing(joined(master, 2)) as other:
        recording = given_a_run(master, tmp_path / "runs", wire, other)
        before = sorted(tmp_path.rglob("*"))
        wire.send(JournalPart(name=name, offset=0, crc=zlib.crc32(b"x")), b"x")
        with pytest.raises(LineLostError):
            heard(wire)
        assert sorted(tmp_path.rglob("*")) == before
        assert Recording.open(recording.path).run == recording.run


def test_a_journal_arrives_once_over_reconnects_and_losses_are_told(master: Master, tmp_path: Path) -> None:
    """A worker that comes back sends what it knows nothing of, is named, and may leave when all is there."""
    with closing(joined(master, 1)) as first, closing(joined(master, 2)) as second:
        recording = given_a_run(master, tmp_path / "runs", first, second)
        master.begin()
        assert isinstance(heard(first), Begin)
        first.send(JournalPart(name=NAME, offset=0, crc=zlib.crc32(b"one\n")), b"one\n")
        assert heard(first) == Have(name=NAME, had=4)
    eventually(lambda: len(master.roll.machines(connected=True)) == 0, "the loss of both is noticed")
    with closing(connect(master)) as back:
        back.send(hello(1, run="run-1"))
        assert isinstance(heard(back), Welcome)
        assert isinstance(heard(back), Prepare)
        back.send(JournalPart(name=NAME, offset=0, crc=zlib.crc32(b"one\ntwo\n")), b"one\ntwo\n")
        assert heard(back) == Have(name=NAME, had=8)
        master.roll.is_ending = True
        back.send(Complete())
        assert isinstance(heard(back), Goodbye)
        eventually(lambda: [one.name for one in master.roll.incomplete()] == ["gpu-2-2"], "one is complete")
        assert [one.name for one in master.wait_for_journals(0.0, lambda _: False)] == ["gpu-2-2"]
    assert (recording.layout.journal / NAME).read_bytes() == b"one\ntwo\n"
    told = [(notice.kind, notice.name) for notice in master.notices()]
    assert sorted(told) == [("machine_back", "gpu-2"), ("machine_lost", "gpu-2"), ("machine_lost", "gpu-2-2")]


def test_a_worker_that_falls_silent_is_lost(master: Master) -> None:
    """Without a word for the time it was told, its connection is ended."""
    with closing(joined(master)) as wire:
        wire.send(Ping(number=1))
        assert isinstance(heard(wire), Pong)
        began_s = time.monotonic()
        with pytest.raises(LineLostError):
            wire.receive(10)
        assert time.monotonic() - began_s >= 0.9


def test_a_worker_without_a_master_says_where_it_looked(tmp_path: Path) -> None:
    """After its patience, and it leaves nothing behind."""
    (port,) = free_ports(1)
    call = Call(host="127.0.0.1", port=port, processes=1, folder=tmp_path, patience_s=0.1, version=VERSION)
    with pytest.raises(NoMasterError, match=f"127.0.0.1:{port}.*refused"):
        Worker(call, lambda _: None, lambda: False).run()
    assert list(tmp_path.iterdir()) == []


def test_a_worker_of_another_version_ends_at_once(master: Master, tmp_path: Path) -> None:
    """It does not try again what cannot work."""
    call = Call("127.0.0.1", master.address.port, 1, tmp_path, patience_s=60, version="0.9")
    with pytest.raises(UsageError, match=r"this worker is ComfySoak 0\.9, its master is 1\.2\.3"):
        Worker(call, lambda _: None, lambda: False).run()


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "journal/x", "inputs/../x", "inputs/.x", "inputs", "clock", "run.json/x"]
)
def test_a_master_cannot_write_outside_its_place_in_a_worker(tmp_path: Path, path: str) -> None:
    """Only run.json and what lies in inputs/ is taken."""
    folder = RunFolder(tmp_path)
    with pytest.raises(NonsenseError):
        folder.take(FilePart(path=path, offset=0, size=1), b"x")
    folder.take(FilePart(path="inputs/trace/a b.csv", offset=0, size=2), b"x")
    folder.take(FilePart(path="inputs/trace/a b.csv", offset=1, size=2), b"y")
    assert (folder.path / "inputs/trace/a b.csv").read_bytes() == b"xy"
    with pytest.raises(NonsenseError):
        folder.take(FilePart(path="inputs/trace/a b.csv", offset=7, size=9), b"z")


def test_the_first_measurement_is_a_burst_and_later_ones_come_every_ten_seconds() -> None:
    """Between them single pings are signs of life; a pong nobody waits for counts for nothing."""
    keeping, now_ns, measured = Timekeeping(silence_s=6), 5 * NS_PER_S, 0
    sent = []
    for _ in range(6000):
        now_ns += NS_PER_S // 200
        number = keeping.ping(now_ns)
        if number is not None:
            sent.append(now_ns)
            assert keeping.pong(number + 1, 0, now_ns) is None
            found = keeping.pong(number, 1000, now_ns + 1000)
            if found is not None:
                measured += 1
                assert found.error_ns == 500
    assert measured == 3
    assert len(sent) == pytest.approx(FIRST_EXCHANGES + 2 * EXCHANGES + 30, abs=4)


def test_what_is_said_is_bounded() -> None:
    """No text or body of a frame is longer than it may be."""
    assert BODY_BYTES <= 1 << 20
    with pytest.raises(ValueError, match="at most"):
        WORDS.validate_json(Refused(why="x").model_dump_json().replace('"x"', '"' + "x" * 5000 + '"'))


@pytest.mark.parametrize("text", ["5557", "host", ":5557", "127.0.0.1:", "127.0.0.1:65535", "127.0.0.1:0"])
def test_addresses_that_are_none_are_told_with_an_example(text: str) -> None:
    """The port after it must be free for Locust too."""
    with pytest.raises(ComfySoakError):
        parse_address(text)
    assert str(parse_address("[::1]:5557")) == "[::1]:5557"
