"""The one gate to the NVIDIA driver: every call goes through `Gate.ask`, every error code becomes a `Fault`.

The binding is nvidia-ml-py (`pynvml`), which loads libnvidia-ml.so.1 of whatever driver the host has; that may be
older or newer than the binding, or not there at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

import pynvml

T = TypeVar("T")


class Fault(StrEnum):
    """What an error of the driver means for us."""

    NOT_SUPPORTED = "not supported by this GPU"
    NO_PERMISSION = "no permission"
    NO_DATA = "the driver has no value now"
    NO_DRIVER = "no NVIDIA driver here"
    FUNCTION_MISSING = "the driver is too old for it"
    GPU_LOST = "the GPU is lost"
    UNKNOWN = "unknown error of the driver"
    CLOSED = "the driver is being initialised again"
    OTHER = "error of the driver"


_FAULTS: Final = {
    pynvml.NVML_ERROR_UNINITIALIZED: Fault.CLOSED,
    pynvml.NVML_ERROR_NOT_SUPPORTED: Fault.NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION: Fault.NO_PERMISSION,
    pynvml.NVML_ERROR_NOT_FOUND: Fault.NO_DATA,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: Fault.NO_DRIVER,
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: Fault.NO_DRIVER,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: Fault.NO_DRIVER,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: Fault.FUNCTION_MISSING,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: Fault.FUNCTION_MISSING,
    pynvml.NVML_ERROR_GPU_IS_LOST: Fault.GPU_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED: Fault.GPU_LOST,
    pynvml.NVML_ERROR_NO_DATA: Fault.NO_DATA,
    pynvml.NVML_ERROR_GPU_NOT_FOUND: Fault.GPU_LOST,
    pynvml.NVML_ERROR_UNKNOWN: Fault.UNKNOWN,
}

_WORDS: Final = {
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is installed but not loaded",
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver is installed here (its library NVML was not found)",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver and its library have different versions: reboot",
    pynvml.NVML_ERROR_RESET_REQUIRED: "the GPU needs a reset",
}

LASTING: Final = frozenset({Fault.NOT_SUPPORTED, Fault.NO_PERMISSION, Fault.FUNCTION_MISSING})
ENDS_READING: Final = frozenset({Fault.GPU_LOST, Fault.UNKNOWN, Fault.CLOSED})


class DriverError(Exception):
    """An answer of the driver that is no value."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.fault = _FAULTS.get(code, Fault.OTHER)
        words = _WORDS.get(code, str(self.fault))
        super().__init__(f"{words} (NVML error {code})")


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU as the driver names it. `handle` is good for one generation of the gate."""

    index: int
    uuid: str
    name: str
    handle: Any  # an opaque pointer
    generation: int


class Gate:
    """The driver, opened once for all threads."""

    def __init__(self) -> None:
        self.generation = 0  # grows with each initialisation; handles of an older one are void
        self._lock = threading.Lock()
        self._inside = 0
        self._open = False

    def open(self) -> None:
        """Initialise the driver, unless it is. Raises DriverError."""
        with self._lock:
            if not self._open:
                self._initialise()

    def reopen(self, generation: int) -> bool:
        """Shut the driver down and initialise it again, if nobody has since `generation`.

        False when another thread is inside a call just now, which a shutdown would pull from under it. Raises
        DriverError.
        """
        with self._lock:
            if self.generation != generation:
                return True
            if self._inside:
                return False
            if self._open:
                self._open = False
                _call(pynvml.nvmlShutdown, ())
            self._initialise()
            return True

    def _initialise(self) -> None:
        _call(pynvml.nvmlInit, ())
        self.generation += 1
        self._open = True

    def close(self) -> None:
        """Shut the driver down, unless a thread hangs in it."""
        with self._lock:
            if self._open and not self._inside:
                self._open = False
                _call(pynvml.nvmlShutdown, ())

    def ask(self, function: Callable[..., T], *arguments: object) -> T:
        """The driver's answer. Raises DriverError."""
        with self._lock:
            if not self._open:
                raise DriverError(pynvml.NVML_ERROR_UNINITIALIZED)
            self._inside += 1
        try:
            return _call(function, arguments)
        finally:
            with self._lock:
                self._inside -= 1

    def version(self) -> str:
        """The driver's version."""
        return _text(self.ask(pynvml.nvmlSystemGetDriverVersion))

    def devices(self) -> list[Device | DriverError]:
        """Every GPU, or why it cannot be had. Raises DriverError when not even their number can."""
        return [self._device(index) for index in range(self.ask(pynvml.nvmlDeviceGetCount))]

    def _device(self, index: int) -> Device | DriverError:
        try:
            generation = self.generation
            handle = self.ask(pynvml.nvmlDeviceGetHandleByIndex, index)
            uuid = _text(self.ask(pynvml.nvmlDeviceGetUUID, handle))
            name = _text(self.ask(pynvml.nvmlDeviceGetName, handle))
            return Device(index, uuid, name, handle, generation)
        except DriverError as error:
            return error

    def renew(self, device: Device) -> Device:
        """The same GPU with a handle of this generation. Raises DriverError."""
        generation = self.generation
        handle = self.ask(pynvml.nvmlDeviceGetHandleByUUID, device.uuid.encode())
        return Device(device.index, device.uuid, device.name, handle, generation)


def _call(function: Callable[..., T], arguments: tuple[object, ...]) -> T:
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        raise DriverError(int(error.value)) from None


def _text(value: object) -> str:
    """A text of the driver: bytes in older bindings, and perhaps not UTF-8."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text[:200]
