"""What a reader of the page can select: servers and GPUs, and on which host each is, as far as that is known."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from comfysoak_analysis.figures.fleet import MOST_DRAWN
from comfysoak_analysis.figures.gpu_names import lineup
from comfysoak_analysis.frames import Run
from comfysoak_analysis.server_hosts import hosts_of
from comfysoak_analysis.text import for_chart


@dataclass(frozen=True, slots=True)
class Subject:
    """`key` is what rows call it: the address of a server, the uuid of a GPU, the name of a host."""

    key: str
    kind: str  # server, gpu, host
    name: str  # escaped, as names in charts
    host: str = ""  # empty: not known


def subjects_of(run: Run) -> tuple[Subject, ...]:
    """All of them, at most 64 of a kind, each kind in the order of the charts."""
    gpus = [Subject(gpu.uuid, "gpu", gpu.name, gpu.host) for gpu in lineup(run).gpus if gpu.colour]
    hosts = list(dict.fromkeys(gpu.host for gpu in gpus))
    servers = [
        Subject(one, "server", for_chart(one, 60), "".join(hosts_of(run, one, hosts)[:1])) for one in _servers(run)
    ]
    return (*servers, *gpus, *(Subject(host, "host", for_chart(host, 60), host) for host in hosts))


def _servers(run: Run) -> list[str]:
    """Those prompts went to and those that were asked for their queue."""
    seen = {*pd.unique(run.prompts["server"].dropna()), *run.tracks("server", ("queue_pending",), by="server")}
    return sorted(map(str, seen))[:MOST_DRAWN]
