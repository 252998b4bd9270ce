"""On which host a server runs, as far as that is known: GPUs of other hosts say nothing about it."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_analysis.server_processes import serving
from comfysoak_analysis.watched_gpus import watched_gpus


def gpus_beside(run: Run, server: str) -> pd.DataFrame:
    """`uuid` and `host` of the GPUs of the host a server runs on; of all hosts where that is not known."""
    rows = [(gpu.uuid, gpu.host) for gpu in watched_gpus(run).values()]
    gpus = pd.DataFrame(rows, columns=["uuid", "host"], dtype=object)
    hosts = gpus["host"].drop_duplicates()
    beside = hosts_of(run, server, hosts) if len(hosts) > 1 else ()
    return gpus[gpus["host"].isin(beside)] if beside else gpus


def hosts_of(run: Run, server: str, hosts: Iterable[str]) -> tuple[str, ...]:
    """Which of `hosts` a server runs on: where its process was found, else those its address names; may be none."""
    hosts = tuple(hosts)
    found = {one.host for one in serving(run) if one.server == server}
    return tuple(host for host in hosts if host in found) or named_in(server, hosts)


def named_in(server: str, hosts: Iterable[str]) -> tuple[str, ...]:
    """Which of `hosts` the address of a server names: by its whole name, by the one before its domain, or by its IP.

    A loopback address says nothing: a tunnel may begin there.
    """
    try:
        name = (urlsplit(server).hostname or "").lower().rstrip(".")
    except ValueError:
        return ()
    if not name or name == "localhost":
        return ()
    try:
        if ip_address(name).is_loopback:
            return ()
        names = {name}  # 10.0.0.1 is no host "10"
    except ValueError:
        names = {name, name.partition(".")[0]}
    return tuple(host for host in hosts if host.lower() in names)
