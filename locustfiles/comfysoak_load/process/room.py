"""Is there room on this machine for its share of the load? Handles, memory and cores, asked before the start.

Imports neither gevent nor Locust: `comfysoak run` and `comfysoak worker` ask this in their preflight.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from comfysoak_core.errors import UsageError
from comfysoak_core.recording.host_facts import this_host
from comfysoak_core.scenario.plan import Plan
from comfysoak_load.edge.handles import check_handles

PROCESSES_VARIABLE = "COMFYSOAK_LOAD_PROCESSES"  # of the whole run, on all its machines
USER_BYTES = 20 * 1024
SOCKET_BYTES = 6 * 1024
PROCESS_BYTES = 80 * 1024 * 1024  # Python, Locust, libraries
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine has: memory that is free to use, cores that its container may use; None where unknown."""

    free_bytes: int | None
    cores: float | None

    @classmethod
    def here(cls) -> Machine:
        """The one this process runs on."""
        import psutil

        facts = this_host()
        limits = [int(psutil.virtual_memory().available), facts.memory_limit_bytes]
        cores = [
            facts.cpu_limit_ratio,
            float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else None,
        ]
        return cls(
            free_bytes=min(found for found in limits if found is not None),
            cores=min((found for found in cores if found is not None), default=facts.cpu_count),
        )


@dataclass(frozen=True, slots=True)
class Share:
    """The share of the load that `processes` on one machine carry: users with a socket each, and sockets alone."""

    processes: int
    users: int
    sockets_alone: int

    @classmethod
    def of(cls, plan: Plan, processes: int, processes_in_all: int) -> Share:
        """Of a plan's highest load, spread evenly over all processes."""
        users = max(plan.users_most, plan.in_flight_most)
        alone = plan.sockets_most - users
        return cls(processes, *(processes * -(-count // processes_in_all) for count in (users, alone)))

    @property
    def memory_bytes(self) -> int:
        """About what it takes."""
        return self.processes * PROCESS_BYTES + self.users * USER_BYTES + self.sockets_alone * SOCKET_BYTES


def check_room(share: Share, machine: Machine) -> Iterator[str]:
    """Refuse what this machine cannot carry (UsageError), and yield warnings about what will make it slow."""
    per_process = -(-share.users // share.processes)
    check_handles(per_process + -(-share.sockets_alone // share.processes), per_process)
    if machine.free_bytes is not None and share.memory_bytes > machine.free_bytes:
        raise UsageError(
            f"{share.users} users, {share.sockets_alone} watchers and {share.processes} load processes need "
            f"about {share.memory_bytes // _MIB:,} MiB of memory, here are {machine.free_bytes // _MIB:,} MiB free",
            "Ask for fewer users and watchers, or spread them over several machines (--master).",
        )
    if machine.cores is not None and share.processes > machine.cores:
        yield (
            f"{share.processes} load processes share {machine.cores:g} cores: they will wait for each other; "
            "one process a core is most"
        )
