"""What the units of a GPU did, measured by its own counters: GPM, which chips have from Hopper on.

A metric is the difference of two samples, so the two of a GPU are swapped at each reading: the metrics are those of
the time since the row before.
"""

from __future__ import annotations

import math
from typing import Any, Final

import pynvml

from comfysoak_probes.nvml.driver import DriverError, Fault
from comfysoak_probes.nvml.fields import Fields, lasts

METRICS: Final = (
    ("graphics_active_ratio", pynvml.NVML_GPM_METRIC_GRAPHICS_UTIL),
    ("sm_active_ratio", pynvml.NVML_GPM_METRIC_SM_UTIL),
    ("sm_occupancy_ratio", pynvml.NVML_GPM_METRIC_SM_OCCUPANCY),
    ("tensor_active_ratio", pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL),
    ("memory_active_ratio", pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL),
)
COLUMNS: Final = ",".join(column for column, _ in METRICS)
UNSUPPORTED: Final = "GPM metrics are there on Hopper and newer GPUs only"
NONE: Final[list[float | None]] = [None] * len(METRICS)


class Gpm:
    """The metrics of one GPU, or of one MIG instance. `close` frees the driver's samples; then it begins anew."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._samples: list[Any] = []  # opaque pointers: the newest, and the one before
        self._taken = False  # whether the newest has a sample in it
        self._request: Any = None

    def read(self) -> list[float | None]:
        """The metrics in the order of `METRICS`. Raises DriverError when the whole GPU is gone."""
        if self._fields.gone(COLUMNS):
            return NONE
        try:
            return self._read() if self._samples or self._open() else NONE
        except DriverError as error:
            self._taken = False
            if error.fault is Fault.NOT_SUPPORTED and not self._samples:
                self._fields.note(COLUMNS, f"{UNSUPPORTED} (NVML error {error.code})", lasting=True)
            else:
                self._fields.refuse(COLUMNS, error)
            if lasts(error) or len(self._samples) < 2:  # the second could not be had
                self.close()
            return NONE

    def _open(self) -> bool:
        ask = self._fields.gpu.ask_library
        device = self._fields.gpu.device
        if not ask(pynvml.nvmlGpmQueryDeviceSupport, device.parent or device.handle).isSupportedDevice:
            self._fields.note(COLUMNS, UNSUPPORTED, lasting=True)
            return False
        for _ in range(2):
            self._samples.append(ask(pynvml.nvmlGpmSampleAlloc))
        self._request = pynvml.c_nvmlGpmMetricsGet_t()
        self._request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        self._request.numMetrics = len(METRICS)
        for structure, (_, metric) in zip(self._request.metrics, METRICS, strict=False):
            structure.metricId = metric
        return True

    def _read(self) -> list[float | None]:
        before, after = self._samples
        had, self._taken = self._taken, False
        self._sample(after)
        self._taken = True
        self._samples.reverse()
        if not had:
            self._fields.note(COLUMNS, "measured between two rows")
            return NONE
        self._request.sample1, self._request.sample2 = before, after
        self._fields.gpu.ask_library(pynvml.nvmlGpmMetricsGet, self._request)
        return [self._ratio(column, self._request.metrics[place]) for place, (column, _) in enumerate(METRICS)]

    def _sample(self, sample: Any) -> None:  # an opaque pointer
        gpu = self._fields.gpu
        if gpu.device.parent is None:
            gpu.ask(pynvml.nvmlGpmSampleGet, sample)
        else:
            gpu.ask_library(pynvml.nvmlGpmMigSampleGet, gpu.device.parent, gpu.device.gpu_instance, sample)

    def _ratio(self, column: str, metric: Any) -> float | None:  # the binding's structure
        if metric.nvmlReturn != pynvml.NVML_SUCCESS:
            self._fields.note(column, str(DriverError(metric.nvmlReturn)))
            return None
        percent = float(metric.value)
        if not math.isfinite(percent):
            self._fields.note(column, "the chip counted nothing (not a number)")
            return None
        self._fields.clear(column)
        return percent / 100

    def close(self) -> None:
        """Free the samples; twice does no harm."""
        samples, self._samples, self._taken = self._samples, [], False
        for sample in samples:
            try:
                self._fields.gpu.ask_library(pynvml.nvmlGpmSampleFree, sample)
            except DriverError:
                continue  # the driver is shut down, or is gone with all it held
