"""The driver's functions called without the binding's wrappers, where these make new structures at every call.

`pynvml` finds the functions, knows the structures and has the errors. What is passed to `Gate.ask` from here behaves
as its own wrappers do: the answer, or `pynvml.NVMLError`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pynvml


def function(name: str) -> Callable[..., int]:
    """A function of the driver's library by its name in C. Raises NVMLError when this driver lacks it."""
    found: Callable[..., int] = pynvml._nvmlGetFunctionPointer(name)  # noqa: SLF001  # has no public name
    return found


def check(code: int) -> None:
    """Raise the NVMLError of a code that is no success."""
    if code != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(code)


def read_field_values(handle: object, values: ctypes.Array[Any]) -> ctypes.Array[Any]:
    """Fill `values` (of c_nvmlFieldValue_t, with field and scope set); each has a return code of its own."""
    check(function("nvmlDeviceGetFieldValues")(handle, ctypes.c_int32(len(values)), values))
    return values


def count_samples(handle: object, kind: int) -> int:
    """How many samples of this kind the driver keeps."""
    count, value_type = ctypes.c_uint(0), ctypes.c_uint(0)
    since = ctypes.c_ulonglong(0)
    get = function("nvmlDeviceGetSamples")
    check(get(handle, ctypes.c_uint(kind), since, ctypes.byref(value_type), ctypes.byref(count), None))
    return int(count.value)


def read_samples(handle: object, kind: int, since_us: int, room: ctypes.Array[Any]) -> tuple[int, int]:
    """Fill `room` (of c_nvmlSample_t) with samples later than `since_us`; the type of their values, and how many."""
    count, value_type = ctypes.c_uint(len(room)), ctypes.c_uint(0)
    since = ctypes.c_ulonglong(since_us)
    get = function("nvmlDeviceGetSamples")
    check(get(handle, ctypes.c_uint(kind), since, ctypes.byref(value_type), ctypes.byref(count), room))
    return int(value_type.value), min(int(count.value), len(room))


def read_process_utilization(handle: object, since_us: int, room: ctypes.Array[Any]) -> int:
    """Fill `room` (of c_nvmlProcessUtilizationSample_t) with samples later than `since_us`; how many."""
    count = ctypes.c_uint(len(room))
    get = function("nvmlDeviceGetProcessUtilization")
    check(get(handle, room, ctypes.byref(count), ctypes.c_ulonglong(since_us)))
    return min(int(count.value), len(room))
