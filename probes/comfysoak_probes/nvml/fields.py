"""Single fields of a GPU: asked for one by one, each missing for a reason of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pynvml

from comfysoak_core.clock import NS_PER_S
from comfysoak_probes.nvml.driver import ENDS_READING, LASTING, DriverError, Fault
from comfysoak_probes.nvml.opened import OpenGpu

Call = tuple[Callable[..., Any], tuple[object, ...]]  # a function of the binding, its arguments after the handle

MEMORY: Final = "memory_used_bytes,memory_total_bytes,memory_reserved_bytes"
WHOLE_ONLY: Final = "told of the whole GPU only, in its own rows"
UNKNOWN_QUESTION: Final = f"the driver does not know the question (NVML error {pynvml.NVML_ERROR_INVALID_ARGUMENT})"


@dataclass(slots=True)
class Fields:
    """Asks one GPU field by field, and knows which fields it does not have, so as not to ask for those again.

    `columns` names the columns that a call fills, joined by commas. An unknown error (999) of one field is the
    field's own as long as the GPU still tells its memory: some boards answer so for a fan they do not have.
    """

    gpu: OpenGpu
    _reasons: dict[str, str] = field(default_factory=dict)
    _given_up: set[str] = field(default_factory=set)
    _choice: dict[str, int] = field(default_factory=dict)
    _constants: dict[str, Any] = field(default_factory=dict)
    _missing: str | None = None
    _stale: bool = False

    def get(self, columns: str, function: Callable[..., Any], *arguments: object) -> Any:  # what the binding gives
        """The value, or None with the reason kept for `missing`. Raises DriverError when the whole GPU is gone."""
        return self.get_first(columns, (function, arguments))

    def get_first(self, columns: str, *calls: Call) -> Any:  # what the binding gives
        """As `get`, of the first of these functions that this driver has."""
        if columns in self._given_up:
            return None
        function, arguments = calls[self._choice.get(columns, 0)]
        try:
            answer = self.gpu.ask(function, *arguments)
        except DriverError as error:
            return self._refused(columns, calls, error)
        self.clear(columns)
        return answer

    def get_once(self, columns: str, function: Callable[..., Any], *arguments: object) -> Any:  # as `get`
        """As `get`, of something that cannot change while the driver stays initialised: asked until it is known."""
        known = self._constants.get(columns)
        if known is None:
            known = self._constants[columns] = self.get(columns, function, *arguments)
        return known

    def _refused(self, columns: str, calls: tuple[Call, ...], error: DriverError) -> Any:
        place = self._choice.get(columns, 0) + 1
        if error.fault is Fault.FUNCTION_MISSING and place < len(calls):
            self._choice[columns] = place
            return self.get_first(columns, *calls)
        self.refuse(columns, error)
        return None

    def refuse(self, columns: str, error: DriverError) -> None:
        """Note that the driver gave no value. Raises the error when it is about the whole GPU."""
        if error.fault in ENDS_READING and not (error.fault is Fault.UNKNOWN and self._alive()):
            raise error
        unknown_question = error.code == pynvml.NVML_ERROR_INVALID_ARGUMENT
        self.note(columns, UNKNOWN_QUESTION if unknown_question else str(error), lasting=lasts(error))

    def _alive(self) -> bool:
        try:
            self.gpu.ask(pynvml.nvmlDeviceGetMemoryInfo)
        except DriverError as error:
            return error.fault not in ENDS_READING
        return True

    def note(self, columns: str, reason: str, *, lasting: bool = False) -> None:
        """Keep why there is no value; for good when it is `lasting`."""
        if not columns:
            return
        if lasting:
            self._given_up.add(columns)
        for column in columns.split(","):
            if self._reasons.get(column) != reason:
                self._reasons[column] = reason
                self._stale = True

    def clear(self, columns: str) -> None:
        """There is a value now."""
        if not self._reasons:
            return
        for column in columns.split(","):
            self._stale |= self._reasons.pop(column, None) is not None

    def gone(self, columns: str) -> bool:
        """Whether these are never asked for again."""
        return columns in self._given_up

    def reason(self, column: str) -> str | None:
        """Why this column has no value."""
        return self._reasons.get(column)

    def missing(self) -> str | None:
        """`column: reason`, or `column,column: reason`, of all columns without a value, joined by semicolons."""
        if self._stale:
            self._stale = False
            by_reason: dict[str, list[str]] = {}
            for column, reason in self._reasons.items():
                by_reason.setdefault(reason, []).append(column)
            told = (f"{','.join(columns)}: {reason}" for reason, columns in by_reason.items())
            self._missing = "; ".join(told) or None
        return self._missing


def lasts(error: DriverError) -> bool:
    """Whether this GPU will never answer otherwise; our arguments are always the same ones."""
    return error.fault in LASTING or error.code == pynvml.NVML_ERROR_INVALID_ARGUMENT


def memory_of(fields: Fields) -> Any:  # the binding's structure, with `reserved` from version 2 on
    """Memory with the driver's reserve apart, or, by an old driver, with the reserve in `used`."""
    memory = fields.get_first(
        MEMORY,
        (pynvml.nvmlDeviceGetMemoryInfo, (pynvml.nvmlMemory_v2,)),
        (pynvml.nvmlDeviceGetMemoryInfo, ()),
    )
    if memory is not None and not hasattr(memory, "reserved"):
        fields.note("memory_reserved_bytes", "the driver is too old to tell it apart: it is in memory_used_bytes")
    return memory


def temperature_of(fields: Fields) -> float | None:
    """Degrees Celsius of the chip."""
    arguments = (pynvml.NVML_TEMPERATURE_GPU,)
    degrees = fields.get_first(
        "temperature_celsius",
        (pynvml.nvmlDeviceGetTemperatureV, arguments),
        (pynvml.nvmlDeviceGetTemperature, arguments),
    )
    return None if degrees is None else float(degrees)


def reasons_of(fields: Fields) -> int | None:
    """The bits of why the clocks are what they are, by the newer or the older name."""
    bits = fields.get_first(
        "event_reasons",
        (pynvml.nvmlDeviceGetCurrentClocksEventReasons, ()),
        (pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, ()),
    )
    return None if bits is None else int(bits)


def scaled(count: float | None, unit: float) -> float | None:
    """A count of the driver's in our unit; None stays None."""
    return None if count is None else count * unit


def ratio(percent: float | None) -> float | None:
    """Of percent; None stays None."""
    return None if percent is None else percent / 100


def hertz(mhz: int | None) -> int | None:
    """A clock of the driver's, in hertz."""
    return None if mhz is None else mhz * 1_000_000


@dataclass(slots=True)
class Rate:
    """What a counter grows by in a second, from two readings of it."""

    fields: Fields
    column: str
    unit: float = 1.0
    _last: float | None = None
    _last_ns: int = 0

    def per_second(self, counter: float | None, at_ns: int) -> float | None:
        """Of the time since the reading before; None, with the reason noted, at the first and when it fell back."""
        last, seconds = self._last, (at_ns - self._last_ns) / NS_PER_S
        self._last, self._last_ns = counter, at_ns
        if counter is None:
            return None  # why stands there already
        if last is None or seconds <= 0:
            self.fields.note(self.column, "a rate needs two readings of its counter")
            return None
        if counter < last:
            self.fields.note(self.column, "the counter fell back since the row before")
            return None
        return (counter - last) * self.unit / seconds
