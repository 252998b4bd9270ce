from __future__ import annotations

from dataclasses import dataclass

import pytest

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.silence import MOST_REPLACEMENTS, Seen, Silence

START_S = 1000


@dataclass(eq=False)
class Socket:
    """A socket as the test moves it; all in seconds after the start."""

    opened_s: float = 0.0
    told_s: float = 0.0
    answered_s: float = 0.0
    replacements: int = 0

    @property
    def opened_ns(self) -> int:
        return at(self.opened_s)

    @property
    def told_ns(self) -> int:
        return at(self.told_s)

    @property
    def answered_ns(self) -> int:
        return at(self.answered_s)


def at(seconds: float) -> int:
    return round((START_S + seconds) * NS_PER_S)


class Server:
    """What one process sees of a server: told of news, looked at each second, pings answered where `alive`."""

    def __init__(self, *sockets: Socket) -> None:
        self.silence: Silence[Socket] = Silence()
        self.sockets = list(sockets)
        self.dead: set[Socket] = set()
        self.seen: list[tuple[float, Seen[Socket]]] = []

    def look(self, *seconds: float) -> Seen[Socket]:
        seen: Seen[Socket] = Seen()
        for now_s in seconds:
            seen = self.silence.look(self.sockets, at(now_s))
            for socket in seen.ping:
                if socket not in self.dead:
                    socket.answered_s = now_s + 0.01
            self.seen.append((now_s, seen))
        return seen

    def all_told(self, at_s: float, *but: Socket) -> None:
        for socket in self.sockets:
            if socket not in but:
                socket.told_s = at_s
        self.silence.must_tell(at(at_s))

    @property
    def zombies(self) -> set[Socket]:
        return {socket for _, seen in self.seen for socket in seen.zombies}


def test_who_is_told_nothing_while_others_are_is_a_zombie() -> None:
    """It is asked for a sign of life first; its answer comes after all it could have been told."""
    one, other, third = Socket(), Socket(), Socket()
    server = Server(one, other, third)
    server.all_told(2)
    server.look(*range(3, 11))
    server.all_told(12, one)
    server.look(13, 14, 15)
    assert not any(seen.ping or seen.zombies for _, seen in server.seen)
    assert server.look(16).ping == [one]
    assert server.look(17).zombies == [one]


def test_who_answers_no_ping_is_left_to_the_keepalive() -> None:
    """A socket whose network was cut is no zombie."""
    one, other = Socket(), Socket()
    server = Server(one, other)
    server.dead = {one}
    server.all_told(10, one)
    server.look(*range(11, 40))
    assert server.zombies == set()


def test_an_idle_server_accuses_nobody() -> None:
    """Without news all may be silent for ever."""
    server = Server(Socket(), Socket())
    server.all_told(3)
    server.look(*range(4, 600))
    assert all(seen == Seen() for _, seen in server.seen)


def test_a_socket_that_opened_after_the_news_is_not_expected_to_know_it() -> None:
    """Only what happened well after its opening counts."""
    young, other = Socket(opened_s=9.5, told_s=9.5), Socket()
    server = Server(young, other)
    server.all_told(10, young)
    server.look(*range(11, 30))
    assert server.zombies == set()
    server.all_told(31, young)
    server.look(*range(32, 40))
    assert server.zombies == {young}


@pytest.mark.parametrize("every_s", [0.25, 3.0])
def test_under_steady_news_a_zombie_is_found_within_seconds(every_s: float) -> None:
    """News that never stops does not put the decision off."""
    one, other = Socket(), Socket()
    server = Server(one, other)
    now_s = 0.0
    while not server.zombies:
        now_s += 0.25
        if now_s % every_s == 0:
            server.all_told(now_s, *([one] if now_s > 20 else []))
        if now_s % 1 == 0:
            server.look(now_s)
        assert now_s < 32
    assert server.zombies == {one}


def test_when_all_are_silent_one_is_opened_anew_and_a_silent_one_proves_it() -> None:
    """Head of line: the probe is told nothing either; nobody is called a zombie, and the end is told."""
    sockets = [Socket(told_s=4), Socket(told_s=4), Socket(told_s=4)]
    server = Server(*sockets)
    server.silence.must_tell(at(10))
    server.look(*range(11, 16))
    (probe,) = {seen.probe for _, seen in server.seen} - {None}
    assert probe is not None
    probe.opened_s = probe.told_s = 16
    probe.replacements = 1
    server.silence.must_tell(at(20))
    server.look(*range(16, 30))
    (began,) = [seen for _, seen in server.seen if seen.nobody_since_ns is not None]
    assert (began.nobody_since_ns, began.silent) == (at(4), 3)
    server.look(*range(30, 60))
    assert not any(seen.over for _, seen in server.seen)
    server.all_told(61)
    server.look(*range(62, 80))
    assert sum(seen.over for _, seen in server.seen) == 1
    assert server.zombies == set()


def test_when_a_silence_ends_the_last_to_be_told_is_no_zombie() -> None:
    """What has piled up is told to one socket before the other."""
    first, last = Socket(), Socket()
    server = Server(first, last)
    server.silence.must_tell(at(10))
    server.look(*range(11, 30))
    first.told_s = 30
    server.silence.must_tell(at(30 - 2))
    server.look(30, 31)
    last.told_s = 31.5
    server.look(*range(32, 50))
    assert server.zombies == set()


def test_when_all_are_silent_and_a_new_one_hears_the_others_were_zombies() -> None:
    """The probe is told of what happens next: the server had forgotten the rest."""
    sockets = [Socket(), Socket(), Socket()]
    server = Server(*sockets)
    server.silence.must_tell(at(10))
    server.look(*range(11, 16))
    (probe,) = {seen.probe for _, seen in server.seen} - {None}
    assert probe is not None
    probe.opened_s = 16
    server.all_told(20, *(socket for socket in sockets if socket is not probe))
    server.look(*range(16, 35))
    assert server.zombies == set(sockets) - {probe}
    assert all(seen.nobody_since_ns is None for _, seen in server.seen)


def test_a_single_socket_that_stays_silent_when_opened_anew_is_no_zombie() -> None:
    """Two silent clients, one after the other, are told nothing by the server."""
    only = Socket()
    server = Server(only)
    server.silence.must_tell(at(10))
    server.look(*range(11, 16))
    assert [seen.probe for _, seen in server.seen if seen.probe] == [only]
    only.opened_s = only.told_s = 16
    server.silence.must_tell(at(20))
    server.look(*range(16, 30))
    assert [seen.silent for _, seen in server.seen if seen.nobody_since_ns] == [1]


def test_a_socket_that_was_replaced_in_vain_is_left_alone() -> None:
    """What is silent for a reason we do not know is not opened anew for ever."""
    one, other = Socket(replacements=MOST_REPLACEMENTS), Socket()
    server = Server(one, other)
    server.all_told(10, one)
    server.look(*range(11, 30))
    assert all(seen == Seen() for _, seen in server.seen)


def test_what_deaf_sockets_miss_is_asked_for_as_long_as_nobody_hears() -> None:
    """From the moment that all have proved silent to the moment that one hears, prompts are to ask for themselves."""
    server = Server(Socket(told_s=4), Socket(told_s=4))
    server.silence.must_tell(at(10))
    server.look(*range(11, 20))
    deaf = [now_s for now_s, seen in server.seen if seen.deaf]
    assert deaf == [15, 16, 17, 18, 19]
    server.all_told(21)
    assert server.look(26).deaf == []
