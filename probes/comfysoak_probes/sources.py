"""All sources of a configuration, in groups that share a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import psutil

from comfysoak_core.clock import Clock
from comfysoak_core.errors import UsageError
from comfysoak_probes.config import LOG_OFF, SamplerConfig
from comfysoak_probes.containers.source import ContainerSource
from comfysoak_probes.dcgm.exporter import DcgmSource
from comfysoak_probes.gpu_sights import GpuSights
from comfysoak_probes.host.host import DiskSpace, HostSource
from comfysoak_probes.log.source import LogSource
from comfysoak_probes.nvml.gpu import GpuSource, Rates
from comfysoak_probes.nvml.host_driver import DriverSource
from comfysoak_probes.processes.names import ProcessNames
from comfysoak_probes.processes.search import Search
from comfysoak_probes.processes.source import ProcessSource
from comfysoak_probes.remote.cursors import Cursor
from comfysoak_probes.remote.source import ProbeSource
from comfysoak_probes.server.folders import FolderSource
from comfysoak_probes.server.server_process import Finder
from comfysoak_probes.server.source import ServerSource
from comfysoak_probes.source import Kind, Source

# A source, the group whose thread it shares, and with whom it is paused.
Add = Callable[[Source, str, Kind], None]


def add_sources(
    add: Add, remove: Callable[[Source], object], config: SamplerConfig, clock: Clock, *, host: str,
    cursors: Mapping[str, Cursor] | None = None,
) -> None:  # fmt: skip
    """Hand over everything `config` names. What may wait for a network has a thread of its own.

    `cursors`: how far this run has got with remote probes, by URL; None: nobody keeps that.
    """
    names = ProcessNames()
    sights = GpuSights()
    if config.nvml + len(config.dcgm) + len(config.probes) > 1:
        add(sights, sights.name, Kind.PROBE)
    if config.nvml:
        rates = Rates(config.every_s, config.slow_every_s, config.processes_every_s)
        driver = DriverSource(
            rates=rates, host=host, clock=clock, names=names,
            start=lambda source, group: _start(add, source, group, sights), end=remove,
        )  # fmt: skip
        add(driver, driver.name, Kind.GPU)
    if config.host:
        disk = DiskSpace(config.disk, clock)
        add(disk, "disk", Kind.HOST)
        add(HostSource(every_s=config.host_every_s, host=host, clock=clock, disk=disk), "host", Kind.HOST)
        search = Search()
        processes = ProcessSource(
            config.servers, every_s=config.host_every_s, host=host, clock=clock, names=names, search=search
        )
        add(processes, "processes", Kind.HOST)
        for server in config.servers:
            if psutil.LINUX:  # others have no control groups
                add(ContainerSource(server, host=host, clock=clock, search=search), "containers", Kind.HOST)
            finder = Finder(server, listening=search.holders)
            add(FolderSource(server, host=host, clock=clock, finder=finder), "folders", Kind.HOST)
    try:
        _add_remote(add, config, clock, sights)
        for remote in config.probes:
            cursor = cursors.get(remote.url) if cursors is not None else None
            source = ProbeSource(remote, config, clock=clock, cursor=cursor, marks=cursors is not None, see=sights.see)
            add(source, remote.url, Kind.PROBE)
    except ValueError as error:
        raise UsageError(str(error), "Give addresses with http:// or https://.") from error


def _start(add: Add, source: Source, group: str, sights: GpuSights) -> None:
    """A source of the driver's."""
    if isinstance(source, GpuSource):
        sights.see(source.uuid, "the driver")
    add(source, group, Kind.GPU)


def _add_remote(add: Add, config: SamplerConfig, clock: Clock, sights: GpuSights) -> None:
    for url in config.dcgm:
        dcgm = DcgmSource(url, every_s=config.every_s, slow_every_s=config.slow_every_s, clock=clock, see=sights.see)
        add(dcgm, url, Kind.GPU)
    for server in config.servers:
        add(ServerSource(server, every_s=config.server_every_s, clock=clock, token=config.token), server, Kind.SERVER)
        if config.log != LOG_OFF:
            log = LogSource.of(server, config.log, clock=clock, token=config.token)
            add(log, f"log of {server}", Kind.LOG)
