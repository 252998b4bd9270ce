"""What the GPUs of this host report by themselves: Xids, and memory errors that could not be corrected.

An event set of the driver, waited on in a thread of its own. It tells nothing of what was before it, its events have
no times of their own, and it ends with the initialisation of the driver it was made in.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import pynvml

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.codes import Code
from comfysoak_core.rows import Event, Row
from comfysoak_probes.nvml.driver import LASTING, Device, DriverError, Fault, Gate
from comfysoak_probes.nvml.repeats import Repeats
from comfysoak_probes.source import SAMPLER, Backoff, Tick
from comfysoak_probes.xids import xid_code, xid_words

XID: Final = pynvml.nvmlEventTypeXidCriticalError
DOUBLE_BIT: Final = pynvml.nvmlEventTypeDoubleBitEccError
NO_INSTANCE: Final = 0xFFFFFFFF
WAIT_MS: Final = 500  # shorter than a lost GPU waits for it to end (`SOON_S`, `SOON_TRIES`)
IDLE_S: Final = 1.0  # between two looks whether there is something to listen to
TOLD_BY_THE_READER: Final = frozenset({Fault.GPU_LOST, Fault.GPU_GONE, Fault.NO_DRIVER})
TRIES_BEFORE_TOLD: Final = 3  # that there is no set to be had
AGAIN_NS: Final = 60 * NS_PER_S  # until a GPU is asked again that could not be listened to for a passing reason


@dataclass(frozen=True, slots=True)
class EventSet:
    """An event set of the driver, and the GPUs it listens to, by the addresses of their handles."""

    handle: Any  # an opaque pointer
    generation: int
    heard: dict[int, Device]


class XidSource:
    """Listens to all GPUs of this host. Its reading waits, at most for `WAIT_MS`."""

    name = "nvml xids"
    patience_s = 2.0

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self.every_s = IDLE_S
        self._gate = gate
        self._clock = clock
        self._wanted: dict[str, Device] = {}  # by uuid
        self._set: EventSet | None = None
        self._unheard: dict[str, int] = {}  # when to ask again for a GPU, by uuid
        self._told: set[str] = set()
        self._repeats = Repeats()
        self._backoff = Backoff()

    def listen(self, device: Device) -> None:
        """Hear this GPU, too, from the next reading on; may be called by any thread."""
        self._wanted[device.uuid] = device

    @property
    def heard(self) -> frozenset[str]:
        """The uuids of the GPUs that are listened to."""
        return frozenset(device.uuid for device in self._set.heard.values()) if self._set else frozenset()

    def read(self, tick: Tick) -> list[Row]:
        """Wait for an event: its row, if there was one."""
        rows: list[Row] = list(self._repeats.due(tick.began_ns))
        try:
            rows += self._register(tick)
            if self._set is None or not self._set.heard:
                self.every_s = IDLE_S
                return rows
            self.every_s = 0.0
            rows += self._wait(self._set)
            self._backoff.reset()
        except DriverError as error:
            rows += self._give_up(error, tick.began_ns)
        return rows

    def close(self) -> None:
        """Free the set."""
        self._drop()

    def _register(self, tick: Tick) -> list[Event]:
        """Register what is wanted and not heard yet, in a set of this generation. Raises DriverError."""
        if self._set is not None and self._set.generation != self._gate.generation:
            self._set = None  # it went with its driver
            self._unheard.clear()
        heard, now_ns = self.heard, tick.began_ns
        new = [
            d for uuid, d in list(self._wanted.items()) if uuid not in heard and self._unheard.get(uuid, 0) <= now_ns
        ]
        if not new:
            return []
        if self._set is None:
            generation = self._gate.generation
            self._set = EventSet(self._gate.ask(pynvml.nvmlEventSetCreate, generation=generation), generation, {})
        told: list[Event] = []
        for device in new:
            if (events := self._set) is not None:
                told += self._register_one(events, device, now_ns)
        return told

    def _register_one(self, events: EventSet, device: Device, now_ns: int) -> list[Event]:
        try:
            if device.generation != events.generation:
                device = self._wanted[device.uuid] = self._gate.renew(device)
            types = self._types(device)
            self._gate.ask(
                pynvml.nvmlDeviceRegisterEvents, device.handle, types, events.handle, generation=events.generation
            )
        except DriverError as error:
            if error.fault is Fault.CLOSED:
                raise
            if error.fault is Fault.UNKNOWN:  # has broken the set: the next reading builds one without this GPU
                self._drop()
            self._put_off(device, error, now_ns)
            return [] if error.fault in TOLD_BY_THE_READER else self._tell(device, error, now_ns)
        events.heard[_address(device.handle)] = device
        return []

    def _types(self, device: Device) -> int:
        """What to listen for, of what this GPU can tell: what is registered beside something it cannot is refused."""
        try:
            supported = int(self._gate.ask(pynvml.nvmlDeviceGetSupportedEventTypes, device.handle))
        except DriverError as error:
            if error.fault in LASTING:
                return int(XID)  # the registration says the rest
            raise
        return int(XID | (supported & DOUBLE_BIT))

    def _put_off(self, device: Device, error: DriverError, now_ns: int) -> None:
        """One GPU is not heard, the others are."""
        self._unheard[device.uuid] = 2**63 if error.fault in LASTING else now_ns + AGAIN_NS

    def _tell(self, device: Device, error: DriverError, now_ns: int) -> list[Event]:
        """Why a GPU is not heard, once."""
        if device.uuid in self._told:
            return []
        self._told.add(device.uuid)
        detail = f"Xids of {device.title} cannot be heard: {error}"
        return [Event(at_ns=now_ns, source=SAMPLER, kind="xid_unheard", subject=device.uuid, detail=detail)]

    def _wait(self, events: EventSet) -> list[Event]:
        try:
            data = self._gate.wait(pynvml.nvmlEventSetWait_v2, events.handle, WAIT_MS, generation=events.generation)
        except DriverError as error:
            if error.code == pynvml.NVML_ERROR_TIMEOUT:
                return []
            raise
        return self._repeats.filter(self._event(data, events, self._clock.now_ns()))

    def _event(self, data: Any, events: EventSet, at_ns: int) -> Event:  # a structure of the binding
        device = events.heard.get(_address(data.device))
        where = f", {device.title}" if device else ""
        if data.gpuInstanceId != NO_INSTANCE:
            where += f" MIG {data.gpuInstanceId}/{data.computeInstanceId}"
        subject = device.uuid if device else None
        code: Code | None = None
        kind, words = "ecc_error", "memory error that could not be corrected (double-bit ECC)"
        if int(data.eventType) == XID:
            number = int(data.eventData)
            kind, words, code = "xid", xid_words(number), xid_code(number)
        return Event(at_ns=at_ns, source=SAMPLER, kind=kind, subject=subject, code=code, detail=words + where)

    def _give_up(self, error: DriverError, now_ns: int) -> list[Event]:
        """Free a set that is of no use, and build another one, later and later; unless the driver is just closed."""
        if error.fault is Fault.CLOSED:
            self.every_s = IDLE_S
            return []
        self._drop()
        self.every_s = self._backoff.next_s()
        if error.fault not in LASTING and self._backoff.tries < TRIES_BEFORE_TOLD:
            return []
        wanted = list(self._wanted.values())
        for device in wanted:
            self._put_off(device, error, now_ns)
        return [event for device in wanted for event in self._tell(device, error, now_ns)]

    def _drop(self) -> None:
        events, self._set = self._set, None
        if events is not None:
            with suppress(DriverError):  # it is gone already
                self._gate.ask(pynvml.nvmlEventSetFree, events.handle, generation=events.generation)


def _address(handle: Any) -> int:  # an opaque pointer
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
