"""A client's socket that is left, exchanged or dealt anew at an awkward moment: nothing leaks, nobody is deceived."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Event, Row, Session
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.sessions import ReconnectOrder, Sessions, Stalled
from comfysoak_load.process.load_process import LoadProcess
from comfysoak_load.sockets.sessions import SessionLoad
from tests.load import looping
from tests.load.raw_server import RawServer, open_web_socket, raw_server, read_frame

CLOCK = AnchoredClock(Anchor.take())
until = partial(looping.until, within_s=10.0)


class Keeping(Journal):
    """A journal that can be looked into."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, host="here", process="load-0", clock=CLOCK)
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        self.rows.append(row)

    @property
    def sessions(self) -> list[Session]:
        """The rows of sockets as they are by now."""
        return list({row.id: row for row in self.rows if isinstance(row, Session)}.values())

    @property
    def events(self) -> list[str]:
        return [row.kind for row in self.rows if isinstance(row, Event)]


@contextmanager
def processing(folder: Path, server: RawServer, **sessions: Any) -> Iterator[tuple[LoadProcess, Keeping]]:
    """A load process without Locust, under a plan with these sessions."""
    url = f"http://127.0.0.1:{server.port}"
    plan = Plan(name="sockets", servers=(url,), sessions=Sessions(**sessions), workloads=(), stages=())
    journal = Keeping(folder)
    process = LoadProcess(plan, journal, CLOCK)
    process.sockets.start()
    try:
        yield process, journal
    finally:
        process.stop(0.0)


def polite(connection: socket.socket) -> None:
    """Opens, and closes when it is told to."""
    open_web_socket(connection)
    while read_frame(connection)[0] not in (8, -1):
        pass


def test_a_socket_that_opens_while_it_is_left_is_closed(tmp_path: Path) -> None:
    """The answer to its opening and the end of its stay come at once, in whichever order they are seen."""
    answered = threading.Event()
    go_on = threading.Event()

    def slow(connection: socket.socket) -> None:
        go_on.wait(10)
        open_web_socket(connection)
        answered.set()
        read_frame(connection)

    with raw_server(slow) as server, processing(tmp_path, server) as (process, journal):
        connection = process.sockets.make(process.targets[0], "churn", returns=False)
        connection.connect()
        until(lambda: server.connections)
        gevent.spawn_later(0.02, process.part, connection)
        gevent.sleep(0)
        go_on.set()
        assert answered.wait(10)
        time.sleep(0.05)  # the event loop stands still: the answer and the time to leave are both there when it goes on
        until(lambda: connection.is_closed and journal.sessions[0].closed_ns)
        gevent.sleep(0.02)
        assert connection.is_closed
        (row,) = journal.sessions
        assert row.closed_ns is not None
        assert row.closed_by == "client"


def test_who_loses_the_older_socket_before_the_newer_one_is_open_is_told(tmp_path: Path) -> None:
    """Between the two there is none: prompts must know, and the connection is not open."""
    first: list[socket.socket] = []

    def only_once(connection: socket.socket) -> None:
        if not first:
            first.append(connection)
            polite(connection)
        else:
            time.sleep(10)

    told: list[str] = []

    class Prompt:
        def on_message(self, *_: object) -> None:
            """Nothing comes."""

        def on_socket_lost(self, _at_ns: int) -> None:
            told.append("lost")

        def on_socket_reopened(self, _at_ns: int) -> None:
            told.append("back")

    with raw_server(only_once) as server, processing(tmp_path, server) as (process, _):
        connection = process.watch()
        connection.connect()
        assert connection.is_open.wait(10)
        connection.listen(Prompt())
        connection.reconnect(ReconnectOrder.OPEN_FIRST)
        until(lambda: server.connections == 2)
        assert connection.is_open.is_set()
        first[0].shutdown(socket.SHUT_RDWR)
        until(lambda: told)
        assert told == ["lost"]
        assert not connection.is_open.is_set()


def test_while_servers_are_away_so_are_all_sockets(tmp_path: Path) -> None:
    """A cold start waits for it, churn and stalled readers included; afterwards they are there again."""
    stalled = Stalled(reads_nothing_for_s=0.01)
    asked = {"watchers": 2, "churn_per_s": 50.0, "stays_s": (60.0, 60.0), "stalled": stalled}

    def all_there() -> bool:
        return len(process.sockets.of("watcher")) == 2 and bool(process.sockets.of("churn"))

    with raw_server(polite) as server, processing(tmp_path, server, **asked) as (process, journal):
        load = SessionLoad(process, process.plan.sessions, lambda *_: None)
        load.begin(0, 1, attended=False)
        load.begin(0, 1, attended=True)
        until(lambda: "stall_over" in journal.events and all_there())
        load.begin(0, 1, attended=False)
        until(lambda: process.sockets.held_count == 0)
        gevent.sleep(0.05)
        assert process.sockets.held_count == 0
        load.begin(0, 1, attended=True)
        until(all_there)
        load.stop()


@pytest.mark.parametrize("again", [True, False])
def test_sessions_that_are_dealt_anew_leave_no_socket_behind(tmp_path: Path, again: bool) -> None:
    """Whatever churn and stalled readers had open is closed, and no client goes on without reading."""
    stalled = Stalled(reads_nothing_for_s=60.0)
    asked = {"churn_per_s": 50.0, "stays_s": (60.0, 60.0), "stalled": stalled}
    with raw_server(polite) as server, processing(tmp_path, server, **asked) as (process, journal):
        load = SessionLoad(process, process.plan.sessions, lambda *_: None)
        load.begin(0, 1, attended=True)
        until(lambda: "stalled" in journal.events and len(process.sockets.of("churn")) >= 3)
        before = {row.id for row in journal.sessions}
        if again:
            load.begin(1, 2, attended=True)
        else:
            load.stop()
        until(lambda: all(row.closed_ns for row in journal.sessions if row.id in before))
        assert journal.events.count("stall_over") == 1
        assert not [found for found in process.sockets.of("churn", "stalled") if found.session_id in before]
        load.stop()
