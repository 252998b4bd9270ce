"""What a machine cannot carry is said before the start."""

from __future__ import annotations

import pytest

from comfysoak_core.errors import UsageError
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.sessions import Sessions
from comfysoak_core.scenario.stage import Arrivals, Stage
from comfysoak_load.process.room import PROCESS_BYTES, Machine, Share, check_room

GIB = 1024**3


def plan(**stage: object) -> Plan:
    """One stage, and a thousand watchers."""
    stages = (Stage.model_validate({"duration_s": 1, **stage}),)
    return Plan(name="p", workloads=(), stages=stages, sessions=Sessions(watchers=1000))


def test_a_share_is_the_highest_load_over_all_processes() -> None:
    """Rounded up, for users as for prompts that arrive; watchers cost a socket and no user."""
    closed = plan(users=Line(start=1, end=100))
    assert Share.of(closed, 1, 3) == Share(processes=1, users=34, sockets_alone=334)
    assert Share.of(closed, 2, 3).users == 68
    opened = plan(arrivals=Arrivals(rate_per_s=Line.level(5), in_flight_most=50))
    assert Share.of(opened, 1, 1) == Share(processes=1, users=50, sockets_alone=1000)


def test_too_little_memory_is_told_with_what_it_takes_and_what_there_is() -> None:
    """Users, watchers and processes each count; a machine that does not say how much it has is let be."""
    share = Share(processes=2, users=100, sockets_alone=100)
    with pytest.raises(UsageError, match="100 users, 100 watchers and 2 load processes need about 162 MiB") as caught:
        list(check_room(share, Machine(free_bytes=2 * PROCESS_BYTES, cores=8)))
    assert "here are 160 MiB free" in str(caught.value)
    assert "--master" in str(caught.value)
    assert list(check_room(share, Machine(free_bytes=GIB, cores=8))) == []
    assert list(check_room(share, Machine(free_bytes=None, cores=None))) == []


def test_more_processes_than_cores_is_a_warning() -> None:
    """It works, but they wait for each other."""
    (warning,) = check_room(Share(processes=3, users=1, sockets_alone=0), Machine(free_bytes=GIB, cores=2.0))
    assert "3 load processes share 2 cores" in warning


def test_this_machine_knows_what_it_has() -> None:
    """Memory and cores, or their limits in a container."""
    machine = Machine.here()
    assert machine.free_bytes is not None
    assert machine.free_bytes > 0
    assert machine.cores is not None
    assert machine.cores > 0
