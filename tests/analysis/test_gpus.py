"""GPUs in the report: how fresh an exporter's values are, how hard GPUs worked, what held them back."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfysoak_analysis import measures, open_run
from comfysoak_analysis.exporters import exporter_doubts, refreshes
from comfysoak_analysis.figures import gpu_states, gpus
from comfysoak_analysis.figures.chart import Chart
from comfysoak_analysis.frames import Run
from comfysoak_analysis.report import build
from comfysoak_analysis.validity import doubts
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Event, Gpu, GpuSlow, Row
from tests.analysis.planted import GIB, START_NS, plant

SOURCE = "dcgm http://gpu-7:9400/metrics"
SECONDS = 60


def fast(second: int, **changed: object) -> Gpu:
    row = Gpu(
        at_ns=START_NS + second * NS_PER_S, read_cost_ns=1, host="gpu-7", source="dcgm", uuid="GPU-a", index=0,
        memory_used_bytes=4 * GIB, memory_total_bytes=8 * GIB, utilisation_ratio=0.9,
    )  # fmt: skip
    return replace(row, **changed)  # type: ignore[arg-type]  # columns by name


def slow(second: int, **changed: object) -> GpuSlow:
    row = GpuSlow(
        at_ns=START_NS + second * NS_PER_S, read_cost_ns=1, host="gpu-7", source="dcgm", uuid="GPU-a", index=0,
        name="NVIDIA H100", event_reasons="",
    )  # fmt: skip
    return replace(row, **changed)  # type: ignore[arg-type]  # columns by name


def event(second: int, kind: str, subject: str, detail: str = "", seconds: float | None = None) -> Event:
    at_ns = START_NS + second * NS_PER_S
    return Event(at_ns=at_ns, source="sampler", kind=kind, subject=subject, detail=detail, seconds=seconds)


def planted(directory: Path, *rows: Row, **options: Any) -> Run:
    """A minute of load whose GPUs are these rows alone."""
    return open_run(plant(directory, duration_s=float(SECONDS), gpu=False, other_rows=rows, **options))


@pytest.mark.parametrize(
    ("seconds", "gpu_matters", "weight"),
    [(30.0, True, "caution"), (30.0, False, "note"), (2.0, True, "caution"), (1.0, True, "note")],
)
def test_how_often_an_exporter_refreshes_is_told(
    directory: Path, seconds: float, gpu_matters: bool, weight: str
) -> None:
    """The last word on it counts; from two seconds on it is a caution where goals or findings rest on GPUs."""
    first = event(5, "source_interval", SOURCE, "its values have not changed for 5.0 s", 5.0)
    run = planted(directory, first, event(40, "source_interval", SOURCE, "its values change every", seconds))
    (doubt,) = exporter_doubts(run, gpu_matters=gpu_matters)
    assert (doubt.name, doubt.weight) == ("exporter interval", weight)
    assert doubt.what.startswith(f"GPU values of gpu-7 are refreshed every {seconds:.1f} s: a peak shorter")
    assert ("DCGM_EXPORTER_INTERVAL=1000" in doubt.remedy) is (seconds >= 2)


def test_an_interval_that_was_never_learned_is_a_lower_bound(directory: Path) -> None:
    """A run too short for two refreshes says what it saw."""
    run = planted(directory, event(9, "source_interval", SOURCE, "its values have not changed for 7.0 s", 7.0))
    assert [one.in_words() for one in refreshes(run)] == [
        "GPU values of gpu-7 are refreshed no more often than every 7 s: a peak shorter than that may not be in them."
    ]


def test_goals_about_gpus_make_coarse_values_a_caution(directory: Path) -> None:
    """The verdict weighs the interval by what rests on it, and the page tells it beside the figures."""
    rows = [fast(second) for second in range(SECONDS)]
    told = event(40, "source_interval", SOURCE, "its values change every 30.0 s", 30.0)
    planted(directory, *rows, told, goals=("gpu.memory.max < 6 GiB",))
    build(directory)
    page = (directory / "report.html").read_text(encoding="utf-8")
    verdict = (directory / "verdict.json").read_text(encoding="utf-8")
    assert page.count("GPU values of gpu-7 are refreshed every 30.0 s") == 2
    assert '"exporter interval"' in verdict


def test_a_run_without_an_exporter_says_nothing_of_intervals(calm: Run) -> None:
    """The driver's own values are as fresh as their rows."""
    assert not refreshes(calm)
    assert "exporter interval" not in {doubt.name for doubt in doubts(calm, gpu_matters=True)}


def test_repeated_values_are_no_samples(directory: Path) -> None:
    """A minute of rows of an exporter that refreshes every ten seconds are six samples, not sixty."""
    rows = [fast(second) for second in range(SECONDS)]
    rows += [fast(second, uuid="GPU-b", index=1, host="gpu-8") for second in range(SECONDS)]
    told = event(40, "source_interval", SOURCE, "its values change every 10.0 s", 10.0)
    seen = event(0, "gpu", "GPU-a", f"GPU 0 of gpu-7, by {SOURCE}")
    found = {gpu.uuid: gpu.samples for gpu in measures.gpus(planted(directory, *rows, told, seen))}
    assert found == {"GPU-a": 6, "GPU-b": 60}


@pytest.mark.parametrize(("sm", "asleep"), [(0.0, True), (0.4, False), (None, False)])
def test_profiling_series_that_fell_asleep_are_told(directory: Path, sm: float | None, asleep: bool) -> None:
    """Zero SM activity of a GPU that is busy all the time is the exporter's fault, not the GPU's ease."""
    rows = [fast(second) for second in range(SECONDS)]
    more = [slow(second, sm_active_ratio=sm) for second in range(SECONDS)]
    found = list(exporter_doubts(planted(directory, *rows, *more), gpu_matters=True))
    assert [doubt.name for doubt in found] == ["profiling asleep"] * asleep


def test_gpu_figures_have_activity_and_throttling_where_they_moved(directory: Path) -> None:
    """Means over time, the growth of the counters over a restart of theirs; nothing where nothing moved."""
    counters = [5.0 + second * 0.1 if second < 30 else (second - 30) * 0.1 for second in range(SECONDS)]
    rows: list[Row] = [fast(second) for second in range(SECONDS)]
    rows += [
        slow(second, sm_active_ratio=0.5, tensor_active_ratio=0.0, power_throttled_s=counter)
        for second, counter in enumerate(counters)
    ]
    (gpu,) = measures.gpus(planted(directory, *rows))
    assert gpu.sm_active_mean == pytest.approx(0.5)
    assert math.isnan(gpu.tensor_active_mean)
    assert gpu.throttled_s == pytest.approx(5.8)
    assert gpu.label == "0 · NVIDIA H100"


def names(chart: Chart | None) -> list[tuple[str, str]]:
    assert chart is not None
    return [(series.name, series.colour) for series in chart.series]


def test_activity_is_shown_where_it_is_told(directory: Path) -> None:
    """SMs as a line, tensor cores dotted, in the GPU's own colour; no chart where nobody tells it."""
    rows = [slow(second, sm_active_ratio=0.6, tensor_active_ratio=0.3) for second in range(SECONDS)]
    run = planted(directory, *rows)
    chart = gpus.activity(run)
    assert names(chart) == [("GPU 0 SMs", "gpu-0"), ("GPU 0 tensor cores", "gpu-0")]
    assert chart is not None
    assert [series.kind for series in chart.series] == ["line", "limit"]
    assert max(chart.series[0].values) == pytest.approx(60)


def test_rows_a_little_late_make_no_wider_steps(directory: Path) -> None:
    """A row each 1.0001 s is drawn as one each second."""
    late = [slow(second, sm_active_ratio=0.6) for second in range(SECONDS)]
    late = [replace(row, at_ns=row.at_ns + place * 100_000) for place, row in enumerate(late)]
    chart = gpus.activity(planted(directory, *late))
    assert chart is not None
    assert chart.series[0].grid.width_s == 2.0


def test_activity_that_never_moved_is_no_chart(calm: Run) -> None:
    """A source that tells none has no chart of it, nor one that always says 0."""
    assert gpus.activity(calm) is None
    assert gpu_states.states(calm) is None


def test_mig_instances_stand_beside_gpus(directory: Path) -> None:
    """By their number in their GPU; busy is what their engines were, since they have no utilisation."""
    instance = {"uuid": "GPU-a/3", "instance": "3"}
    rows: list[Row] = [fast(second) for second in range(SECONDS)]
    rows += [fast(second, utilisation_ratio=None, **instance) for second in range(SECONDS)]
    rows += [slow(second, graphics_active_ratio=0.5, **instance) for second in range(SECONDS)]
    run = planted(directory, *rows)
    assert names(gpus.utilisation(run)) == [("GPU 0", "gpu-0"), ("GPU 0/3", "gpu-1")]
    assert [name for name, _ in names(gpus.memory(run))] == ["GPU 0", "GPU 0/3", "capacity"]


def test_many_gpus_are_a_band_and_each_of_them_for_who_selects_it(directory: Path) -> None:
    """Ten GPUs: extremes, middle half and median first; then each with its own id, in one colour in all charts."""
    rows: list[Row] = []
    for number in range(10):
        labels = {"uuid": f"GPU-{number}", "index": number, "memory_used_bytes": (1 + number) * GIB // 2}
        rows += [fast(second, **labels) for second in range(0, SECONDS, 5)]
    run = planted(directory, *rows)
    memory, busy = gpus.memory(run), gpus.utilisation(run)
    outer, middle, median = (series for series in memory.series if series.fleet)
    assert [outer.name, middle.name, median.name] == ["lowest to highest", "middle half", "median of 10"]
    assert (outer.low is not None, outer.high is not None) == (True, True)
    bounds = [outer.low, middle.low, median.values, middle.high, outer.high]
    assert [float(one[0]) for one in bounds if one is not None] == pytest.approx([0.5, 1.625, 2.75, 3.875, 5.0])
    alone = [(series.name, series.colour, series.of) for series in memory.series if series.of]
    assert [name for name, _, _ in alone] == [f"GPU {number}" for number in range(10)]
    assert alone == [(series.name, series.colour, series.of) for series in busy.series if series.of]
    assert not memory.note.endswith("are shown.")


def spans(run: Run) -> dict[str, list[tuple[float, float]]]:
    """Start and length of what is marked, by row."""
    chart = gpu_states.states(run)
    assert chart is not None
    found: dict[str, list[tuple[float, float]]] = {}
    for one in chart.spans:
        for row, start, length in zip(one.rows, one.starts_s.tolist(), one.lasting_s.tolist(), strict=True):
            found.setdefault(row, []).append((start, length))
    return found


def test_stretches_with_lowered_clocks_are_marked(directory: Path) -> None:
    """By the driver's reasons from row to row; idle clocks and those somebody set hold nothing back."""

    def reasons(second: int) -> str:
        if 10 <= second < 20:
            return "software_power_cap,software_thermal"
        return "gpu_idle,application_clocks" if second < 40 else "hardware_slowdown"

    run = planted(directory, *(slow(second, event_reasons=reasons(second)) for second in range(SECONDS)))
    assert spans(run) == {
        "GPU 0 · power": [(10.0, 10.0)],
        "GPU 0 · heat": [(10.0, 10.0)],
        "GPU 0 · hardware": [(40.0, 20.0)],
    }


def test_a_short_throttling_is_seen_by_its_counter(directory: Path) -> None:
    """Between two readings nothing was set, but the counter grew; one that fell back was restarted."""
    counter = [0.0] * 20 + [0.3] * 20 + [0.0] * 20
    run = planted(directory, *(slow(second, thermal_throttled_s=value) for second, value in enumerate(counter)))
    assert spans(run) == {"GPU 0 · heat": [(19.0, 1.0)]}
    chart = gpu_states.states(run)
    assert chart is not None
    assert "0.3 s of it by the driver's count" in chart.spans[0].words[0]


def test_nothing_is_marked_where_nothing_was_read(directory: Path) -> None:
    """A throttled reading before a gap of half a minute says nothing about the gap."""
    rows = [
        slow(second, event_reasons="hardware_thermal" if second == 9 else "") for second in [*range(10), *range(40, 60)]
    ]
    run = planted(directory, *rows, event(10, "gpu_lost", "GPU-a"))
    chart = gpu_states.states(run)
    assert chart is not None
    assert not chart.spans


def test_xids_and_losses_are_marked(directory: Path) -> None:
    """In a row of their GPU, each with what was told."""
    told = (
        event(10, "xid", "GPU-a", "Xid 31: <b>page fault</b>"),
        event(20, "gpu_lost", "GPU-a", "fallen off the bus"),
        event(30, "source_found", "GPU-a", "the GPU answers again"),
        event(30, "source_found", "some server", "answers again"),
    )
    chart = gpu_states.states(planted(directory, *(slow(second) for second in range(SECONDS)), *told))
    assert chart is not None
    assert chart.rows == ("GPU 0 · events",)
    assert {dots.name: dots.seconds.tolist() for dots in chart.dots} == {
        "Xid": [10.0],
        "lost": [20.0],
        "found again": [30.0],
    }
    assert all("<b>" not in words for dots in chart.dots for words in dots.words)
