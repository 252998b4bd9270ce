"""The state of GPUs beside a failure: by fresh values of the server's own host, and by one source at a time."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from comfysoak_analysis import measures
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.measuring import Evidence, measure
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Host, Process
from tests.analysis.planted import GIB, SERVER, START_NS
from tests.analysis.test_gpus import SECONDS, SOURCE, event, fast, planted, slow


def moment(second: float) -> pd.Timestamp:
    return pd.Timestamp(START_NS + round(second * NS_PER_S))


def told(interval_s: float) -> list[object]:
    """An exporter's words about its GPU and its interval, and a refresh at 10 s and at 40 s, repeated every second."""
    words = f"its values change every {interval_s:.1f} s"
    rows: list[object] = [event(0, "gpu", "GPU-a", f"GPU 0 of gpu-7, by {SOURCE}")]
    rows += [event(5, "source_interval", SOURCE, words, interval_s)]
    used = [1 if second < 10 else 5 if second < 40 else 2 for second in range(SECONDS)]
    return rows + [fast(second, memory_used_bytes=used[second] * GIB) for second in range(SECONDS)]


def test_a_value_that_is_repeated_is_no_state_of_now(directory: Path) -> None:
    """Of an exporter that refreshes every 30 s only what it had just refreshed tells what a GPU was doing."""
    states = GpuStates(planted(directory, *told(30.0)))  # type: ignore[arg-type]  # rows
    assert states.at(moment(40.5)).vram_used_bytes == 2 * GIB
    assert states.at(moment(25)).in_words() == "GPU state unknown: no fresh sample within 2 s"


def test_a_fast_exporter_tells_the_state_of_now(directory: Path) -> None:
    """One that refreshes every second is as good as the driver, although its values stay."""
    states = GpuStates(planted(directory, *told(1.0)))  # type: ignore[arg-type]  # rows
    assert states.at(moment(25)).vram_used_bytes == 5 * GIB


def test_goals_on_memory_count_fresh_samples(directory: Path) -> None:
    """Sixty rows of an exporter that refreshes every 30 s are two samples."""
    run = planted(directory, *told(30.0))  # type: ignore[arg-type]  # rows
    for name in ("gpu.memory.max", "gpu.memory.max_share", "gpu.utilisation.mean"):
        assert measure(name, Evidence(run, ())).samples == 2


def test_the_state_is_that_of_the_servers_host(directory: Path) -> None:
    """With GPUs on several hosts those of another one say nothing about a server's failure."""
    rows = [fast(second, source="nvml", host="a", uuid="GPU-a") for second in range(SECONDS)]
    rows += [
        fast(second, source="nvml", host="b", uuid="GPU-b", memory_used_bytes=8 * GIB) for second in range(SECONDS)
    ]
    process = Process(at_ns=START_NS, read_cost_ns=1, host="a", pid=9, role="server", server=SERVER)
    run = planted(directory, *rows, process, Host(at_ns=START_NS, read_cost_ns=1, host="a"))
    states = GpuStates(run)
    assert states.at(moment(20), SERVER).in_words().startswith("VRAM 50% · GPU busy 90%")
    assert states.at(moment(20)).in_words().startswith("VRAM 100% on the fullest of 2 GPUs")
    assert states.at(moment(20), "http://b:8188").in_words().startswith("VRAM 100% · GPU busy")  # by its address


def test_of_a_gpu_that_two_sources_tell_the_driver_counts(directory: Path) -> None:
    """Values of an exporter that are half a minute old are not mixed into those of the driver."""
    rows = [fast(second, source="nvml", host="h", memory_used_bytes=2 * GIB) for second in range(SECONDS)]
    rows += [fast(second) for second in range(SECONDS)]
    rates = [slow(second, source="nvml", host="h", power_throttled_s=second / 10) for second in range(SECONDS)]
    rates += [slow(second, power_throttled_s=0.0, sm_active_ratio=0.5, xid=31) for second in range(SECONDS)]
    run = planted(directory, *rows, *rates)
    (gpu,) = measures.gpus(run)
    assert (gpu.source, gpu.host, gpu.samples, gpu.memory_max_bytes) == ("nvml", "h", SECONDS, 2 * GIB)
    assert gpu.throttled_s < SECONDS / 10
    assert gpu.sm_active_mean == 0.5  # what the exporter alone tells is kept
    assert set(run.gpu_slow["xid"].dropna()) == {31}


def test_steps_of_a_coarse_exporter_are_no_model_loads(directory: Path) -> None:
    """When within 30 s memory rose nobody knows, and a node that ran at the refresh did not do it."""
    run = planted(directory, *told(30.0), log=False)  # type: ignore[arg-type]  # rows
    assert [load for load in GpuStates(run).loads if load.source == "memory"] == []
    fine = [fast(second, memory_used_bytes=(1 if second < 10 else 5) * GIB) for second in range(SECONDS)]
    quick = planted(directory.with_name("quick"), *fine, log=False)
    assert [load.source for load in GpuStates(quick).loads][:1] == ["memory"]


def test_steps_on_another_host_are_no_model_loads(directory: Path) -> None:
    """The load generator's own GPU is not the target's."""
    process = Process(at_ns=START_NS, read_cost_ns=1, host="gpu-7", pid=9, role="server", server=SERVER)
    still = [fast(second, source="nvml") for second in range(SECONDS)]
    moves = [
        fast(second, source="nvml", host="b", uuid="GPU-b", memory_used_bytes=(1 if second < 10 else 5) * GIB)
        for second in range(SECONDS)
    ]
    run = planted(directory, *still, *moves, process, log=False)
    assert [load for load in GpuStates(run).loads if load.source == "memory"] == []
