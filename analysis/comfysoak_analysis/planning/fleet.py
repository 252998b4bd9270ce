"""N servers and their queues, prompt by prompt. Exact in its discipline, and pure: values in, values out.

Each server runs one prompt at a time, first come, first served. A prompt goes to a server when it is due, by what is
known then; a server that does not hold its models loads them, and lets those go that were used longest ago until they
fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from comfysoak_analysis.planning.times import Places, Times
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.scenario.routing import Route, Router, Standing

HELD, LOADING = 0, 1


@dataclass(frozen=True, slots=True)
class Kind:
    """One workflow: what it takes with its models held, and with them to be loaded; `need` -1: it has no models.

    `models` names them, as a route by models knows them (`routing.models_of`).
    """

    held: Times
    loading: Times
    need: int = -1
    models: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """What each need takes, and how much room a server has for all it holds; both in bytes, or both in needs."""

    sizes: tuple[float, ...] = ()
    room: float = float("inf")


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many alike servers. `handover_s` is lost between two prompts where one is waiting.

    `names` decide what a route by models sends where; none: any.
    """

    servers: int
    route: Route
    memory: Memory = Memory()
    handover_s: float = 0.0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """What became of each prompt, shape (n,), and of the fleet until the last of them was due."""

    wait_s: Floats
    latency_s: Floats
    loads: int
    utilisation: float  # share of the servers' time in which they ran something, from the first due to the last end


def serve(due_s: Floats, kinds: Places, fleet: Fleet, of: Sequence[Kind]) -> Served:
    """Run prompts that are due at rising `due_s`, each of the kind `of[kinds[i]]`.

    The times of a kind and state are taken in their order, each server beginning at another place, so that each meets
    the slow stretches that were measured. An empty one must not be asked for.
    """
    queue = _Queues(fleet, of)
    where = _assigned(kinds, fleet, of)
    waits, seen = queue.run(due_s.tolist(), kinds.tolist(), where)
    wait_s = np.array(waits)
    span_s = (max(queue.free) - float(due_s[0])) * fleet.servers if len(due_s) else 0.0
    return Served(wait_s, wait_s + np.array(seen), queue.loads, queue.busy_s / span_s if span_s > 0 else 0.0)


def _assigned(kinds: Places, fleet: Fleet, of: Sequence[Kind]) -> list[int] | None:
    """The server of each prompt, where that does not depend on queues: in turn, or by its models."""
    if fleet.servers == 1:
        return [0] * len(kinds)
    if fleet.route == "round-robin":
        return [number % fleet.servers for number in range(len(kinds))]
    if fleet.route == "affinity":
        homes = np.array(_homes(fleet, of))
        chosen: list[int] = homes[kinds].tolist()
        return chosen
    return None


def _homes(fleet: Fleet, of: Sequence[Kind]) -> list[int]:
    """Where each kind goes: dealt out as a run deals out what its workflows need."""
    needs = [kind.models or f"kind {number}" for number, kind in enumerate(of)]
    names = fleet.names or tuple(f"server {number}" for number in range(fleet.servers))
    router = Router("affinity", names, needs=needs)
    standings = [Standing() for _ in names]
    return [router.choose(standings, need) for need in needs]


class _Queues:
    """The state of the servers while prompts come."""

    def __init__(self, fleet: Fleet, of: Sequence[Kind]) -> None:
        self._fleet, self._of = fleet, of
        self.free = [0.0] * fleet.servers  # when each can begin the next one
        self.busy_s, self.loads = 0.0, 0
        self._held: list[list[int]] = [[] for _ in range(fleet.servers)]  # needs, the latest used last

    def run(self, due_s: list[float], kinds: list[int], where: list[int] | None) -> tuple[list[float], list[float]]:
        """How long each prompt waited, and what its user saw of it beside that. The tight loop: names are local."""
        servers, handover_s = self._fleet.servers, self._fleet.handover_s
        streams = [
            [list(zip(*self._seen(times), strict=True)) for times in (one.held, one.loading)] for one in self._of
        ]
        lengths = [[len(stream) for stream in states] for states in streams]
        cursors = [
            [[length * server // servers for length in states] for states in lengths] for server in range(servers)
        ]
        needs, free, held = [kind.need for kind in self._of], self.free, self._held
        present, turn = [0] * servers, 0  # who waits or runs where
        leaving: list[tuple[float, int]] = []  # and when each of them goes
        waits, seen, busy_s, loads = [], [], 0.0, 0
        for number, (at, kind) in enumerate(zip(due_s, kinds, strict=True)):
            if where is not None:
                server = where[number]
            else:
                while leaving and leaving[0][0] <= at:
                    present[heappop(leaving)[1]] -= 1
                fewest = min(present)
                try:
                    server = present.index(fewest, turn)  # ties go in turn
                except ValueError:
                    server = present.index(fewest)
                turn = server + 1
            need, state = needs[kind], HELD
            if need >= 0 and (not held[server] or held[server][-1] != need):
                state = self._touch(held[server], need)
                loads += state
            cursor = cursors[server][kind]
            place = cursor[state]
            cursor[state] = place + 1 if place + 1 < lengths[kind][state] else 0
            service_s, told_s = streams[kind][state][place]
            begins = free[server]
            begins = max(at, begins)
            ends = begins + service_s
            free[server] = ends + handover_s
            if where is None:
                present[server] += 1
                heappush(leaving, (ends, server))
            busy_s += service_s
            waits.append(begins - at)
            seen.append(told_s)
        self.busy_s, self.loads = busy_s, loads
        return waits, seen

    @staticmethod
    def _seen(times: Times) -> tuple[list[float], list[float]]:
        return times.service_s.tolist(), (times.service_s + times.around_s).tolist()

    def _touch(self, held: list[int], need: int) -> int:
        """A server uses the models of a need; whether it has to load them."""
        sizes, room = self._fleet.memory.sizes, self._fleet.memory.room
        if need in held:
            held.remove(need)
            held.append(need)
            return HELD
        held.append(need)
        used = sum(sizes[one] for one in held)
        while used > room and len(held) > 1:
            used -= sizes[held.pop(0)]
        return LOADING
