"""The driver's own samples of how busy a GPU was: finer than anybody can ask for (nvmlDeviceGetSamples)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import pynvml

from comfysoak_core.value import value
from comfysoak_probes.nvml.binding import count_samples, read_samples
from comfysoak_probes.nvml.driver import DriverError, Fault
from comfysoak_probes.nvml.fields import Fields

COLUMNS: Final = "utilisation_mean_ratio,utilisation_highest_ratio"
COUNT: Final = "utilisation_samples"
KIND: Final = pynvml.NVML_GPU_UTILIZATION_SAMPLES
SIZE: Final = 16  # bytes of a sample: time stamp, and a union of 8 bytes
FORGET_AFTER: Final = 30  # readings without a sample

# By the type that came with the samples, how a time stamp and a value of the union lie in memory.
LAYOUTS: Final = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: struct.Struct("@Qd"),
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: struct.Struct("@QI0q"),
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: struct.Struct("@QL0q"),
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: struct.Struct("@QQ"),
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: struct.Struct("@Qq"),
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: struct.Struct("@Qi0q"),
    pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: struct.Struct("@QH0q"),
}


@dataclass(slots=True)
class Newest:
    """The time stamp of the newest sample that was read, so that each sample is read once.

    Stamps are of the system's clock. When that is set back, new samples are older than the newest one we know: after
    `FORGET_AFTER` readings without any, whatever comes next is taken as new.
    """

    stamp_us: int = 0  # 0: none read yet
    _quiet: int = 0

    def take(self, stamp_us: int) -> None:
        """A sample of this time was read."""
        self.stamp_us = max(self.stamp_us, stamp_us)
        self._quiet = 0

    def nothing(self) -> None:
        """There was no newer one."""
        self._quiet += 1
        if self._quiet >= FORGET_AFTER:
            self.stamp_us = self._quiet = 0


@value()
class Utilisation:
    """What the driver's samples since the row before come to."""

    mean_ratio: float | None = None
    highest_ratio: float | None = None
    samples: int | None = None


NONE: Final = Utilisation()


class UtilisationSamples:
    """Reads the samples that are new, into memory that is kept."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._newest = Newest()
        self._room: Any = None  # an array of ctypes
        self._bytes = memoryview(b"")

    def read(self) -> Utilisation:
        """Of the samples since the last call. Raises DriverError when the whole GPU is gone."""
        if self._fields.gone(COUNT):
            return NONE
        first = not self._newest.stamp_us
        try:
            percents = self._new()
        except DriverError as error:
            if error.fault is not Fault.NO_DATA:
                return self._refused(error)
            percents = []
        self._fields.clear(COUNT)
        return self._first() if first and self._newest.stamp_us else self._summed(percents)

    def _refused(self, error: DriverError) -> Utilisation:
        self._room = None  # perhaps too small: the driver may keep more of them now
        self._fields.refuse(COUNT, error)
        self._fields.refuse(COLUMNS, error)
        return NONE

    def _first(self) -> Utilisation:
        """The samples of before the first row tell of no time that this recording knows."""
        self._fields.note(f"{COLUMNS},{COUNT}", "counted from the first row on")
        return NONE

    def _summed(self, percents: list[float]) -> Utilisation:
        if not percents:
            self._newest.nothing()
            self._fields.note(COLUMNS, "the driver has no sample since the row before")
            return Utilisation(samples=0)
        self._fields.clear(COLUMNS)
        return Utilisation(sum(percents) / len(percents) / 100, max(percents) / 100, len(percents))

    def _new(self) -> list[float]:
        """The new values in percent; what is none (above 100) left out."""
        ask = self._fields.gpu.ask
        if self._room is None:
            size = max(1, ask(count_samples, KIND))
            self._room = (pynvml.c_nvmlSample_t * size)()
            self._bytes = memoryview(self._room).cast("B")
        kind, count = ask(read_samples, KIND, self._newest.stamp_us, self._room)
        layout = LAYOUTS.get(kind, LAYOUTS[pynvml.NVML_VALUE_TYPE_UNSIGNED_INT])
        since_us, percents = self._newest.stamp_us, []
        for stamp_us, percent in layout.iter_unpack(self._bytes[: SIZE * count]):
            if stamp_us > since_us and 0 <= percent <= 100:
                self._newest.take(stamp_us)
                percents.append(percent)
        return percents
