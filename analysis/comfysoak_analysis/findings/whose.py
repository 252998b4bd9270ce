"""Whose process and whose GPU: what the recording tells of it, and nothing that is guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from comfysoak_analysis.frames import Run
from comfysoak_analysis.server_hosts import hosts_of
from comfysoak_analysis.server_processes import serving
from comfysoak_analysis.watched_gpus import watched_gpus

_GPU_TABLES = (("gpu_health", "foreign_bytes"), ("gpu_slow", "sm_clock_hertz"))


@dataclass(frozen=True, slots=True)
class OwnedGpu:
    """A GPU with the servers that are known to use it; none: it is not known whose it is."""

    uuid: str
    host: str
    servers: tuple[str, ...]


def servers(run: Run) -> tuple[str, ...]:
    """The ComfyUI servers of the run: those that were watched, else those that prompts were sent to."""
    watched = sorted(run.tracks("server", ("queue_pending",), by="server"))
    return tuple(watched or sorted(str(one) for one in run.prompts["server"].dropna().unique()))


def gpus(run: Run) -> tuple[OwnedGpu, ...]:
    """All GPUs that were watched.

    A GPU is a server's by the driver's list of processes, by its command line (`--cuda-device`), or because there is
    no other server that could have it.
    """
    return run.once(_gpus)


def _gpus(run: Run) -> tuple[OwnedGpu, ...]:
    places = _places(run)
    by_process, by_number = _by_process(run), dict(_by_number(run, places))
    homes = _homes(run, {host for host, _ in places.values()})
    found = []
    for uuid, (host, _) in sorted(places.items()):
        owners = by_process.get(uuid) or by_number.get(uuid) or _only_one(homes, host)
        found.append(OwnedGpu(uuid, host, tuple(sorted(owners))))
    return tuple(found)


def gpus_of(run: Run, server: str) -> tuple[str, ...]:
    """The GPUs a server is known to use."""
    return tuple(gpu.uuid for gpu in gpus(run) if server in gpu.servers)


@dataclass(frozen=True, slots=True)
class Listed:
    """One process of the driver's lists; `is_server` is None where nobody can tell whose it is."""

    uuid: str
    host: str
    pid: int
    is_server: bool | None


def listed(run: Run) -> tuple[Listed, ...]:
    """All processes that were ever on a GPU."""
    return run.once(_listed)


def _listed(run: Run) -> tuple[Listed, ...]:
    rows = _distinct(run, "gpu_processes", ("uuid", "host", "pid", "is_server"))
    return tuple(Listed(str(row[0]), str(row[1]), int(row[2]), row[3]) for row in rows if row[0] and row[2] is not None)


def _distinct(run: Run, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:  # as they were recorded
    """The different rows of some columns, whatever the length of the table."""
    found: dict[tuple[Any, ...], None] = {}
    for piece in run.reader(table).pieces(columns):
        rows = piece.group_by(list(columns)).aggregate([]).to_pydict()
        found.update(dict.fromkeys(zip(*(rows[name] for name in columns), strict=True)))
    return list(found)


def _places(run: Run) -> dict[str, tuple[str, int | None]]:
    """Host and number of each GPU."""
    places: dict[str, tuple[str, int | None]] = {}
    for fact in run.recording.run.gpus:
        places[fact.uuid] = (fact.host, fact.index)
    for gpu in watched_gpus(run).values():
        places.setdefault(gpu.uuid, (gpu.host, gpu.index))
    for table, column in _GPU_TABLES:
        if set(run.tracks(table, (column,))) <= set(places):
            continue
        for uuid, host, index in _distinct(run, table, ("uuid", "host", "index")):
            if uuid:
                places.setdefault(str(uuid), (str(host), None if index is None else int(index)))
    return places


def _by_process(run: Run) -> dict[str, set[str]]:
    """By the process ids that the driver names and that are known to be servers."""
    known = {(one.host, one.pid): one.server for one in serving(run)}
    owners: dict[str, set[str]] = {}
    for one in listed(run):
        server = known.get((one.host, one.pid)) if one.is_server else None
        if server is not None:
            owners.setdefault(one.uuid, set()).add(server)
    return owners


def _by_number(run: Run, places: dict[str, tuple[str, int | None]]) -> Iterator[tuple[str, set[str]]]:
    """By the number on the command line, where it names one GPU only."""
    hosts = {host for host, _ in places.values()}
    homes = _homes(run, hosts)
    for fact in run.recording.run.servers:
        number = _device(fact.argv)
        home = homes.get(fact.url) or (hosts if len(hosts) == 1 else set())
        mine = [uuid for uuid, (host, index) in places.items() if host in home and str(index) == number]
        if len(mine) == 1:
            yield mine[0], {fact.url}


def _device(argv: Sequence[str]) -> str | None:
    """What follows `--cuda-device`."""
    for flag, value in zip(argv, (*argv, "")[1:], strict=True):
        if flag == "--cuda-device":
            return value
        if flag.startswith("--cuda-device="):
            return flag.partition("=")[2]
    return None


def _homes(run: Run, hosts: set[str]) -> dict[str, set[str]]:
    """Those of `hosts` that each server is known to run on; an empty set: not known."""
    homes = {server: set(hosts_of(run, server, hosts)) for server in servers(run)}
    for one in serving(run):
        homes.setdefault(one.server or "", set()).add(one.host)
    return homes


def _only_one(homes: dict[str, set[str]], host: str) -> set[str]:
    """The only server that may be on a host: the others are known to be elsewhere."""
    candidates = {server for server, home in homes.items() if not home or host in home}
    return candidates if len(candidates) == 1 else set()
