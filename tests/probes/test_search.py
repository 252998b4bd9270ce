"""One search for servers' processes, whoever asks."""

from __future__ import annotations

from collections.abc import Sequence

from comfysoak_probes.processes.listeners import Held, Place
from comfysoak_probes.processes.search import NOBODY_FOR_S, Search
from tests.probes.answering import free_port
from tests.probes.server_processes import listening

ONE, TWO = Place(8188, frozenset({"127.0.0.1"})), Place(8189, frozenset({"127.0.0.1"}))


class Host:
    """Who holds what, how often somebody looked, and the time."""

    def __init__(self) -> None:
        self.held: dict[Place, Held] = {}
        self.looks: list[list[Place]] = []
        self.now_s = 0.0
        self.search = Search(self._look, lambda: self.now_s)

    def _look(self, places: Sequence[Place]) -> dict[Place, Held]:
        self.looks.append(list(places))
        return {place: self.held.get(place, Held()) for place in places}


def test_a_process_that_was_found_is_not_searched_again_while_it_lives() -> None:
    """However often and by whom; when it has ended it is searched at once."""
    host = Host()
    with listening(free_port()) as pid:
        host.held[ONE] = Held((pid,))
        for _ in range(5):
            assert host.search.holders([ONE])[ONE].pids == (pid,)
            host.now_s += 3600
        assert host.looks == [[ONE]]
    host.held.clear()
    assert host.search.holders([ONE]) == {ONE: Held()}
    assert host.looks == [[ONE], [ONE]]


def test_nobody_and_hidden_are_looked_for_again_after_a_while_and_together() -> None:
    """Eight sources that ask one after the other are one look at the open files of all processes."""
    host = Host()
    host.held[TWO] = Held(hidden="of another user")
    for place in (ONE, TWO, ONE, TWO):
        host.search.holders([place])
    assert host.looks == [[ONE], [TWO]]
    host.now_s += NOBODY_FOR_S
    assert host.search.holders([ONE])[ONE] == Held()
    assert host.search.holders([TWO])[TWO].hidden == "of another user"
    assert host.looks[2:] == [[ONE, TWO]]
