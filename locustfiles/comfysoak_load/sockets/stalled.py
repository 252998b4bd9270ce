"""A client that reads nothing for a while: what it is sent piles up, and a server that waits for it tells nobody."""

from __future__ import annotations

import uuid

import gevent

from comfysoak_core.scenario.sessions import MOST_OPENING_S, Stalled
from comfysoak_load.client import Aim, ComfyClient
from comfysoak_load.process.load_process import LoadProcess
from comfysoak_load.prompts.told import Fire
from comfysoak_load.sockets.connection import Connection


class StalledReader:
    """One of them; `run` goes on until it is killed."""

    def __init__(self, process: LoadProcess, stalled: Stalled, fire: Fire) -> None:
        self._process = process
        self._stalled = stalled
        self._fire = fire
        self._client: ComfyClient | None = None
        self._connection: Connection | None = None

    def run(self) -> None:
        """Stall when it is time, again and again where that is asked for."""
        stalled = self._stalled
        gevent.sleep(stalled.after_s)
        while True:
            self._stall()
            if stalled.every_s is None:
                return
            gevent.sleep(stalled.every_s - stalled.reads_nothing_for_s)

    def leave(self) -> None:
        """Close its socket; after the end of `run`."""
        if self._connection is not None:
            self._process.part(self._connection)
            self._connection = None

    def _stall(self) -> None:
        process, stalled = self._process, self._stalled
        connection = self._open()
        if not connection.is_open.wait(MOST_OPENING_S):
            return
        seconds = stalled.reads_nothing_for_s
        connection.stop_reading()
        process.event(
            "stalled",
            server=connection.target.url,
            subject=connection.session_id,
            detail=f"reads nothing for {seconds:g} s",
        )
        if stalled.sends is not None:
            gevent.spawn(self._send, connection, stalled.sends)
        try:
            gevent.sleep(seconds)
        finally:
            connection.read_again()
            server, subject = connection.target.url, connection.session_id
            process.event("stall_over", server=server, subject=subject, detail=stalled.then)
        if stalled.then == "close":
            self.leave()

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = self._process.sockets.make(self._process.targets[0], "stalled", small_buffers=True)
            self._connection.connect()
        return self._connection

    def _send(self, connection: Connection, name: str) -> None:
        """A prompt in its name, so that there is something to tell it; a row as any other."""
        process = self._process
        if self._client is None:
            self._client = ComfyClient(process, self._fire)
            self._client.leave()  # it has a socket already, and is no user
        numbers = process.draw(f"stalled/{connection.session_id}", uuid.uuid4().int)
        workload = process.workload(name, numbers)
        try:
            self._client.send(Aim(workload, workload.draw(numbers), connection, fetch=False), process.clock.now_ns())
        except Exception as error:  # noqa: BLE001  # a mistake in one prompt does not end the test
            process.own_error(error)
