"""Findings of machines: each rule finds what is planted, and not what looks like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comfysoak_analysis.findings.finding import Certainty
from comfysoak_analysis.findings.machine import (
    cgroup_oom,
    disk_fill,
    foreign,
    gpu_vanished,
    idle_with_queue,
    poisoned,
    straggler,
    throttled,
)
from tests.analysis.machine_rows import HOST, MIB, Soak, gpu, server
from tests.analysis.planted import GIB
from tests.analysis.test_memory_findings import Shape, found, sure

HOT = "software_thermal"


def _hot(at: np.ndarray) -> np.ndarray:
    return (at > 1000) & (at < 2000)


def _throttling(clock: float, reason: str, *, slower: float = 1.0, busy: float = 0.95) -> Soak:
    """A GPU that is held down for a thousand seconds."""
    soak = Soak(hours=1.0).gpu_samples(use=lambda at: np.where(_hot(at), busy, 0.95))
    soak.gpu_slow(lambda at: np.where(_hot(at), clock, 1_700e6), lambda at: np.where(_hot(at), reason, ""))
    return soak.prompts(lambda at, _: np.where(_hot(at), slower, 1.0))


# --- THROTTLED ---


def test_heat_that_lowers_the_clocks_is_throttling(directory: Path) -> None:
    """Clocks, time, reason, and what it cost."""
    finding = sure(found(_throttling(1_300e6, f"gpu_idle,{HOT}", slower=1.3), directory, throttled.find))
    assert finding.certainty is Certainty.CERTAIN
    assert "ran at 1,300 MHz instead of 1,700 MHz (24% less) for 1,0" in finding.evidence
    assert "held down by heat" in finding.evidence
    assert "took 1.3" in finding.evidence


@pytest.mark.parametrize(
    ("clock", "reason", "slower", "busy"),
    [
        (1_700e6, HOT, 1.0, 0.95),  # a reason, and clocks as ever
        (1_300e6, "application_clocks", 1.3, 0.95),  # somebody set them
        (210e6, HOT, 1.0, 0.0),  # nothing to do
        (1_650e6, "software_power_cap", 1.02, 0.95),  # full load
        (1_450e6, "software_power_cap", 1.0, 0.95),  # capped, and no step is slower for it
    ],
    ids=["reason alone", "set clocks", "idle", "full load", "capped"],
)
def test_clocks_or_reasons_alone_are_no_throttling(
    directory: Path, clock: float, reason: str, slower: float, busy: float
) -> None:
    """Both must hold while the GPU is at work."""
    assert found(_throttling(clock, reason, slower=slower, busy=busy), directory, throttled.find) is None


def test_heat_is_told_of_a_gpu_that_is_busy_a_third_of_the_time(directory: Path) -> None:
    """Light load on clocks of a half is still work that takes twice as long."""
    soak = _throttling(850e6, HOT, slower=2.0, busy=0.35)
    assert "(50% less)" in sure(found(soak, directory, throttled.find)).evidence


def test_a_power_cap_that_costs_time_is_told_for_information(directory: Path) -> None:
    """It is a setting."""
    finding = sure(found(_throttling(1_400e6, "software_power_cap", slower=1.2), directory, throttled.find))
    assert "its power cap" in finding.evidence
    assert "For information" in finding.evidence


def test_counters_of_throttled_time_tell_what_no_sample_saw(directory: Path) -> None:
    """They miss no short one."""
    soak = Soak(hours=1.0).gpu_samples()
    soak.gpu_slow(
        lambda at: np.where(_hot(at), 1_300e6, 1_700e6),
        thermal_throttled_s=lambda at: np.clip(at - 1000, 0, 1000) * 0.8,
    )
    assert "driver's count" in sure(found(soak, directory, throttled.find)).evidence


# --- IDLE_WITH_QUEUE ---


def _idle(use: Shape) -> Soak:
    """Two prompts wait all the time."""
    return Soak(hours=1.0).queue(lambda at: at * 0 + 2).gpu_samples(use=use)


def test_a_gpu_that_idles_while_prompts_wait_is_told(directory: Path) -> None:
    """No prompt ended: something is stuck."""
    finding = sure(found(_idle(lambda at: np.where(_hot(at), 0.0, 0.9)), directory, idle_with_queue.find))
    assert "for 1,000 s of 3,600 s" in finding.evidence
    assert "no prompt ended" in finding.evidence


def test_prompts_that_go_on_point_to_nodes_of_the_cpu(directory: Path) -> None:
    """They end while the GPU does nothing."""
    soak = _idle(lambda at: np.where(_hot(at), 0.0, 0.9)).prompts()
    assert "prompts went on without the GPU" in sure(found(soak, directory, idle_with_queue.find)).evidence


def test_deadlines_that_pass_are_no_prompts_that_go_on(directory: Path) -> None:
    """A dead worker ends nothing, however many users stop waiting."""
    soak = _idle(lambda at: np.where(at > 1000, 0.0, 0.9))
    soak.prompts(failed=lambda at: at > 990, fails_as=("timeout", "DEADLINE"))
    evidence = sure(found(soak, directory, idle_with_queue.find)).evidence
    assert "no prompt ended (a stuck worker or node)" in evidence
    assert "prompts went on" not in evidence


def test_a_model_that_loads_for_long_is_told_as_loading(directory: Path) -> None:
    """As far as its load is known."""
    soak = _idle(lambda at: np.where((at > 1000) & (at < 1400), 0.0, 0.9))
    for at_s, kind, text in (
        (1000.0, "model_requested", "Requested to load Flux"),
        (1390.0, "model_loaded", "loaded completely; 11000.00 MB loaded, full load: True"),
    ):
        soak.add("server_log", at_ns=soak.ns(np.array([at_s])), server=server(), source="socket", kind=kind,
                 model="Flux" if kind == "model_requested" else None, text=text)  # fmt: skip
    assert "models were loading" in sure(found(soak, directory, idle_with_queue.find)).evidence


@pytest.mark.parametrize(
    "soak",
    [
        _idle(lambda at: np.where((at % 20) < 3, 0.0, 0.9)),  # pauses between prompts
        Soak(hours=1.0)
        .queue(lambda at: np.where(_hot(at), 0, 2))
        .gpu_samples(use=lambda at: np.where(_hot(at), 0.0, 0.9)),
        Soak(hours=1.0).queue(lambda at: at * 0 + 2),  # no GPU was watched
    ],
    ids=["short pauses", "nothing queued", "no GPU"],
)
def test_an_idle_gpu_without_need_is_none(directory: Path, soak: Soak) -> None:
    """Nothing waited, or not for long."""
    assert found(soak, directory, idle_with_queue.find) is None


# --- STRAGGLER ---


def _fleet(slow: float, *, devices: tuple[str, ...] = (), share: float = 0.5, until: float = np.inf) -> Soak:
    soak = Soak(hours=1.0, servers=3, devices=devices)
    for number in range(3):
        mine = slow if number == 2 else 1.0
        soak.prompts(
            lambda at, _, mine=mine: np.where(at < until, mine, 1.0) * np.where(at > 2400, 1.4, 1.0),  # type: ignore[misc]  # a default binds the loop's value
            number=number,
            share=lambda at, number=number: at * 0 + (share if number == 2 else 0.5),  # type: ignore[misc]  # as above
        )
    return soak


def test_a_server_that_is_slower_than_the_rest_is_a_straggler(directory: Path) -> None:
    """By the same workflows at the same time."""
    finding = sure(found(_fleet(1.15), directory, straggler.find))
    assert finding.evidence.startswith(f"{server(2)} took 1.1")
    assert finding.count == 1


@pytest.mark.parametrize(
    "soak",
    [
        _fleet(1.0, share=0.95),  # it gets the slow workflow
        _fleet(1.04),  # too little
        _fleet(1.5, until=600),  # a bad ten minutes
        _fleet(1.5, devices=("A100", "A100", "L4")),  # another GPU
        Soak(hours=1.0).prompts(),  # alone
    ],
    ids=["other mix", "little", "a while", "other GPU", "alone"],
)
def test_a_server_with_other_work_or_another_gpu_is_no_straggler(directory: Path, soak: Soak) -> None:
    """Like is compared with like."""
    assert found(soak, directory, straggler.find) is None


# --- DISK_FILL ---


def _disk(free: Shape) -> Soak:
    soak = Soak(hours=1.0)
    at = soak.every(5)
    return soak.add(
        "host", at_ns=soak.ns(at), host=HOST, read_cost_ns=1, disk_free_bytes=np.round(free(at)).astype(np.int64)
    )


def test_a_disk_that_fills_says_when_it_is_full_and_by_which_folder(directory: Path) -> None:
    """At the rate of the run."""
    soak = _disk(lambda at: 41 * GIB - GIB * at / 3600)
    at = soak.every(60)
    soak.add("folders", at_ns=soak.ns(at), host=HOST, server=server(), kind="temp", read_cost_ns=1,
             bytes=(GIB * at / 3600).astype(np.int64), whole=True)  # fmt: skip
    finding = sure(found(soak, directory, disk_fill.find))
    assert "which lasts 40 h" in finding.evidence
    assert f"The temp folder of {server()} grew by 1 GiB/h." in finding.evidence


@pytest.mark.parametrize(
    "free",
    [
        lambda at: 40 * GIB - np.where(at > 1800, 20 * GIB, 0),  # written once
        lambda at: 40 * GIB - 3 * GIB * ((at / 700) % 1.0),  # pruned again and again
        lambda at: 900 * GIB - GIB * at / 3600,  # room for a month
        lambda at: 40 * GIB + 0 * at,
    ],
    ids=["a dump", "pruned", "room", "still"],
)
def test_a_disk_that_does_not_fill_is_none(directory: Path, free: Shape) -> None:
    """A step and a saw are no rate."""
    assert found(_disk(free), directory, disk_fill.find) is None


def test_next_to_no_space_is_told_as_such(directory: Path) -> None:
    """Whatever its rate."""
    finding = sure(found(_disk(lambda at: GIB + 0 * at), directory, disk_fill.find))
    assert finding.certainty is Certainty.CERTAIN
    assert "only 1.0 GiB free" in finding.evidence


# --- CGROUP_OOM, GPU_VANISHED, CUDA_POISONED, GPU_FOREIGN ---


@pytest.mark.parametrize(("share", "told"), [(0.4, True), (0.1, False)])
def test_a_container_held_back_by_its_cpu_limit_is_throttled_and_not_killed(
    directory: Path, share: float, *, told: bool
) -> None:
    """Some periods are in every run."""
    soak = Soak(hours=1.0)
    at = soak.every(5)
    soak.add("containers", at_ns=soak.ns(at), host=HOST, server=server(), read_cost_ns=1, cpu_limit_cores=2.0,
             cpu_periods=(at * 10).astype(np.int64), cpu_periods_throttled=(at * 10 * share).astype(np.int64),
             cpu_throttled_s=at * share)  # fmt: skip
    finding = found(soak, directory, cgroup_oom.find)
    assert (finding is not None) is told
    assert finding is None or "was not killed but throttled: its CPU limit of 2 cores" in finding.evidence


def test_a_gpu_that_vanished_says_when_it_came_back(directory: Path) -> None:
    """By the sampler's word."""
    soak = Soak(hours=0.1)
    soak.event(60.0, "gpu_vanished", subject=gpu(), code="GPU_VANISHED", detail="GPU 0: unknown error (NVML error 999)")
    soak.event(95.0, "source_found", subject=gpu(), detail="the GPU answers again")
    finding = sure(found(soak, directory, gpu_vanished.find))
    assert "NVML error 999" in finding.evidence
    assert "answered again 35.0 s after" in finding.evidence


def test_one_success_between_cuda_errors_ends_their_row(directory: Path) -> None:
    """A poisoned process has none."""
    soak = Soak(hours=0.1)
    at = np.arange(20.0, 200.0, 20.0)
    broken = np.array([index % 3 != 2 for index in range(at.size)])
    soak.add(
        "prompts", id=[f"p{index}" for index in range(at.size)], server=server(), worker="w", client_id="c",
        workflow="large", phase="load", scheduled_ns=soak.ns(at), finished_ns=soak.ns(at + 2),
        end_received_ns=soak.ns(at + 2),
        outcome=list(np.where(broken, "failed", "success")), code=["NODE_ERROR" if one else None for one in broken],
        error_message=["CUDA error: an illegal memory access" if one else None for one in broken],
    )  # fmt: skip
    assert found(soak, directory, poisoned.find) is None


def test_memory_of_others_that_the_sampler_summed_up_is_foreign(directory: Path) -> None:
    """Many small processes may be large together."""
    soak = Soak(hours=0.2)
    at = soak.every(5)
    soak.add("gpu_health", at_ns=soak.ns(at), host=HOST, source="nvml", uuid=gpu(), read_cost_ns=1,
             foreign_bytes=np.where(at > 300, 900 * MIB, 0))  # fmt: skip
    finding = sure(found(soak.gpu_samples(), directory, foreign.find))
    assert finding.certainty is Certainty.CERTAIN
    assert "0.9 GiB of GPU-0" in finding.evidence


def _exporter(use: float, ours: float = 3 * GIB) -> Soak:
    """A GPU whose processes nobody tells, at `use` after the load has ended."""
    soak = Soak(hours=0.5)
    soak.tables.clear()
    soak.queue(lambda at: np.where(at < 900, 1, 0), torch_vram_total_bytes=lambda at: at * 0 + ours)
    return soak.gpu_samples(use=lambda at: np.where(at < 900, 0.9, use), source="dcgm")


def test_a_gpu_at_work_with_nothing_of_ours_is_used_by_others(directory: Path) -> None:
    """An exporter names no processes."""
    finding = sure(found(_exporter(use=0.6), directory, foreign.find))
    assert finding.certainty is Certainty.LIKELY
    assert "in which no server had a prompt" in finding.evidence


def test_memory_that_no_server_says_it_holds_is_perhaps_foreign(directory: Path) -> None:
    """Beyond the allocator's own."""
    finding = sure(found(_exporter(use=0.0, ours=GIB // 2), directory, foreign.find))
    assert finding.certainty is Certainty.POSSIBLE


def test_an_exporter_of_our_own_gpu_accuses_nobody(directory: Path) -> None:
    """It works while we have prompts, and holds what the server holds."""
    assert found(_exporter(use=0.0), directory, foreign.find) is None
