"""On which host a server runs, as far as that is known: GPUs of other hosts say nothing about it."""

from __future__ import annotations

from urllib.parse import urlsplit

import pandas as pd

from comfysoak_analysis.frames import Run


def gpus_beside(run: Run, server: str) -> pd.DataFrame:
    """The rows of `run.gpu` of the host a server runs on; of all hosts where that is not known.

    Known is the host on which its process was found, or one that has the name in its address. A loopback address says
    nothing: a tunnel may begin there.
    """
    hosts = run.gpu["host"].drop_duplicates()
    if len(hosts) < 2:
        return run.gpu
    found = run.processes[(run.processes["role"] == "server") & (run.processes["server"] == server)]
    beside = hosts[hosts.isin(found["host"])]
    if beside.empty:
        beside = hosts[hosts.str.lower().isin(_names(server))]
    return run.gpu if beside.empty else run.gpu[run.gpu["host"].isin(beside)]


def _names(server: str) -> set[str]:
    """The name in an address, whole and without its domain."""
    try:
        name = (urlsplit(server).hostname or "").lower()
    except ValueError:
        return set()
    return {name} if name.replace(".", "").isdecimal() else {name, name.partition(".")[0]}
