"""Charts of GPUs: memory, how long they were busy and how hard, and when something held them back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Grid, bucketed
from comfysoak_analysis.figures.chart import Chart, Series, line
from comfysoak_analysis.figures.gpu_names import Named, lineup
from comfysoak_analysis.frames import Run
from comfysoak_analysis.text import for_chart
from comfysoak_analysis.validity import why_no_gpu

GIB = 1024**3
SM, TENSOR = "sm_active_ratio", "tensor_active_ratio"
MOST_AREAS = 2  # more of them, one upon the other, hide each other
MOST_PAIRS = 3  # of lines, one for SMs and one for tensor cores


def memory(run: Run) -> Chart:
    """VRAM in use and the capacity of the largest GPU."""
    gpus = lineup(run)
    told = gpus.shown(run.gpu, "memory_used_bytes")
    series = [_line(run, gpu, rows, "memory_used_bytes", 1 / GIB) for gpu, rows in told]
    whole = run.gpu["memory_total_bytes"].max()
    if series and not pd.isna(whole):
        ends = Grid(max(run.duration_s, 0.1), 2)
        series.append(Series("capacity", "capacity", "limit", ends, np.array([whole / GIB, whole / GIB])))
    note = f"In use by all processes on the GPU; the band is minimum to maximum.{gpus.left_out}"
    return Chart("vram", "VRAM", note, unit="GiB", series=tuple(series), empty=_no_gpu(run, series, "memory"))


def utilisation(run: Run) -> Chart:
    """How busy each GPU was; without extremes, which at any length of bucket are nothing and everything.

    MIG instances have no utilisation; theirs is the share of time in which some engine was busy.
    """
    gpus = lineup(run)
    busy = run.gpu.loc[run.gpu["utilisation_ratio"].notna(), "uuid"].drop_duplicates()
    instances = run.gpu_slow[run.gpu_slow["instance"].notna() & ~run.gpu_slow["uuid"].isin(busy)]
    told = [(*one, "utilisation_ratio") for one in gpus.shown(run.gpu, "utilisation_ratio")]
    told += [(*one, "graphics_active_ratio") for one in gpus.shown(instances, "graphics_active_ratio")]
    kind = "area" if len(told) <= MOST_AREAS else "line"
    series = [_flat(_line(run, gpu, rows, column, 100, least_s=1), kind) for gpu, rows, column in told]
    note = f"Share of time in which some kernel ran, as the driver tells it; it does not say how hard.{gpus.left_out}"
    return _shares("utilisation", "GPU utilisation", note, series, _no_gpu(run, series, "utilisation"))


def activity(run: Run) -> Chart | None:
    """How hard each GPU worked, where the chip and the source tell; None where nobody does, or nothing ever moved."""
    gpus = lineup(run)
    sm, tensor = (list(gpus.shown(_moved(run.gpu_slow, column), column)) for column in (SM, TENSOR))
    if not sm and not tensor:
        return None
    series = [_flat(_line(run, gpu, rows, SM, 100, 1, " SMs"), "line") for gpu, rows in sm]
    if len(tensor) > MOST_PAIRS:
        together = pd.concat([rows for _, rows in tensor]).sort_values("at", ignore_index=True)
        tensor = [(Named("", "Mean of all,", "users"), together)]
    series += [_flat(_line(run, gpu, rows, TENSOR, 100, 1, " tensor cores"), "limit") for gpu, rows in tensor]
    note = f"Share of the SMs that had work; dotted the share of cycles in which tensor cores worked.{gpus.left_out}"
    return _shares("activity", "GPU activity", note, series, "")


def _shares(key: str, title: str, note: str, series: list[Series], empty: str) -> Chart:
    return Chart(key, title, note, unit="%", series=tuple(series), whole=True, empty=empty, decimals=".0f")


def _moved(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows of GPUs in whose `column` there ever was anything but 0."""
    moved = rows.loc[rows[column] > 0, "uuid"].unique()
    return rows[rows["uuid"].isin(moved)]


def _flat(series: Series, kind: str) -> Series:
    return replace(series, low=None, high=None, kind=kind)


def _line(
    run: Run, gpu: Named, rows: pd.DataFrame, column: str, scale: float, least_s: float = 0.1, what: str = ""
) -> Series:
    """A line at twice the pace of the source at most, so that a sample late by chance leaves no hole."""
    seconds = run.since_start_s(rows["at"])
    pace_s = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.1
    even_s = float(f"{pace_s:.1g}")  # or a millisecond above a second would take buckets of five
    grid = Grid.over(run.duration_s, least_s=max(2 * even_s, least_s))
    values = rows[column].to_numpy(dtype=float) * scale
    return line(gpu.name + what, gpu.colour, bucketed(grid, seconds, values, hold_s=max(2.0, 3 * pace_s)))


def _no_gpu(run: Run, series: list[Series], what: str) -> str:
    if series:
        return ""
    return (
        f"No GPU was watched{why_no_gpu(run)}."
        if run.gpu.empty
        else f"The GPU's {what} could not be read: {_missing(run)}."
    )


def _missing(run: Run) -> str:
    said = run.gpu["missing"].dropna().drop_duplicates().head(2)
    return "; ".join(for_chart(text, 120) for text in said) or "the source does not tell it"
