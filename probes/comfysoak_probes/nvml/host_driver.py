"""The NVIDIA driver of this host: whether there is one, which GPUs and MIG instances it has, who comes and who goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.codes import Code
from comfysoak_core.rows import Event, Row
from comfysoak_probes.nvml.driver import Device, DriverError, Fault, Gate, Refusal
from comfysoak_probes.nvml.gpu import GpuSource, Rates
from comfysoak_probes.nvml.xid_source import XidSource
from comfysoak_probes.processes.names import ProcessNames
from comfysoak_probes.source import SAMPLER, Backoff, Outage, Source, Tick

FORGET_NS: Final = 600 * NS_PER_S  # an instance that is not made again within it is another one when it comes
LOOK_EVERY_S: Final = 2.0  # for a driver, a GPU or an instance that was not there before; 0.2 ms with eight GPUs
GROUP: Final = "nvml"
XID_GROUP: Final = "nvml xids"
ON_THE_BUS: Final = Path("/proc/driver/nvidia/gpus")  # Linux; the library itself looks only when it is initialised


class DriverSource:
    """Looks for a driver and its GPUs; has a `GpuSource` started for each it finds, and ended for what is gone."""

    patience_s = 0.15

    def __init__(
        self, *, rates: Rates, host: str, clock: Clock, start: Callable[[Source, str], None],
        end: Callable[[Source], object], names: ProcessNames, on_the_bus: Path = ON_THE_BUS,
    ) -> None:  # fmt: skip
        self.name = GROUP
        self.every_s = LOOK_EVERY_S
        self._gate = Gate()
        self._rates = rates
        self._host = host
        self._clock = clock
        self._start = start
        self._end = end
        self._names = names
        self._on_the_bus = on_the_bus
        self._outage = Outage(GROUP)
        self._backoff = Backoff(LOOK_EVERY_S)
        self._found: dict[str, Device] = {}  # by uuid, as last listed
        self._sources: dict[str, GpuSource] = {}  # of each of them
        self._absent: dict[str, int] = {}  # those that are not listed, and since when
        self._refused: dict[str, str] = {}  # why, by title
        self._xids: XidSource | None = None
        self._bus: frozenset[str] = frozenset()

    def read(self, tick: Tick) -> list[Row]:
        """Events only: there is no driver, there is none any more, or there is one now; a GPU that was not there."""
        try:
            self._open()
            devices = self._gate.devices()
            events = list(self._compare(devices, tick))
        except DriverError as error:
            return (
                self._none(f"{error}: no GPU of this host is watched", tick) if error.fault is not Fault.CLOSED else []
            )
        if not devices:
            return self._none("the driver answers, but there is no GPU", tick)
        if not self._found:
            return [*self._none("the driver gives none of the GPUs it has", tick), *events]
        self._backoff.reset()
        self.every_s = LOOK_EVERY_S
        return [*self._outage.found(tick.began_ns), *events]

    def _none(self, detail: str, tick: Tick) -> list[Row]:
        """No GPU: said once, looked for later and later."""
        self.every_s = self._backoff.next_s()
        return list(self._outage.lost(tick.began_ns, detail))

    def _open(self) -> None:
        """A driver that is initialised, and was so when the GPUs were there that are there now. Raises DriverError."""
        bus, generation = _names_in(self._on_the_bus), self._gate.generation
        is_stale = generation > 0 and (bus != self._bus or not self._found)
        if not is_stale:
            self._gate.open()
        elif not self._gate.reopen(generation):
            return  # a thread is in the way: at the next look
        self._bus = bus

    def _compare(self, devices: list[Device | Refusal], tick: Tick) -> Iterator[Event]:
        """What is new is begun; what is no longer there is asked to look again."""
        there = {device.uuid: device for device in devices if isinstance(device, Device)}
        refused = [device for device in devices if isinstance(device, Refusal)]
        self._absent = {uuid: self._absent.get(uuid, tick.began_ns) for uuid in self._missing(there, refused)}
        for uuid, since_ns in self._absent.items():
            if since_ns == tick.began_ns:
                self._sources[uuid].look_again()
            elif tick.began_ns - since_ns >= FORGET_NS and self._found[uuid].parent is not None:
                self._forget(uuid)
        for device in there.values():
            if device.uuid not in self._found:
                yield self._begin(device, tick)
            self._found[device.uuid] = device
        yield from self._tell_refused(refused, tick)

    def _missing(self, there: dict[str, Device], refused: list[Refusal]) -> set[str]:
        """GPUs that were there before, and are neither there nor refused: those tell so themselves."""
        indices = {refusal.index for refusal in refused}
        return {uuid for uuid, gpu in self._found.items() if uuid not in there and gpu.index not in indices}

    def _forget(self, uuid: str) -> None:
        """An instance taken away for good: whoever makes others again and again leaves nothing behind here."""
        del self._found[uuid]
        self._end(self._sources.pop(uuid))

    def _begin(self, device: Device, tick: Tick) -> Event:
        source = GpuSource(device, self._gate, self._rates, self._host, self._clock, self._names)
        self._sources[device.uuid] = source
        self._start(source, GROUP)
        if device.parent is None:  # the driver tells of an instance by its GPU
            self._listen(device)
        detail = f"{device.title}, {device.name}, driver {_version(self._gate)}"
        return Event(at_ns=tick.began_ns, source=SAMPLER, kind="gpu", subject=device.uuid, detail=detail)

    def _listen(self, gpu: Device) -> None:
        if self._xids is None:
            self._xids = XidSource(self._gate, self._clock)
            self._start(self._xids, XID_GROUP)
        self._xids.listen(gpu)

    def _tell_refused(self, refused: list[Refusal], tick: Tick) -> Iterator[Event]:
        """GPUs that could not be had from the start: each reason once."""
        known = {gpu.index for gpu in self._found.values() if gpu.parent is None}
        reasons = {one.title: one.error for one in refused if one.title != f"GPU {one.index}" or one.index not in known}
        for title, error in reasons.items():
            if self._refused.get(title) == str(error):
                continue
            is_lost = error.fault is Fault.GPU_LOST
            kind, code = ("gpu_lost", Code.GPU_LOST) if is_lost else ("source_missing", None)
            detail = f"cannot be watched: {error}"
            yield Event(at_ns=tick.began_ns, source=SAMPLER, kind=kind, subject=title, code=code, detail=detail)
        self._refused = {title: str(error) for title, error in reasons.items()}

    def close(self) -> None:
        """Shut the driver down."""
        self._gate.close()


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in folder.iterdir())
    except OSError:
        return frozenset()


def _version(gate: Gate) -> str:
    try:
        return gate.version()
    except DriverError as error:
        return f"unknown ({error})"
