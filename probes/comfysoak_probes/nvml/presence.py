"""Whether one GPU answers: its loss is told once, it is asked for later and later, and its return is told."""

from __future__ import annotations

from typing import Final

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.rows import Event
from comfysoak_probes.nvml.driver import Device, DriverError, Fault, Gate
from comfysoak_probes.source import Backoff, Outage, Tick

CLOSED_NS: Final = 5 * NS_PER_S  # a driver that is closed for longer is not just being initialised by somebody else
SOON_S: Final = 0.2  # to the next try while a thread is in the driver
SOON_TRIES: Final = 5  # so often: one that waits for events has left by then, one that hangs has not
LATEST_S: Final = 300.0  # between two tries, each of which is felt by all GPUs: a lost one seldom comes back by itself


class Presence:
    """One GPU or MIG instance, and what to do to have it back."""

    def __init__(self, device: Device, gate: Gate) -> None:
        self.device = device
        self._gate = gate
        self._outage = Outage(device.uuid)
        self._backoff = Backoff(most_s=LATEST_S)
        self.doubted = False  # somebody has seen that it is not listed
        self._last: DriverError | None = None  # of the loss, while it is lost
        self._put_off = 0  # tries in a row that were, for a thread was in the driver
        self._tried = device.generation  # of the driver, in which this GPU was last looked for
        self._closed_ns: int | None = None

    @property
    def is_stale(self) -> bool:
        """The handle is not to be used: the GPU was lost, or the driver was initialised again."""
        return self.is_lost or self.doubted or self.device.generation != self._gate.generation

    @property
    def is_lost(self) -> bool:
        """Its loss was told, and it was not read since."""
        return self._outage.since_ns is not None

    def renew(self) -> Device:
        """The GPU with a handle that is good now; after a loss by way of a driver initialised anew. Raises DriverError.

        An instance that is no longer listed was taken away by somebody: no reason to initialise the driver.
        """
        self.doubted = False
        last = self._last
        taken_away = self.device.parent is not None and last is not None and last.fault is Fault.GPU_GONE
        put_off, self._put_off = self._put_off, 0
        if last is not None and not taken_away and not self._gate.reopen(self._tried):
            self._put_off = (put_off + 1) % SOON_TRIES
            raise last
        self._tried = self._gate.generation
        self.device = self._gate.renew(self.device)
        return self.device

    def lost(self, tick: Tick, error: DriverError) -> tuple[list[Event], float]:
        """What to tell of a reading that ended so, and in how many seconds to try again (0: as usual)."""
        if error.fault is not Fault.CLOSED:
            self._last = error
        elif not self.is_lost:
            self._closed_ns = self._closed_ns or tick.began_ns
            if tick.began_ns - self._closed_ns < CLOSED_NS:
                return [], 0.0
            self._last = error
        is_lost = error.fault is Fault.GPU_LOST
        kind, code = ("gpu_lost", Code.GPU_LOST) if is_lost else ("gpu_vanished", Code.GPU_VANISHED)
        detail = f"{self.device.title}: {error}"
        again_s = SOON_S if self._put_off else self._backoff.next_s()
        return self._outage.lost(tick.began_ns, detail, kind=kind, code=code), again_s

    def found(self, tick: Tick) -> list[Event]:
        """What to tell of a reading that was good."""
        self._closed_ns = None
        if not self.is_lost:
            return []
        self._backoff.reset()
        self._last = None
        return self._outage.found(tick.began_ns, f"{self.device.title}: the GPU answers again")
