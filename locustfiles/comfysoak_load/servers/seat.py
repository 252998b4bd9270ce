"""A user's place in the process: its number, and a socket to each server it has sent a prompt to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from comfysoak_core.scenario.routing import Health
from comfysoak_load.servers.target import Target
from comfysoak_load.sockets.connection import Connection

if TYPE_CHECKING:
    from comfysoak_load.process.load_process import LoadProcess

LOOK_AGAIN_S = 0.1  # while a socket opens: is another server better by now?


class Seat:
    """One user of `process`. Sockets are opened when they are first needed, and closed with the user."""

    def __init__(self, process: LoadProcess, number: int) -> None:
        self.number = number
        self._process = process
        self._connections: dict[Target, Connection] = {}
        self._taken = True

    def connect(self) -> None:
        """Begin to open the socket, where it is known which one will be needed: with one server only."""
        if not self._process.fleet.is_several:
            self._to(self._process.fleet.targets[0])

    def leave(self) -> None:
        """Close all sockets for good."""
        for connection in self._connections.values():
            self._process.part(connection)
        self._connections.clear()
        if self._taken:
            self._taken = False
            self._process.users -= 1

    def reach(self, needs: str, within_s: float | None = None) -> Connection:
        """A connection to the server whose turn it is, for a prompt that needs the models `needs`.

        Waits until its socket is open; at most `within_s`, then it is the prompt's to go without. While it waits a
        server that goes down is left for a better one. When all of a fleet are down the answer is one of them at once:
        the prompt is sent, and fails with the reason.
        """
        fleet = self._process.fleet
        give_up_s = None if within_s is None else time.monotonic() + within_s
        while True:
            connection = self._to(fleet.choose(needs))
            while not connection.is_open.wait(LOOK_AGAIN_S):
                if give_up_s is not None and time.monotonic() >= give_up_s:
                    return connection
                if fleet.has_better(connection.target):
                    break
                if fleet.is_several and connection.target.standing.health is Health.DOWN:
                    return connection
            else:
                return connection

    def _to(self, target: Target) -> Connection:
        connection = self._connections.get(target)
        if connection is None:
            connection = self._connections[target] = self._process.connection(target, "user")
            connection.connect()
        return connection
