"""The one gate to the NVIDIA driver: every call goes through `Gate.ask`, every error code becomes a `Fault`.

The binding is nvidia-ml-py (`pynvml`), which loads libnvidia-ml.so.1 of whatever driver the host has; that may be
older or newer than the binding, or not there at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

import pynvml

T = TypeVar("T")

DRAIN_S: Final = 0.1  # for calls under way to end before a shutdown
REFUSED_MOST: Final = 4  # waits, one a second, that are not begun: longer than it takes until who wanted it tries again


class Fault(StrEnum):
    """What an error of the driver means for us."""

    NOT_SUPPORTED = "not supported by this GPU"
    NO_PERMISSION = "no permission"
    NO_DATA = "the driver has no value now"
    NO_DRIVER = "no NVIDIA driver here"
    FUNCTION_MISSING = "the driver is too old for it"
    GPU_LOST = "the GPU is lost"
    GPU_GONE = "the driver no longer lists it"
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
    pynvml.NVML_ERROR_DEPRECATED: Fault.FUNCTION_MISSING,
    pynvml.NVML_ERROR_GPU_IS_LOST: Fault.GPU_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED: Fault.GPU_LOST,
    pynvml.NVML_ERROR_NO_DATA: Fault.NO_DATA,
    pynvml.NVML_ERROR_GPU_NOT_FOUND: Fault.GPU_GONE,
    pynvml.NVML_ERROR_UNKNOWN: Fault.UNKNOWN,
}

_WORDS: Final = {
    pynvml.NVML_ERROR_NO_PERMISSION: "no permission",
    pynvml.NVML_ERROR_INSUFFICIENT_POWER: "the GPU's power cables are not attached",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is installed but not loaded",
    pynvml.NVML_ERROR_TIMEOUT: "the driver did not answer in time",
    pynvml.NVML_ERROR_IRQ_ISSUE: "the kernel has a problem with the GPU's interrupts",
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "no NVIDIA driver is installed here (its library NVML was not found or cannot be loaded)"
    ),
    pynvml.NVML_ERROR_CORRUPTED_INFOROM: "the GPU's InfoROM is corrupt",
    pynvml.NVML_ERROR_RESET_REQUIRED: "the GPU needs a reset",
    pynvml.NVML_ERROR_OPERATING_SYSTEM: "the operating system keeps us from the GPU",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver and its library have different versions: reboot",
    pynvml.NVML_ERROR_IN_USE: "the GPU is in use",
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: "the driver does not know this version of the call",
    pynvml.NVML_ERROR_DEPRECATED: "the driver is too new for it",
    pynvml.NVML_ERROR_NOT_READY: "the driver is not ready",
}

LASTING: Final = frozenset({Fault.NOT_SUPPORTED, Fault.NO_PERMISSION, Fault.FUNCTION_MISSING})
ENDS_READING: Final = frozenset({Fault.GPU_LOST, Fault.GPU_GONE, Fault.UNKNOWN, Fault.CLOSED, Fault.NO_DRIVER})


class DriverError(Exception):
    """An answer of the driver that is no value."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.fault = _FAULTS.get(code, Fault.OTHER)
        words = _WORDS.get(code, str(self.fault))
        super().__init__(f"{words} (NVML error {code})")


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a MIG instance of one, as the driver names it. Handles are good for one generation of the gate."""

    index: int  # of the GPU; of an instance its GPU's
    uuid: str
    name: str
    handle: Any  # an opaque pointer
    generation: int
    parent: Any = None  # of an instance: the handle of its GPU
    gpu_instance: int | None = None
    compute_instance: int | None = None

    @property
    def instance(self) -> str | None:
        """Of a MIG instance: GPU instance, "/", compute instance."""
        return None if self.parent is None else f"{self.gpu_instance}/{self.compute_instance}"

    @property
    def title(self) -> str:
        """What it is called in events."""
        return f"GPU {self.index}" if self.parent is None else f"GPU {self.index} MIG {self.instance}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A GPU that the driver counts, or a MIG instance of it, and will not let us have."""

    index: int  # of the GPU
    title: str
    error: DriverError


class Gate:
    """The driver, opened once for all threads."""

    def __init__(self) -> None:
        self.generation = 0  # grows with each initialisation; handles of an older one are void
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)  # a thread came out of a call, while somebody waits for that
        self._open = False
        self._busy = False  # somebody initialises it, or waits to
        self._inside: set[int] = set()  # threads in a call
        self._waiting: set[int] = set()  # those of them that wait for events, up to half a second
        self._wanted = 0  # somebody wants to initialise it: so many waits are refused meanwhile
        self._stuck: set[int] = set()  # those of them that did not come out in time

    def open(self) -> None:
        """Initialise the driver, unless it is. Raises DriverError; CLOSED when a thread is in the way."""
        if not self._open and not self.reopen(self.generation):
            raise DriverError(pynvml.NVML_ERROR_UNINITIALIZED)

    def reopen(self, generation: int) -> bool:
        """Shut the driver down and initialise it again, if nobody has since `generation`.

        False when another thread does so just now, or is in a call: a shutdown would pull the driver from under it.
        One that waits for events is out half a second later, and all others are served until then. Raises DriverError.
        """
        with self._lock:
            if self._open and self.generation != generation:
                return True
            if self._busy or self._stuck:
                return False
            if self._waiting:
                self._wanted = self._wanted or REFUSED_MOST
                return False
            self._wanted = 0
            self._busy, was_open, self._open = True, self._open, False
            if not self._left.wait_for(lambda: not self._inside, DRAIN_S):
                self._stuck = set(self._inside)
                self._busy, self._open = False, was_open
                return False
        self._initialise(was_open=was_open)
        return True

    def _initialise(self, *, was_open: bool) -> None:
        """Outside the lock: it may hang, and then the others are to be told that the driver is closed."""
        is_open = False
        try:
            if was_open:
                with suppress(DriverError):  # it may be the very reason
                    _call(pynvml.nvmlShutdown, ())
            _call(pynvml.nvmlInit, ())
            is_open = True
        finally:
            with self._lock:
                self.generation += is_open
                self._busy, self._open = False, is_open

    def close(self) -> None:
        """Shut the driver down, unless a thread hangs in it."""
        with self._lock:
            if not self._open or self._busy or self._inside:
                return
            self._open = False
        with suppress(DriverError):
            _call(pynvml.nvmlShutdown, ())

    def ask(self, function: Callable[..., T], *arguments: object, generation: int | None = None) -> T:
        """The driver's answer. Raises DriverError; CLOSED when what is passed is of another `generation`."""
        me = threading.get_ident()
        with self._lock:
            if not self._open or (generation is not None and generation != self.generation):
                raise DriverError(pynvml.NVML_ERROR_UNINITIALIZED)
            self._inside.add(me)
        return self._answer(me, function, arguments)

    def wait(self, function: Callable[..., T], *arguments: object, generation: int) -> T:
        """As `ask`, of a call that waits; CLOSED also while somebody wants to initialise the driver."""
        me = threading.get_ident()
        with self._lock:
            if not self._open or generation != self.generation:
                raise DriverError(pynvml.NVML_ERROR_UNINITIALIZED)
            if self._wanted:
                self._wanted -= 1
                raise DriverError(pynvml.NVML_ERROR_UNINITIALIZED)
            self._inside.add(me)
            self._waiting.add(me)
        try:
            return self._answer(me, function, arguments)
        finally:
            self._waiting.discard(me)

    def _answer(self, me: int, function: Callable[..., T], arguments: tuple[object, ...]) -> T:
        try:
            return function(*arguments)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_UNINITIALIZED:
                self._open = False  # says the driver itself: the next `open` initialises it
            raise DriverError(int(error.value)) from None
        finally:
            with self._lock:
                self._inside.discard(me)
                self._stuck.discard(me)
                if self._busy:
                    self._left.notify_all()

    def version(self) -> str:
        """The driver's version."""
        return _text(self.ask(pynvml.nvmlSystemGetDriverVersion))

    def devices(self) -> list[Device | Refusal]:
        """Every GPU and its MIG instances, or why one cannot be had. Raises DriverError when they cannot be counted."""
        found: list[Device | Refusal] = []
        for index in range(self.ask(pynvml.nvmlDeviceGetCount)):
            try:
                gpu = self._gpu(index)
            except DriverError as error:
                if error.fault is Fault.CLOSED:
                    raise  # says nothing of this GPU
                found.append(Refusal(index, f"GPU {index}", error))
            else:
                found += [gpu, *self._instances(gpu)]
        return found

    def _gpu(self, index: int) -> Device:
        generation = self.generation
        handle = self.ask(pynvml.nvmlDeviceGetHandleByIndex, index, generation=generation)
        return Device(index, self._uuid(handle, generation), self._name(handle, generation), handle, generation)

    def _instances(self, gpu: Device) -> Iterator[Device | Refusal]:
        try:
            current, _ = self.ask(pynvml.nvmlDeviceGetMigMode, gpu.handle, generation=gpu.generation)
            ask_most = pynvml.nvmlDeviceGetMaxMigDeviceCount
            places = self.ask(ask_most, gpu.handle, generation=gpu.generation) if current else 0
        except DriverError as error:
            if error.fault is Fault.CLOSED:
                raise
            return  # most GPUs have no MIG, and many drivers do not know of it
        for place in range(places):
            try:
                ask_one = pynvml.nvmlDeviceGetMigDeviceHandleByIndex
                yield self._instance(gpu, self.ask(ask_one, gpu.handle, place, generation=gpu.generation))
            except DriverError as error:
                if error.fault is Fault.CLOSED:
                    raise
                if error.fault is not Fault.NO_DATA:  # that is a free place
                    yield Refusal(gpu.index, f"MIG instance {place} of GPU {gpu.index}", error)

    def _instance(self, gpu: Device, handle: object) -> Device:
        generation = gpu.generation
        gpu_instance = self.ask(pynvml.nvmlDeviceGetGpuInstanceId, handle, generation=generation)
        compute_instance = self.ask(pynvml.nvmlDeviceGetComputeInstanceId, handle, generation=generation)
        uuid, name = self._uuid(handle, generation), self._name(handle, generation)
        return Device(gpu.index, uuid, name, handle, generation, gpu.handle, gpu_instance, compute_instance)

    def renew(self, device: Device) -> Device:
        """The same GPU with a handle of this generation, and its index of today. Raises DriverError."""
        generation = self.generation
        try:
            handle = self.ask(pynvml.nvmlDeviceGetHandleByUUID, device.uuid.encode(), generation=generation)
        except DriverError as error:
            if error.fault is Fault.NO_DATA:
                raise DriverError(pynvml.NVML_ERROR_GPU_NOT_FOUND) from None
            raise
        if device.parent is None:
            return Device(self._index(handle, generation, device.index), device.uuid, device.name, handle, generation)
        parent = self.ask(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, handle, generation=generation)
        gpu = Device(self._index(parent, generation, device.index), "", "", parent, generation)
        return self._instance(gpu, handle)

    def _index(self, handle: object, generation: int, otherwise: int) -> int:
        try:
            return int(self.ask(pynvml.nvmlDeviceGetIndex, handle, generation=generation))
        except DriverError as error:
            if error.fault in ENDS_READING:
                raise
            return otherwise

    def _uuid(self, handle: object, generation: int) -> str:
        return _text(self.ask(pynvml.nvmlDeviceGetUUID, handle, generation=generation))

    def _name(self, handle: object, generation: int) -> str:
        try:
            return _text(self.ask(pynvml.nvmlDeviceGetName, handle, generation=generation))
        except UnicodeDecodeError:  # the binding decodes what boards of uncertain making have in their memory
            return "GPU of an unreadable name"


def _call(function: Callable[..., T], arguments: tuple[object, ...]) -> T:
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        raise DriverError(int(error.value)) from None


def _text(value: object) -> str:
    """A text of the driver: bytes in older bindings, and perhaps not UTF-8."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text[:200]
