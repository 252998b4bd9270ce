"""What wakes an arrival."""

from __future__ import annotations

import os
import sys
import time

import gevent
import pytest

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_load.edge.alarm import Alarm


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a name a handle is all that is wanted


@pytest.mark.parametrize("left_ns", [-5, 0, 1, 2 * NS_PER_MS])
def test_others_go_on_meanwhile(left_ns: int) -> None:
    """However short it is, a sleep lets others run, and ends."""
    alarm, ran = Alarm(), list[int]()
    gevent.spawn(ran.append, 1)
    with gevent.Timeout(20):
        alarm.sleep(left_ns)
    alarm.close()
    assert ran == [1]


def test_it_sleeps_as_long_as_asked() -> None:
    """It does not wake before its time."""
    alarm = Alarm()
    before = time.monotonic_ns()
    for _ in range(5):
        alarm.sleep(NS_PER_MS)
    assert time.monotonic_ns() - before >= 5 * NS_PER_MS
    alarm.close()


@pytest.mark.skipif(sys.platform != "linux", reason="counts handles in /proc")
def test_who_is_killed_asleep_leaves_nothing() -> None:
    """A greenlet that is killed in its sleep can be followed by another on the same alarm."""
    before = handles()
    alarm = Alarm()
    sleeper = gevent.spawn(alarm.sleep, 3600 * NS_PER_S)
    gevent.sleep(0)
    sleeper.kill()
    with gevent.Timeout(20):
        alarm.sleep(NS_PER_MS)
    alarm.close()
    assert handles() == before


def test_without_a_timer_of_its_own_gevents_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no timerfd, or it is closed, sleeping goes on by gevent's timers."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with gevent.Timeout(20):
        Alarm().sleep(NS_PER_MS)
    monkeypatch.undo()
    closed = Alarm()
    closed.close()
    with gevent.Timeout(20):
        closed.sleep(NS_PER_MS)
