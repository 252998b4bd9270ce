"""The NVIDIA driver of this host: whether there is one, and which GPUs it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from comfysoak_core.clock import Clock
from comfysoak_core.rows import Event, Row
from comfysoak_probes.driver import Device, DriverError, Fault, Gate
from comfysoak_probes.gpu import GpuSource, Rates
from comfysoak_probes.gpu_processes import ProcessNames
from comfysoak_probes.source import SAMPLER, Outage, Source, Tick

LOOK_EVERY_S: Final = 30.0  # for a driver or a GPU that was not there before


class DriverSource:
    """Looks for a driver and its GPUs, and has a `GpuSource` started for each one it finds."""

    patience_s = 0.15
    every_s = LOOK_EVERY_S

    def __init__(
        self, *, rates: Rates, host: str, clock: Clock, start: Callable[[Source], None], names: ProcessNames
    ) -> None:
        self.name = "nvml"
        self._gate = Gate()
        self._rates = rates
        self._host = host
        self._clock = clock
        self._start = start
        self._names = names
        self._outage = Outage("nvml")
        self._found: set[str] = set()

    def read(self, tick: Tick) -> list[Row]:
        """Events only: there is no driver, there is none any more, or there is one now."""
        try:
            self._gate.open()
            devices = self._gate.devices()
        except DriverError as error:
            if error.fault is Fault.CLOSED:
                return []
            return list(self._outage.lost(tick.began_ns, f"{error}: no GPU of this host is watched"))
        if not devices:
            return list(self._outage.lost(tick.began_ns, "the driver answers, but there is no GPU"))
        rows: list[Row] = list(self._outage.found(tick.began_ns))
        new = [device for device in devices if isinstance(device, Device) and device.uuid not in self._found]
        return rows + [self._begin(device, tick) for device in new]

    def _begin(self, device: Device, tick: Tick) -> Event:
        self._found.add(device.uuid)
        self._start(GpuSource(device, self._gate, self._rates, self._host, self._clock, self._names))
        detail = f"GPU {device.index}, {device.name}, driver {_version(self._gate)}"
        return Event(at_ns=tick.began_ns, source=SAMPLER, kind="gpu", subject=device.uuid, detail=detail)

    def close(self) -> None:
        """Shut the driver down."""
        self._gate.close()


def _version(gate: Gate) -> str:
    try:
        return gate.version()
    except DriverError as error:
        return f"unknown ({error})"
