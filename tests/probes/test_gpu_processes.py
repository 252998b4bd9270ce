"""Who is on a GPU: the server and what it started, ourselves, and others; and when that cannot be told."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from comfysoak_probes.nvml.processes import (
    EMPTY,
    HIDDEN,
    NO_SERVER,
    NOT_HERE,
    NOT_TOLD,
    Holder,
    Holdings,
    User,
    holdings,
    merged,
)
from comfysoak_probes.processes.names import ProcessNames
from tests.probes.fleet import GIB, NOBODY, Fleet, why

HERE, PARENT = os.getpid(), os.getppid()
NOT_TOLD_MEMORY = "the driver does not tell the memory of processes here (as under WDDM)"


def on_gpu(pid: int, memory: int | None) -> SimpleNamespace:
    """A process as the binding has it."""
    return SimpleNamespace(pid=pid, usedGpuMemory=memory)


def names(*servers: int, own: frozenset[int] = frozenset(), host_ids: bool = True) -> ProcessNames:
    """What is known of this host."""
    return ProcessNames(servers=frozenset(servers) or None, own=own, host_ids=host_ids)


@pytest.mark.compiler
def test_the_server_and_what_it_started_are_the_server(fleet: Fleet) -> None:
    """Its own process and a child of it hold the server's memory; anybody else's is foreign."""
    rows = fleet.processes(0)
    assert {pid: row["is_server"] for pid, row in rows.items()} == {
        fleet.server: True, fleet.child: True, fleet.foreign: False,
    }  # fmt: skip
    row = fleet.rows("gpu_health", 0)[-1]
    assert (row["processes"], row["server_bytes"]) == (3, 3 * GIB)
    assert (row["foreign_processes"], row["foreign_bytes"]) == (1, 3 * GIB)


@pytest.mark.compiler
def test_a_process_has_its_kind_its_memory_and_its_share(fleet: Fleet) -> None:
    """Compute, graphics, or both as one row; the share of the SMs where the driver has a sample of it."""
    rows = fleet.processes(0)
    assert [rows[pid]["kind"] for pid in (fleet.server, fleet.child, fleet.foreign)] == [
        "compute", "compute,graphics", "graphics",
    ]  # fmt: skip
    assert (rows[fleet.child]["memory_bytes"], rows[fleet.child]["utilisation_ratio"]) == (2 * GIB, 0.3)
    assert rows[fleet.child]["name"]
    assert rows[fleet.child]["missing"] is None
    assert why(rows[fleet.server], "utilisation_ratio") == "the driver has no sample of it since the row before"


@pytest.mark.compiler
def test_an_id_that_is_nobodys_leaves_the_count_of_foreigners_open(fleet: Fleet) -> None:
    """It may be another namespace's, or have ended: the processes are told, who is foreign is not."""
    row = fleet.rows("gpu_health", 1)[-1]
    assert row["processes"] == 2
    for column in ("server_bytes", "foreign_processes", "foreign_bytes"):
        assert why(row, column) == NOT_HERE
    nobody = fleet.processes(1)[NOBODY]
    assert why(nobody, "name") == why(nobody, "is_server") == NOT_HERE
    assert nobody["memory_bytes"] == GIB


@pytest.mark.compiler
def test_memory_that_is_not_told_is_not_zero(fleet: Fleet) -> None:
    """Under WDDM a process has no memory by the driver: who is foreign can be told, what they hold cannot."""
    assert why(fleet.processes(2)[fleet.server], "memory_bytes") == NOT_TOLD_MEMORY
    row = fleet.rows("gpu_health", 2)[-1]
    assert why(row, "server_bytes") == NOT_TOLD_MEMORY
    assert (row["foreign_processes"], row["foreign_bytes"]) == (0, 0)


@pytest.mark.compiler
def test_a_list_that_is_refused_says_why(fleet: Fleet) -> None:
    """No permission for the list: its reason stands for the number, and all that follows from it is open."""
    row = fleet.rows("gpu_health", 3)[-1]
    assert why(row, "processes") == "no permission (NVML error 4)"
    assert why(row, "foreign_processes") == why(row, "server_bytes") == NOT_TOLD
    assert not fleet.processes(3)


@pytest.mark.compiler
def test_a_gpu_that_nobody_is_on_has_zeros(fleet: Fleet) -> None:
    """Nobody is none, where the ids are the host's own."""
    if not ProcessNames().host_ids:
        pytest.skip("these tests run in a PID namespace of their own, where an empty list means nothing")
    row = fleet.rows("gpu_health", 4)[-1]
    assert (row["processes"], row["foreign_processes"], row["foreign_bytes"], row["server_bytes"]) == (0, 0, 0, 0)


def test_our_own_processes_are_never_foreign() -> None:
    """A process of the harness on a GPU is neither the server's nor foreign."""
    found = holdings(
        [User(HERE, "compute", 5), User(PARENT, "compute", 7)], names(NOBODY, own=frozenset({HERE, PARENT}))
    )
    assert (found.processes, found.foreign_processes, found.foreign_bytes) == (2, 0, 0)
    assert {holder.server for holder in found.holders} == {None}


def test_a_server_of_our_own_making_is_the_server() -> None:
    """The simulator under test is both: what it holds is the server's."""
    assert holdings([User(HERE, "compute", 5)], names(HERE, own=frozenset({HERE}))).server_bytes == 5


def test_a_descendant_of_the_server_is_the_server_before_anybody_has_looked_for_it() -> None:
    """A process that the server has just started is not foreign until the next look at the tree."""
    found = holdings([User(HERE, "compute", 5)], names(PARENT))
    assert found.holders[0].server is True
    assert (found.server_bytes, found.foreign_processes) == (5, 0)


def test_without_a_known_server_nobody_is_foreign() -> None:
    """Who is foreign is a question about a server: without one the column is open, not the number of all."""
    found = holdings([User(HERE, "compute", 5)], names())
    assert (found.processes, found.foreign_processes, found.why) == (1, None, NO_SERVER)
    assert found.holders[0].name


def test_in_a_namespace_of_our_own_ids_are_not_believed() -> None:
    """A number that happens to be a process of ours is not it: no name, no server, no foreigner."""
    found = holdings([User(HERE, "compute", 5)], names(PARENT + 10**6, host_ids=False))
    assert found == Holdings((Holder(User(HERE, "compute", 5)),), 1, why=HIDDEN, matched=False)


def test_a_driver_that_names_the_server_translates_its_ids() -> None:
    """In a namespace of our own the server's own id in the list shows that the ids are ours."""
    found = holdings([User(HERE, "compute", 5)], names(HERE, host_ids=False))
    assert (found.server_bytes, found.foreign_processes, found.why) == (5, 0, None)


def test_an_empty_list_in_a_namespace_of_our_own_is_no_answer() -> None:
    """Drivers leave out whom they cannot name there: zero would be a guess."""
    assert holdings([], names(HERE, host_ids=False)) == Holdings(why=EMPTY)


def test_a_process_id_that_went_to_another_process_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is kept is that of a process, not of a number."""
    known = names(PARENT)
    first = known.find(HERE)
    assert first is not None
    monkeypatch.setattr(first.process, "is_running", lambda: False)  # as after its end
    second = known.find(HERE)
    assert second is not None
    assert second is not first


def test_lists_of_one_gpu_are_merged_by_process() -> None:
    """Both lists tell all it holds, so that is not added up; entries of several instances in one list are."""
    users = merged([on_gpu(7, 10), on_gpu(7, 5), on_gpu(8, None)], [on_gpu(7, 15), on_gpu(8, 3)], {7: 0.5})
    assert users == [User(7, "compute,graphics", 15, 0.5), User(8, "compute,graphics", 3, None)]


def test_a_process_of_which_one_list_does_not_tell_all_has_no_memory() -> None:
    """A sum with a hole in it is no sum."""
    assert merged([on_gpu(7, 10), on_gpu(7, None)], [], {}) == [User(7, "compute", None)]
