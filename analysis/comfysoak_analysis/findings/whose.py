"""Whose process and whose GPU: what the recording tells of it, and nothing that is guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import pyarrow as pa

from comfysoak_analysis.findings.once import once
from comfysoak_analysis.frames import Run

SERVER = "server"
_GPU_TABLES = ("gpu_health", "gpu_slow")


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """One process that was a server."""

    server: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class OwnedGpu:
    """A GPU with the servers that are known to use it; none: it is not known whose it is."""

    uuid: str
    host: str
    servers: tuple[str, ...]


@once
def server_processes(run: Run) -> tuple[ServerProcess, ...]:
    """Those the sampler found; a server that was started again has several."""
    rows = distinct(run, "processes", ("role", "server", "host", "pid"))
    found = [ServerProcess(str(row[1]), str(row[2]), int(str(row[3]))) for row in rows if row[0] == SERVER and row[1]]
    return tuple(sorted(found, key=lambda one: (one.server, one.host, one.pid)))


@once
def servers(run: Run) -> tuple[str, ...]:
    """The ComfyUI servers of the run: those that were watched, else those that prompts were sent to."""
    watched = {str(row[0]) for row in distinct(run, "server", ("server",)) if row[0]}
    if watched:
        return tuple(sorted(watched))
    return tuple(sorted({str(row[0]) for row in distinct(run, "prompts", ("server",)) if row[0]}))


@once
def gpus(run: Run) -> tuple[OwnedGpu, ...]:
    """All GPUs that were watched.

    A GPU is a server's by the driver's list of processes, by its command line (`--cuda-device`), or because there is
    no other server that could have it.
    """
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


def distinct(run: Run, table: str, columns: Sequence[str]) -> list[tuple[object, ...]]:
    """The different rows of some columns, whatever the length of the table."""
    parts = []
    for batch in run.recording.stream(table, columns=list(columns)):
        rows = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        present = [name for name in columns if name in rows.column_names]
        parts.append(rows.select(present).group_by(present).aggregate([]))
    if not parts:
        return []
    whole = pa.concat_tables(parts, promote_options="permissive")
    lists = [whole.column(name).to_pylist() if name in whole.column_names else [None] * len(whole) for name in columns]
    return list(dict.fromkeys(zip(*lists, strict=True)))


def _places(run: Run) -> dict[str, tuple[str, int | None]]:
    """Host and number of each GPU."""
    places: dict[str, tuple[str, int | None]] = {}
    for fact in run.recording.run.gpus:
        places[fact.uuid] = (fact.host, fact.index)
    for table in (*_GPU_TABLES, "gpu"):
        if table == "gpu" and places:
            break  # by far the longest
        for uuid, host, index in distinct(run, table, ("uuid", "host", "index")):
            if uuid:
                places.setdefault(str(uuid), (str(host), None if index is None else int(str(index))))
    return places


def _by_process(run: Run) -> dict[str, set[str]]:
    """By the process ids that the driver names and that are known to be servers."""
    known = {(one.host, one.pid): one.server for one in server_processes(run)}
    owners: dict[str, set[str]] = {}
    for uuid, host, pid, is_server in distinct(run, "gpu_processes", ("uuid", "host", "pid", "is_server")):
        server = known.get((str(host), int(str(pid)))) if is_server else None
        if server is not None:
            owners.setdefault(str(uuid), set()).add(server)
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
    """The hosts each server was found on, or that its address names; an empty set: not known."""
    homes: dict[str, set[str]] = {server: set() for server in servers(run)}
    for one in server_processes(run):
        homes.setdefault(one.server, set()).add(one.host)
    for server, home in homes.items():
        named = _host_name(server)
        home |= {host for host in hosts if named and not home and host.lower() in (named, named.partition(".")[0])}
    return homes


def _host_name(server: str) -> str:
    try:
        return (urlsplit(server).hostname or "").lower()
    except ValueError:
        return ""


def _only_one(homes: dict[str, set[str]], host: str) -> set[str]:
    """The only server that may be on a host: the others are known to be elsewhere."""
    candidates = {server for server, home in homes.items() if not home or host in home}
    return candidates if len(candidates) == 1 else set()
