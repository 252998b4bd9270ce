"""Servers' processes: found by their ports, followed over restarts, with all they started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from comfysoak_core.clock import NS_PER_S, Anchor, AnchoredClock
from comfysoak_core.rows import Event, Process, Row
from comfysoak_probes.processes import reading, watched
from comfysoak_probes.processes.connections import Connections
from comfysoak_probes.processes.endings import in_words
from comfysoak_probes.processes.listeners import Held, Place
from comfysoak_probes.processes.names import ProcessNames
from comfysoak_probes.processes.reading import GoneError, read_process
from comfysoak_probes.processes.search import Search
from comfysoak_probes.processes.source import ProcessSource
from comfysoak_probes.processes.tree import role_of
from comfysoak_probes.processes.watched import WatchedProcess
from comfysoak_probes.source import Tick
from tests.probes.answering import free_port

# Listens on a port and forks so many children that hold the socket too; each says its id on a line of its own.
LISTENER = """
import os, socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.set_inheritable(server.fileno(), True)
for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        break
os.write(1, f"{os.getpid()}\\n".encode())
time.sleep(60)
"""
Listen = Callable[..., tuple[subprocess.Popen[bytes], list[int]]]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Starts listeners (port, children, program); each, and the ids of all its processes, once they are there."""
    started: list[subprocess.Popen[bytes]] = []
    ids: list[int] = []

    def start(port: int, children: int = 0, program: str = sys.executable) -> tuple[subprocess.Popen[bytes], list[int]]:
        command = [program, "-c", LISTENER, str(port), str(children)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        found = sorted(int(process.stdout.readline()) for _ in range(children + 1))
        ids.extend(found)
        return process, [pid for pid in found if pid != process.pid]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    for pid in ids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


class Follower:
    """A source whose time is moved by hand; processes and sockets are real."""

    def __init__(self, *servers: str) -> None:
        self.clock = AnchoredClock(Anchor.take())
        self.names = ProcessNames()
        self.at_ns = self.clock.now_ns()
        self.source = ProcessSource(
            servers, every_s=1, host="h", clock=self.clock, names=self.names, with_family=False,
            search=Search(now_s=lambda: self.at_ns / NS_PER_S),
        )  # fmt: skip

    def read(self, after_s: float = 1.0) -> list[Row]:
        self.at_ns += round(after_s * NS_PER_S)
        return self.source.read(Tick(self.at_ns, self.at_ns))

    def events(self, after_s: float = 1.0) -> list[tuple[str, str]]:
        return [(row.kind, row.detail) for row in self.read(after_s) if isinstance(row, Event)]

    def rows(self, after_s: float = 1.0) -> dict[int, Process]:
        return {row.pid: row for row in self.read(after_s) if isinstance(row, Process)}


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def follower(port: int) -> Iterator[Follower]:
    """Follows one server of this host."""
    found = Follower(f"http://127.0.0.1:{port}")
    yield found
    found.source.close()


def test_a_server_is_found_and_its_use_is_told(listen: Listen, follower: Follower, port: int) -> None:
    """With id, parent and start time; memory, files and connections at the first row, the rarer ones then seldom."""
    server, _ = listen(port)
    ((kind, detail),) = follower.events()
    assert kind == "server_process"
    assert detail.startswith(f"process {server.pid}, python")
    assert ", started 20" in detail
    with socket.create_connection(("127.0.0.1", port)):
        row = follower.rows()[server.pid]
    assert (row.role, row.server, row.parent_pid) == ("server", f"http://127.0.0.1:{port}", os.getpid())
    assert row.started_ns is not None
    assert abs(follower.clock.now_ns() - row.started_ns) < 60 * NS_PER_S
    assert row.rss_bytes
    assert row.uss_bytes
    assert (row.threads, row.connections, row.connections_half_closed) == (1, 1, 0)
    assert row.handles
    again = follower.rows()[server.pid]
    assert (again.handles, again.connections, again.uss_bytes) == (None, None, None)
    assert again.cpu_ratio is not None
    assert "handles,connections,connections_half_closed: counted every 30 s; uss_bytes" in str(again.missing)
    later = follower.rows(after_s=30)[server.pid]
    assert later.handles
    assert later.uss_bytes is None
    assert follower.rows(after_s=60)[server.pid].uss_bytes


def test_a_killed_server_is_gone_and_the_next_one_takes_its_place(
    listen: Listen, follower: Follower, port: int
) -> None:
    """Each is told once: how the first ended, and whose place the second takes; the search is at once."""
    first, _ = listen(port)
    follower.read()
    first.kill()
    while not (events := follower.events(after_s=0.1)):
        pass  # until the kernel has done so
    ((kind, detail),) = events
    assert kind == "server_process_gone"
    assert f"process {first.pid}" in detail
    assert "was killed by SIGKILL" in detail
    assert follower.names.servers is None
    first.wait()
    second, _ = listen(port)
    ((kind, detail),) = follower.events(after_s=30)
    assert (kind, f"process {second.pid}," in detail) == ("server_process", True)
    assert f"in the place of process {first.pid}" in detail
    assert follower.events(after_s=30) == []


def test_how_a_server_ended_is_known_when_its_parent_was_faster(listen: Listen, follower: Follower, port: int) -> None:
    """The kernel tells it to who held a handle, from 6.15 on; before, that it is not known."""
    server, _ = listen(port)
    follower.read()
    server.terminate()
    server.wait()
    ((_, detail),) = follower.events()
    assert "was killed by SIGTERM" in detail or "how it ended is not known" in detail
    assert "it ran for" in detail


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "ended with status 0"), (256, "ended with status 1"), (9, "was killed by SIGKILL"),
     (139, "was killed by SIGSEGV"), (50, "was killed by signal 50"), (None, "how it ended is not known")],
)  # fmt: skip
def test_a_wait_status_has_words(status: int | None, words: str) -> None:
    """Of an exit and of a signal, with or without a core dump."""
    assert in_words(status) == words


def test_what_a_server_started_belongs_to_it(listen: Listen, follower: Follower, port: int) -> None:
    """Rows of their own, in the server's name; of several listeners the first is the server."""
    server, children = listen(port, 2)
    ((_, detail),) = follower.events()
    assert "the first of 3 processes that listen on its port" in detail
    rows = follower.rows()
    assert {pid: row.role for pid, row in rows.items()} == {
        server.pid: "server", **dict.fromkeys(children, "server_child"),
    }  # fmt: skip
    assert {row.parent_pid for row in rows.values() if row.role == "server_child"} == {server.pid}
    assert follower.names.servers == frozenset({server.pid, *children})
    assert follower.names.is_server(children[0]) is True
    assert follower.names.is_server(os.getpid()) is False


def test_a_child_that_outlives_its_server_still_belongs_to_it(listen: Listen, follower: Follower, port: int) -> None:
    """It holds the port and perhaps the GPU's memory: it is the server now, and its siblings are followed on."""
    server, children = listen(port, 2)
    follower.read()
    server.kill()
    server.wait()
    events = dict(follower.events())
    assert f"process {server.pid}" in events["server_process_gone"]
    heir = follower.events(after_s=0) or [("server_process", events["server_process"])]
    assert f"in the place of process {server.pid}" in heir[0][1]
    rows = follower.rows()
    assert rows.keys() == set(children)
    assert sorted(row.role for row in rows.values()) == ["server", "server_child"]
    assert follower.names.servers == frozenset(children)


def test_an_id_that_another_process_has_now_is_no_longer_the_server(
    listen: Listen, follower: Follower, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start time tells: the row of the new one is not written into the old one's line."""
    listen(port)
    follower.read()
    monkeypatch.setattr(watched, "read_process", lambda pid: replace(read_process(pid), born=1.0))
    assert next(kind for kind, _ in follower.events()) == "server_process_gone"


def test_the_search_is_made_less_and_less_often(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 5, 10, 20 and then every 30 seconds while nobody listens."""
    looks: list[int] = []

    def nobody(places: list[Place]) -> dict[Place, Held]:
        if places:
            looks.append(len(looks_at))
        return dict.fromkeys(places, Held())

    looks_at: list[int] = []
    monkeypatch.setattr(follower.source, "_holders", nobody)
    for second in range(100):
        looks_at.append(second)
        follower.read()
    assert looks == [1, 6, 16, 36, 66, 96]


def test_a_process_of_another_user_is_told_once_with_the_rights_it_takes(
    listen: Listen, follower: Follower, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is called foreign meanwhile; when it can be seen, that is told too."""
    server, _ = listen(port)
    hidden = Held(hidden="port 1 is held by a process of user comfy that cannot be seen from here: run the probe as it")
    with monkeypatch.context() as patch:
        patch.setattr(follower.source, "_holders", lambda places: dict.fromkeys(places, hidden))
        assert follower.events() == [("source_missing", hidden.hidden)]
        assert follower.events(after_s=60) == []
        assert follower.names.servers is None
    kinds = [kind for kind, _ in follower.events(after_s=60)]
    assert kinds == ["source_found", "server_process"]
    assert follower.names.servers == frozenset({server.pid})


def test_a_proxy_in_front_is_said_to_be_one(listen: Listen, follower: Follower, port: int, tmp_path: Path) -> None:
    """Its use is not the server's, and whose memory on the GPU is foreign cannot be told."""
    (tmp_path / "socat").symlink_to(os.path.realpath(sys.executable))
    proxy, _ = listen(port, program=str(tmp_path / "socat"))
    ((kind, detail),) = follower.events()
    assert (kind, f"process {proxy.pid}, socat" in detail) == ("server_process", True)
    assert "the server's own process cannot be seen from here" in detail
    assert follower.rows()[proxy.pid].role == "proxy"
    assert follower.names.servers is None


def test_a_server_that_comes_up_behind_its_proxy_is_followed_then(
    listen: Listen, follower: Follower, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's proxy listens from its start, the server only when it is ready."""
    proxy, _ = listen(port)
    monkeypatch.setattr(follower.source, "_holders", lambda places: dict.fromkeys(places, Held(proxy=proxy.pid)))
    assert [kind for kind, _ in follower.events()] == ["server_process"]
    assert follower.events(after_s=30) == []
    server, _ = listen(free_port())
    behind = Held((server.pid,), proxy=proxy.pid, contained=True)
    monkeypatch.setattr(follower.source, "_holders", lambda places: dict.fromkeys(places, behind))
    ((_, detail),) = follower.events(after_s=30)
    assert detail.endswith(f"behind process {proxy.pid}, which listens for it, in the network of a container")
    assert {row.role for row in follower.rows().values()} == {"server"}
    assert follower.names.servers == frozenset({server.pid})


def test_a_server_elsewhere_is_said_to_be_so_once() -> None:
    """Another host's address: one event, no search, no rows."""
    follower = Follower("http://192.0.2.1:8188", "http://no-such-host.invalid")
    ((kind, detail),) = follower.events()
    assert (kind, "comfysoak probe --listen" in detail) == ("server_process_elsewhere", True)
    assert follower.read(after_s=60) == []


def test_connections_are_counted_by_the_server_s_port() -> None:
    """Those that are open, and those only the other end has closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        kept, left = (socket.create_connection(("127.0.0.1", port)) for _ in range(2))
        accepted = [server.accept()[0] for _ in range(2)]
        left.close()
        while Connections().to(os.getpid(), port) != (1, 1):
            pass  # until the kernel has told the other end
        for one in (kept, *accepted):
            one.close()


def test_other_systems_tell_the_same_of_a_process() -> None:
    """By psutil: as large, as old, with as many threads as the kernel's own files say."""
    here, there = read_process(os.getpid()), reading._read_portable(os.getpid())
    assert (there.parent_pid, there.threads) == (here.parent_pid, here.threads)
    assert 0.5 < there.rss_bytes / here.rss_bytes < 2
    assert there.cpu_s == pytest.approx(here.cpu_s, abs=0.5)
    assert there.written_bytes is not None
    with pytest.raises(GoneError):
        reading._read_portable(2**22 - 1)


class SlowClock:
    """Each look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0

    def now_ns(self) -> int:
        self.now += NS_PER_S
        return self.now


def test_memory_that_takes_long_to_walk_is_walked_more_rarely() -> None:
    """A walk of a second comes every 500 s, so that it never costs more than 0.2 % of a core."""
    clock = SlowClock()
    watched = WatchedProcess.follow(os.getpid(), "load", clock)
    seconds = (0, 61, 499, 500)
    rows = [watched.row(Tick(at * NS_PER_S, 0), None, host="h", clock=clock) for at in seconds]
    assert [row.uss_bytes is not None for row in rows] == [True, False, False, True]


def test_a_process_that_is_not_there_is_gone() -> None:
    """Never a row of zeros."""
    with pytest.raises(GoneError):
        read_process(2**22 - 1)


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (["python", "-m", "locust", "-f", "locustfiles/comfyui.py"], "load"),
        (["/x/.venv/bin/python", "/x/.venv/bin/locust", "--headless"], "load"),
        (["python", "-m", "comfysoak_simulator", "--port", "1"], "simulator"),
        (["python", "-m", "comfysoak_core.recording.recorder", "runs/x"], "recorder"),
        (["python", "-m", "comfysoak_probes", "runs/x"], "sampler"),
        (["/x/.venv/bin/python", "/x/.venv/bin/comfysoak", "run"], "supervisor"),
        (["python", "-m", "comfysoak", "run"], "supervisor"),
        (["vim", "notes-on-locusts.txt"], None),
        (["python", "main.py", "--port", "8188", "/srv/comfysoak"], None),
        ([], None),
    ],
)
def test_our_processes_are_known_by_their_command_line(command: list[str], role: str | None) -> None:
    """By module or program, wherever it is installed."""
    assert role_of(command) == role


def test_the_harness_itself_is_told_and_never_foreign() -> None:
    """The sampler's own row, and its id among our own."""
    clock, names = AnchoredClock(Anchor.take()), ProcessNames()
    source = ProcessSource([], every_s=1, host="h", clock=clock, names=names)
    source.read(Tick(1, 1))
    assert os.getpid() in names.own
    assert names.servers is None
    rows = [row for row in source.read(Tick(2, 2)) if isinstance(row, Process)]
    assert {"sampler"} <= {row.role for row in rows}


def test_a_process_that_is_just_ending_is_not_called_hidden(
    listen: Listen, follower: Follower, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel lists the socket of a killed process a moment longer than the process: no rights would help."""
    server, _ = listen(port)
    follower.read()
    server.kill()
    server.wait()
    hidden = Held(hidden="port 1 is held by a process of user root that cannot be seen from here")
    monkeypatch.setattr(follower.source, "_holders", lambda places: dict.fromkeys(places, hidden))
    assert [kind for kind, _ in follower.events()] == ["server_process_gone"]
    assert [kind for kind, _ in follower.events(after_s=5)] == ["source_missing"]


def test_a_process_that_ends_before_it_is_followed_leaves_no_handle_open() -> None:
    """A server that crashes again and again must not cost us a file each time."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and waits for us to notice
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(GoneError):
        WatchedProcess.follow(process.pid, "server", AnchoredClock(Anchor.take()))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    process.wait()


def test_a_process_that_nobody_may_look_at_ends_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows, where the counters of other users' processes may be refused."""

    def refused(process: psutil.Process) -> None:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "num_threads", refused)
    with pytest.raises(GoneError):
        reading._read_portable(os.getpid())
