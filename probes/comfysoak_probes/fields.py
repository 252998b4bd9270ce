"""Single fields of a GPU: asked for one by one, each missing for a reason of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pynvml

from comfysoak_core.clock import NS_PER_S
from comfysoak_probes.driver import ENDS_READING, LASTING, DriverError, Fault, Gate

Call = tuple[Callable[..., Any], tuple[object, ...]]

MEMORY: Final = "memory_used_bytes,memory_total_bytes,memory_reserved_bytes"
PCIE: Final = "pcie_sent_bytes_per_s,pcie_received_bytes_per_s"


@dataclass(slots=True)
class Fields:
    """Asks field by field, and knows which ones this GPU does not have, so as not to ask for those again.

    `columns` names the columns that a call fills, joined by commas.
    """

    gate: Gate
    _reasons: dict[str, str] = field(default_factory=dict)
    _given_up: set[str] = field(default_factory=set)
    _choice: dict[str, int] = field(default_factory=dict)
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
            value = self.gate.ask(function, *arguments)
        except DriverError as error:
            return self._refused(columns, calls, error)
        if columns in self._reasons:
            del self._reasons[columns]
            self._stale = True
        return value

    def _refused(self, columns: str, calls: tuple[Call, ...], error: DriverError) -> Any:
        if error.fault in ENDS_READING:
            raise error
        place = self._choice.get(columns, 0) + 1
        if error.fault is Fault.FUNCTION_MISSING and place < len(calls):
            self._choice[columns] = place
            return self.get_first(columns, *calls)
        self.give_up(columns, str(error), lasting=error.fault in LASTING)
        return None

    def give_up(self, columns: str, reason: str, *, lasting: bool) -> None:
        """Note why there is no value; for good when it is `lasting`."""
        if lasting:
            self._given_up.add(columns)
        if self._reasons.get(columns) != reason:
            self._reasons[columns] = reason
            self._stale = True

    def missing(self) -> str | None:
        """`column: reason` for each column without a value, joined by semicolons."""
        if self._stale:
            self._stale = False
            told = (f"{column}: {reason}" for key, reason in self._reasons.items() for column in key.split(","))
            self._missing = "; ".join(told) or None
        return self._missing


def memory_of(fields: Fields, handle: object) -> Any:  # the binding's structure, with `reserved` from version 2 on
    """Memory with the driver's reserve apart, or, by an old driver, with the reserve in `used`."""
    memory = fields.get_first(
        MEMORY,
        (pynvml.nvmlDeviceGetMemoryInfo, (handle, pynvml.nvmlMemory_v2)),
        (pynvml.nvmlDeviceGetMemoryInfo, (handle,)),
    )
    if memory is not None and not hasattr(memory, "reserved"):
        fields.give_up(
            "memory_reserved_bytes", "the driver is too old to tell; it is in memory_used_bytes", lasting=True
        )
    return memory


def temperature_of(fields: Fields, handle: object) -> float | None:
    """Degrees Celsius of the chip."""
    arguments = (handle, pynvml.NVML_TEMPERATURE_GPU)
    value = fields.get_first(
        "temperature_celsius",
        (pynvml.nvmlDeviceGetTemperatureV, arguments),
        (pynvml.nvmlDeviceGetTemperature, arguments),
    )
    return None if value is None else float(value)


def reasons_of(fields: Fields, handle: object) -> int | None:
    """The bits of why the clocks are what they are, by the newer or the older name."""
    value = fields.get_first(
        "event_reasons",
        (pynvml.nvmlDeviceGetCurrentClocksEventReasons, (handle,)),
        (pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, (handle,)),
    )
    return None if value is None else int(value)


def pcie_counters(fields: Fields, handle: object) -> tuple[int, int] | None:
    """Bytes sent and received since some moment.

    (nvmlDeviceGetPcieThroughput would block for 20 ms a call.)
    """
    wanted = [pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES, pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES]
    values = fields.get(PCIE, pynvml.nvmlDeviceGetFieldValues, handle, wanted)
    if values is None:
        return None
    codes = [int(value.nvmlReturn) for value in values]
    if any(codes):
        error = DriverError(next(code for code in codes if code))
        fields.give_up(PCIE, str(error), lasting=error.fault in LASTING)
        return None
    return int(values[0].value.ullVal), int(values[1].value.ullVal)


@dataclass(slots=True)
class PcieRate:
    """Bytes a second from two readings of the counters."""

    _last: tuple[int, int] | None = None
    _last_ns: int = 0

    def per_second(self, counters: tuple[int, int] | None, at_ns: int) -> tuple[float | None, float | None]:
        """Sent and received since the reading before; None at the first one, and when a counter fell back."""
        last, seconds = self._last, (at_ns - self._last_ns) / NS_PER_S
        self._last, self._last_ns = counters, at_ns
        if counters is None or last is None or seconds <= 0:
            return None, None
        sent, received = ((now - before) / seconds for now, before in zip(counters, last, strict=True))
        return (sent if sent >= 0 else None), (received if received >= 0 else None)
