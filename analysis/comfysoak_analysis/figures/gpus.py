"""Charts of GPUs: memory, how long they were busy and how hard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from comfysoak_analysis.buckets import Buckets, Grid
from comfysoak_analysis.figures import fleet
from comfysoak_analysis.figures.chart import Chart, Series
from comfysoak_analysis.figures.fleet import Line, scaled
from comfysoak_analysis.figures.gpu_names import Lineup, lineup
from comfysoak_analysis.frames import Run
from comfysoak_analysis.text import for_chart
from comfysoak_analysis.validity import why_no_gpu
from comfysoak_analysis.watched_gpus import watched_gpus

GIB = 1024**3
SM, TENSOR = "sm_active_ratio", "tensor_active_ratio"
MOST_AREAS = 2  # more of them, one upon the other, hide each other


def memory(run: Run) -> Chart:
    """VRAM in use and the capacity of the largest GPU."""
    gpus = lineup(run)
    found = run.tracks("gpu", ("memory_used_bytes", "memory_total_bytes"))
    shown = list(_lines(gpus, fleet.told(found, "memory_used_bytes"), 1 / GIB))
    series = fleet.lines(shown, run.duration_s)
    whole = [float(np.nanmax(total.high)) for total in fleet.told(found, "memory_total_bytes").values()]
    if series and whole:
        ends = Grid(max(run.duration_s, 0.1), 2)
        series.append(Series("capacity", "capacity", "limit", ends, np.full(2, max(whole) / GIB)))
    note = f"In use by all processes on the GPU; the band is minimum to maximum.{gpus.left_out}"
    return Chart("vram", "VRAM", note, unit="GiB", series=tuple(series), empty=_no_gpu(run, series, "memory"))


def utilisation(run: Run) -> Chart:
    """How busy each GPU was; without extremes, which at any length of bucket are nothing and everything.

    MIG instances have no utilisation; theirs is the share of time in which some engine was busy.
    """
    gpus = lineup(run)
    busy = dict(fleet.told(run.tracks("gpu", ("utilisation_ratio",)), "utilisation_ratio"))
    instances = {gpu.uuid for gpu in gpus.gpus if gpu.is_instance} - busy.keys()
    if instances:
        engines = fleet.told(run.tracks("gpu_slow", ("graphics_active_ratio",)), "graphics_active_ratio")
        busy |= {uuid: buckets for uuid, buckets in engines.items() if uuid in instances}
    shown = list(_lines(gpus, busy, 100))
    kind = "area" if len(shown) <= MOST_AREAS else "line"
    series = fleet.lines(shown, run.duration_s, kind=kind, extremes=False, least_s=1)
    note = f"Share of time in which some kernel ran, as the driver tells it; it does not say how hard.{gpus.left_out}"
    return _shares("utilisation", "GPU utilisation", note, series, _no_gpu(run, series, "utilisation"))


def activity(run: Run) -> Chart | None:
    """How hard each GPU worked, where the chip and the source tell; None where nobody does, or nothing ever moved."""
    gpus = lineup(run)
    found = run.tracks("gpu_slow", (SM, TENSOR))
    sm, tensor = (list(_lines(gpus, _moved(fleet.told(found, column)), 100)) for column in (SM, TENSOR))
    if not sm and not tensor:
        return None
    named = [Line(one.of, f"{one.name} SMs", one.colour, one.buckets) for one in sm]
    dotted = [Line(one.of, f"{one.name} tensor cores", one.colour, one.buckets) for one in tensor]
    series = fleet.lines(named, run.duration_s, extremes=False, least_s=1)
    more = fleet.lines(dotted, run.duration_s, kind="limit", extremes=False, least_s=1)
    series += [one for one in more if not one.fleet or not named]  # one band a chart
    note = f"Share of the SMs that had work; dotted the share of cycles in which tensor cores worked.{gpus.left_out}"
    return _shares("activity", "GPU activity", note, series, "")


def _shares(key: str, title: str, note: str, series: list[Series], empty: str) -> Chart:
    return Chart(key, title, note, unit="%", series=tuple(series), whole=True, empty=empty, decimals=".0f")


def _lines(gpus: Lineup, found: Mapping[str, Buckets], scale: float) -> Iterator[Line]:
    """The GPUs that charts show and that tell a value, in their order."""
    for gpu in gpus.gpus:
        if gpu.colour and gpu.uuid in found:
            yield Line(gpu.uuid, gpu.name, gpu.colour, scaled(found[gpu.uuid], scale))


def _moved(found: Mapping[str, Buckets]) -> dict[str, Buckets]:
    """Those whose value ever was anything but 0."""
    return {uuid: buckets for uuid, buckets in found.items() if bool((buckets.high > 0).any())}


def _no_gpu(run: Run, series: list[Series], what: str) -> str:
    if series:
        return ""
    if not watched_gpus(run):
        return f"No GPU was watched{why_no_gpu(run)}."
    return f"The GPU's {what} could not be read: {_missing(run)}."


def _missing(run: Run) -> str:
    said = list(dict.fromkeys(text for gpu in watched_gpus(run).values() for text in gpu.missing))[:2]
    return "; ".join(for_chart(text, 120) for text in said) or "the source does not tell it"
