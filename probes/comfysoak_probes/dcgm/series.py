"""GPUs of another host by the series of dcgm-exporter, or of anything that publishes the same names.

Pure: a scrape in, GPUs out; `rows.py` makes the rows, `exporter.py` does the asking. What is particular about it:
- A MIG instance is told by the labels GPU_I_ID and GPU_I_PROFILE beside those of its GPU.
- With shared GPUs (time slices, MPS) Kubernetes gets a copy of each series for each pod. Memory and utilisation of a
  copy are those of its pod; the whole GPU's come first, or without the pod's labels.
- A value that could not be had is left out, or, by older exporters, is one of DCGM's numbers for "blank".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from comfysoak_probes.dcgm.prometheus import NotPrometheusError, Parser, Scrape, Series

PREFIX = "DCGM_FI_"
XID_SERIES = ("DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_XID_ERROR")
GPUS_MOST = 256
_BLANK = frozenset(float(start + reason) for start in (0x7FFFFFF0, 1 << 47) for reason in range(4))  # int32, double
_INT64_BLANK = float(0x7FFFFFFFFFFFFFF0)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which GPU, or MIG instance of one, a series is about, by its labels."""

    host: str
    uuid: str  # of an instance that of its GPU, "/", its number
    index: int | None
    name: str | None
    driver: str | None = None
    instance: str | None = None

    @classmethod
    def of(cls, labels: Mapping[str, str], exporter: str) -> Identity | None:
        """None for a series that names no GPU. An exporter that gives no UUID gets one made of host and index."""
        gpu = labels.get("gpu", "")
        uuid = labels.get("UUID") or labels.get("uuid")
        if not uuid and not gpu:
            return None
        host = (labels.get("Hostname") or labels.get("hostname") or exporter)[:200]  # lower case from 2026 on
        index = int(gpu) if gpu.isdecimal() and len(gpu) < 6 else None
        name, driver = labels.get("modelName", "")[:200], labels.get("DCGM_FI_DRIVER_VERSION", "")[:40]
        whole = cls(host, (uuid or f"{host}/gpu{gpu}")[:200], index, name or None, driver or None)
        return whole._instance_of(labels) if labels.get("GPU_I_ID") else whole

    def _instance_of(self, labels: Mapping[str, str]) -> Identity:
        number, profile = labels["GPU_I_ID"][:20], labels.get("GPU_I_PROFILE", "")[:40]
        uuid = labels.get("dra_mig_device_uuid", "")[:200] or f"{self.uuid}/{number}"
        name = " ".join(part for part in (self.name, "MIG", profile) if part)
        return replace(self, uuid=uuid, instance=number, name=name)


@dataclass(frozen=True, slots=True)
class GpuSeries:
    """One series of one GPU."""

    identity: Identity
    name: str
    pod: str  # namespace, "/", pod, ", container ..."; "" for the GPU as a whole


@dataclass(slots=True)
class Reading:
    """What one scrape says of one GPU."""

    identity: Identity
    values: dict[str, float] = field(default_factory=dict)  # by series
    pod: str = ""  # the first it is given to
    blank: set[str] = field(default_factory=set)  # series that are there without a value
    _whole: set[str] = field(default_factory=set)  # series that are of the GPU as a whole

    def take(self, series: GpuSeries, value: float) -> None:
        """One sample: the whole GPU's goes before those of pods, and of those the first counts."""
        self.pod = self.pod or series.pod
        if not series.pod:
            self._whole.add(series.name)
        elif series.name in self.values or series.name in self._whole:
            return
        if is_blank(value):
            self.blank.add(series.name)
            self.values.pop(series.name, None)  # a pod's part does not stand for the whole
        else:
            self.values[series.name] = value

    def first(self, *names: str) -> float | None:
        """The value of the first of these series that is there."""
        return next((self.values[name] for name in names if name in self.values), None)


def is_blank(value: float) -> bool:
    """True for what is no number (NaN, infinite) and for DCGM's numbers that say why there is no value."""
    return not -_INT64_BLANK < value < _INT64_BLANK or value in _BLANK


def gpu_parser(exporter: str) -> Parser[GpuSeries]:
    """A parser for the GPU series of an exporter at the host `exporter`."""

    def recognise(series: Series) -> GpuSeries | None:
        identity = Identity.of(series.labels, exporter)
        if identity is None or "nvlink" in series.labels:
            return None  # one link's traffic must not stand for the GPU's
        return GpuSeries(identity, series.name, _pod(series.labels))

    return Parser(recognise, PREFIX)


def by_gpu(scrape: Scrape[GpuSeries]) -> dict[str, Reading]:
    """What a scrape says of each GPU, by UUID; at most `GPUS_MOST` of them. Raises NotPrometheusError for none."""
    found: dict[str, Reading] = {}
    for series, value in scrape.samples:
        reading = found.get(series.identity.uuid)
        if reading is None:
            if len(found) >= GPUS_MOST:
                continue
            reading = found[series.identity.uuid] = Reading(series.identity)
        reading.take(series, value)
    if not found:
        raise NotPrometheusError(f"it has no series {PREFIX}... that names a GPU")
    return found


def _pod(labels: Mapping[str, str]) -> str:
    """The pod a series is given to, by the names of today or those of version 1."""
    pod = labels.get("pod") or labels.get("pod_name")
    if not pod:
        return ""
    namespace = labels.get("namespace") or labels.get("pod_namespace") or ""
    container = labels.get("container") or labels.get("container_name") or ""
    return f"{namespace[:63]}/{pod[:253]}" + (f", container {container[:63]}" if container else "")
