"""The load processes of a test, as its Locust master knows them: who is there, who was lost, who has nothing to do.

Locust notices a load process that is silent for five seconds, and gives its users to the others. What else follows
from a loss is done here: it is an event with a name, and whatever is shared by number is dealt anew. Users too, once
more: Locust (2.47) leaves them as they are when one process comes while another is given up, and sends the first words
to a newcomer before anybody listens there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from locust.runners import STATE_MISSING, STATE_RUNNING, STATE_SPAWNING

from comfysoak_core.recording.layout import host_name
from comfysoak_load.process.load_process import LoadProcess

LOOK_EVERY_S = 0.5
SPREAD_AGAIN_S = (1.0, 6.0)  # after a change: once all know of it, and once what was late has come
IDLE_MESSAGE = "comfysoak_idle"
PLACE_MESSAGE = "comfysoak_place"


@dataclass(frozen=True, slots=True)
class Member:
    """A load process that takes part: Locust's number of it, its users when last heard of."""

    index: int
    users: int

    @property
    def name(self) -> str:
        """What it is called in the recording."""
        return f"load-{self.index}"


class Roster:
    """Watches as long as a test goes on; `process` is the master's own, None while there is no test.

    `deal_anew` is called when the processes that share the load are others than before.
    """

    def __init__(self, runner: Any, process: Callable[[], LoadProcess | None], deal_anew: Callable[[], None]) -> None:
        self._runner = runner
        self._process = process
        self._deal_anew = deal_anew
        self._members: dict[str, Member] = {}
        self._places: dict[str, str] = {}
        self._lost: set[str] = set()
        self._turn = 0
        self._spread_at_s: list[float] = []
        self._idle: set[str] = set()  # those that have nothing open any more since the last turn
        runner.register_message(IDLE_MESSAGE, self._on_idle)
        runner.register_message(PLACE_MESSAGE, self._on_place)
        gevent.spawn(self._watch)

    @property
    def deal(self) -> tuple[str, ...]:
        """The ids of those who share the load, in the order of their parts."""
        members = self._now_there()
        return tuple(sorted(members, key=lambda found: members[found].index))

    @property
    def is_idle(self) -> bool:
        """Whether no prompt is open in any of them, as each has told since the last turn."""
        return self._now_there().keys() <= self._idle

    def turn_taken(self, count: int) -> None:
        """From now on only those are idle who say so of turn number `count`."""
        self._turn = count
        self._idle.clear()

    def _now_there(self) -> dict[str, Member]:
        return {
            found.id: Member(self._runner.get_worker_index(found.id), sum(found.user_classes_count.values()))
            for found in self._runner.clients.all
            if found.state != STATE_MISSING
        }

    def _watch(self) -> None:
        while True:
            gevent.sleep(LOOK_EVERY_S)
            process = self._process()
            if process is None:
                self._members = self._now_there()
            elif self._runner.state in (STATE_RUNNING, STATE_SPAWNING):
                self._look(process)

    def _look(self, process: LoadProcess) -> None:
        before, now = self._members, self._now_there()
        self._members = now
        for client_id in sorted(before.keys() - now.keys()):
            self._lost.add(client_id)
            self._tell_lost(process, client_id, before[client_id], len(now))
        for client_id in sorted(now.keys() - before.keys()):
            kind = "worker_back" if client_id in self._lost else "worker_joined"
            self._lost.discard(client_id)
            process.event(kind, subject=now[client_id].name, detail=f"{len(now)} load processes share the load now")
        if before.keys() != now.keys() and now:
            self._deal_anew()
            self._spread_soon()
        if self._spread_at_s and time.monotonic() >= self._spread_at_s[0] and self._runner.state == STATE_RUNNING:
            del self._spread_at_s[0]
            gevent.spawn(self._runner.start, self._runner.target_user_count, self._runner.spawn_rate)

    def _spread_soon(self) -> None:
        self._spread_at_s = [time.monotonic() + after_s for after_s in SPREAD_AGAIN_S]

    def _tell_lost(self, process: LoadProcess, client_id: str, member: Member, left: int) -> None:
        had = f"; it had {member.users} users" if member.users else ""
        others = f"the {left} others take over its load" if left else "nobody is left to take over its load"
        detail = f"{member.name}{self._places.get(client_id, '')} is not heard of any more{had}; {others}"
        process.event("worker_lost", subject=member.name, detail=detail)

    def _on_idle(self, environment: Any, msg: Any, **_: Any) -> None:  # noqa: ARG002  # Locust's signature
        if msg.data["turn"] == self._turn:
            self._idle.add(msg.node_id)

    def _on_place(self, environment: Any, msg: Any, **_: Any) -> None:  # noqa: ARG002  # Locust's signature
        """A load process that comes in the middle of a test hears nothing before it says this."""
        self._places[msg.node_id] = f" on {msg.data['host']} (process {msg.data['pid']})"
        if self._process() is not None:
            self._deal_anew()
            self._spread_soon()


def place() -> dict[str, Any]:
    """Where this load process is, for the master."""
    return {"host": host_name(), "pid": os.getpid()}
