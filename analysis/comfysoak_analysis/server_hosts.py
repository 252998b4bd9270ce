"""On which host a server runs, as far as that is known: GPUs of other hosts say nothing about it."""

from __future__ import annotations

from urllib.parse import urlsplit

import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_analysis.watched_gpus import watched_gpus


def gpus_beside(run: Run, server: str) -> pd.DataFrame:
    """`uuid` and `host` of the GPUs of the host a server runs on; of all hosts where that is not known.

    Known is the host on which its process was found, or one that has the name in its address. A loopback address says
    nothing: a tunnel may begin there.
    """
    rows = [(gpu.uuid, gpu.host) for gpu in watched_gpus(run).values()]
    gpus = pd.DataFrame(rows, columns=["uuid", "host"], dtype=object)
    hosts = gpus["host"].drop_duplicates()
    if len(hosts) < 2:
        return gpus
    beside = hosts[hosts.isin(run.once(_hosts_of_servers).get(server, ()))]
    if beside.empty:
        beside = hosts[hosts.str.lower().isin(_names(server))]
    return gpus if beside.empty else gpus[gpus["host"].isin(beside)]


def _hosts_of_servers(run: Run) -> dict[str, set[str]]:
    """On which hosts the process of each server was found."""
    found: dict[str, set[str]] = {}
    for piece in run.reader("processes").pieces(("role", "server", "host")):
        seen = piece.group_by(["role", "server", "host"]).aggregate([]).to_pylist()
        for row in seen:
            if row["role"] == "server" and row["server"] is not None:
                found.setdefault(row["server"], set()).add(row["host"])
    return found


def _names(server: str) -> set[str]:
    """The name in an address, whole and without its domain."""
    try:
        name = (urlsplit(server).hostname or "").lower()
    except ValueError:
        return set()
    return {name} if name.replace(".", "").isdecimal() else {name, name.partition(".")[0]}
