"""Findings of memory and of what comes of it: each rule finds what is planted, and not what looks like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from comfysoak_analysis.findings.detectors import Detector, find_all
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.memory import history_bloat, latency_drift, oom_sticky, ram_leak, vram_leak
from comfysoak_analysis.findings.rising import Series, rise_of
from comfysoak_analysis.gpu_state import GpuStates
from tests.analysis.machine_rows import MIB, Of, Soak, gpu, server
from tests.analysis.planted import GIB

Shape = Callable[[np.ndarray], np.ndarray]


def found(soak: Soak, directory: Path, find: Detector) -> Finding | None:
    """What one detector says of it."""
    run = soak.open(directory / "run")
    return next(iter(find(run, GpuStates(run))), None)


def sure(finding: Finding | None) -> Finding:
    """The finding, which must be there; and whoever is not certain says what else it could be."""
    assert finding is not None
    assert finding.certainty is Certainty.CERTAIN or finding.unless
    return finding


def test_a_calm_fleet_has_no_finding(directory: Path) -> None:
    """Eight GPUs are eight chances for a false alarm, and none of them is taken."""
    soak = Soak(hours=1.0, servers=8)
    for number in range(8):
        soak.gpu_samples(number=number, step_s=4).gpu_slow(number=number, step_s=8).prompts(number=number, every_s=20)
        soak.rss(lambda at: 4 * GIB + 0 * at, number=number).queue(lambda at: at * 0 + 1, number=number, step_s=5)
    run = soak.open(directory / "run")
    assert find_all(run, GpuStates(run)) == ()


# --- VRAM_LEAK ---


def test_gpu_memory_that_rises_under_its_saw_is_a_leak(directory: Path) -> None:
    """With its slope, interval, rise and the time that is left."""
    soak = Soak()
    finding = sure(found(soak.gpu_samples(lambda at: soak.saw(at) + 96 * MIB * at / 7200), directory, vram_leak.find))
    assert finding.evidence.startswith("GPU-0: ")
    assert "MiB/h (95 %: " in finding.evidence
    assert "the end of its memory is reached in" in finding.evidence
    assert finding.chart == "vram"
    assert finding.certainty is Certainty.POSSIBLE  # nobody told what was loaded


@pytest.mark.parametrize(
    "shape",
    [
        lambda share: 0 * share,
        lambda share: 4 * GIB * (1 - np.exp(-share / 0.25)),  # a cache that fills
        lambda share: 900 * MIB * np.minimum(share / 0.3, 1),  # a warm-up
        lambda share: 700 * MIB * (share > 0.6),  # a larger batch, once
        lambda share: 900 * MIB * ((share * 1.7) % 1.0),  # a sawtooth, recorded on its way up
        lambda share: 400 * MIB * np.sin(2 * np.pi * 3 * share),  # day and night
        lambda share: 40 * MIB * share,  # too little
    ],
    ids=["saw", "filling", "warm-up", "step", "long saw", "day and night", "little"],
)
def test_memory_that_does_not_go_on_rising_is_no_leak(directory: Path, shape: Shape) -> None:
    """Full memory is how allocators and caches work."""
    soak = Soak()
    assert (
        found(soak.gpu_samples(lambda at: soak.saw(at) + shape(at / soak.seconds)), directory, vram_leak.find) is None
    )


def _mixed(soak: Soak, leak_bytes: float) -> Soak:
    """Two models take turns, and the larger one has more and more of them."""
    at, switches, larger = 5.0, list[tuple[float, str]](), list[tuple[float, float]]()
    while at < soak.seconds:
        share = at / soak.seconds
        small_s, large_s = 20 + 160 * (1 - share), 20 + 160 * share
        switches += [(at, "BaseModel"), (at + small_s, "SDXL")]
        larger.append((at + small_s, at + small_s + large_s))
        at += small_s + large_s

    def used(at_s: np.ndarray) -> np.ndarray:
        held = sum(((at_s >= begin) & (at_s < end)) for begin, end in larger)
        return np.asarray(soak.saw(at_s, 60 * MIB) + 4 * GIB * np.asarray(held) + leak_bytes * at_s / soak.seconds)

    return soak.models(switches).gpu_samples(used)


def test_a_shift_of_the_mix_of_models_is_no_leak_and_hides_none(directory: Path) -> None:
    """Like is compared with like: low points with the same models loaded."""
    assert found(_mixed(Soak(), 0.0), directory, vram_leak.find) is None
    finding = sure(found(_mixed(Soak(), 200 * MIB), directory / "leak", vram_leak.find))
    assert finding.certainty is Certainty.LIKELY


@pytest.mark.parametrize("seed", range(3))
def test_five_mib_an_hour_over_three_days_are_found_by_settles(directory: Path, seed: int) -> None:
    """Where the scenario settles, memory after each settle decides."""
    soak = Soak(hours=72.0, seed=seed)
    soak.settles(48)
    finding = sure(
        found(soak.gpu_samples(lambda at: soak.saw(at) + 5 * MIB * at / 3600, step_s=15), directory, vram_leak.find)
    )
    assert "after each of 48 settles" in finding.evidence
    assert finding.certainty is Certainty.LIKELY


def test_what_settles_give_back_is_no_leak(directory: Path) -> None:
    """Memory rises between them and under them it does not: settles decide."""
    soak = Soak(hours=4.0)
    spans = soak.settles(16)

    def used(at_s: np.ndarray) -> np.ndarray:
        settled = sum(((at_s >= begin - 5) & (at_s < end + 5)) for begin, end in spans)
        return np.where(np.asarray(settled) > 0, 0.6 * GIB, soak.saw(at_s) + 2 * GIB * at_s / soak.seconds)

    assert found(soak.gpu_samples(used, step_s=5), directory, vram_leak.find) is None


def test_the_worst_of_several_gpus_is_told_first(directory: Path) -> None:
    """And how many there are."""
    soak = Soak(servers=3)
    for number, leak in enumerate((0, 100, 300)):
        soak.gpu_samples(lambda at, leak=leak: soak.saw(at) + leak * MIB * at / soak.seconds, number=number)  # type: ignore[misc]  # a default binds the loop's value
    finding = sure(found(soak, directory, vram_leak.find))
    assert finding.count == 2
    assert finding.evidence.index(gpu(2)) < finding.evidence.index(gpu(1))


# --- RAM_LEAK and HISTORY_BLOAT ---


def test_resident_memory_that_rises_is_a_leak_and_says_how_long_it_can(directory: Path) -> None:
    """Until the limit of its container, the files in its cache not counted."""
    soak = Soak()
    at = soak.every(10)
    soak.add("containers", at_ns=soak.ns(at), host="gpu-1", server=server(), read_cost_ns=1, memory_limit_bytes=8 * GIB,
             memory_used_bytes=6 * GIB, memory_file_bytes=GIB)  # fmt: skip
    finding = sure(found(soak.rss(lambda at: 4 * GIB + 1024 * MIB * at / 7200), directory, ram_leak.find))
    assert "the limit of its container is reached in 6 h" in finding.evidence


@pytest.mark.parametrize(
    "shape", [lambda share: np.minimum(8 * share, 3) * GIB, lambda share: 4 * GIB * (1 - np.exp(-share * 5))]
)
def test_caches_that_fill_up_to_what_there_is_are_no_leak(directory: Path, shape: Shape) -> None:
    """Pressure-driven caches keep what fits."""
    soak = Soak()
    assert found(soak.rss(lambda at: 3 * GIB + shape(at / soak.seconds)), directory, ram_leak.find) is None


@pytest.mark.parametrize(("rise_bytes", "told"), [(200 * MIB, False), (1024 * MIB, True)])
def test_in_a_few_minutes_only_a_fast_rise_is_a_leak(directory: Path, rise_bytes: int, told: bool) -> None:
    """A server that was just started still takes some hundred MiB."""
    soak = Soak(hours=0.2)
    soak.rss(lambda at: 3 * GIB + rise_bytes * at / soak.seconds, step_s=1)
    assert (found(soak, directory, ram_leak.find) is not None) is told


def test_a_model_that_is_read_is_no_leak_of_ram(directory: Path) -> None:
    """Each model stays in memory once it was read."""
    soak = Soak()
    reads = [(900.0 * index + 5, f"Model{index}") for index in range(8)]
    soak.models(reads).rss(lambda at: 3 * GIB + 700 * MIB * np.floor(at / 900))
    assert found(soak, directory, ram_leak.find) is None


LONG = "x" * 60_000  # so long a text takes about 68 KiB to keep
HOURS = 8.0


def _with_history(rss: Of, *, every_s: float = 4.0, text: str = LONG) -> Soak:
    """A prompt every so many seconds for eight hours; `rss` of how many came."""
    soak = Soak(hours=HOURS, text=text)
    soak.rss(lambda at: 4 * GIB + rss(at // every_s), step_s=30)
    return soak.queue(lambda at: at * 0, step_s=30, history_length=lambda at: np.minimum(at // every_s, 10_000))


def _both(soak: Soak, directory: Path) -> tuple[Finding | None, Finding | None]:
    """What is told of a leak, and of history."""
    run = soak.open(directory / "run")
    states = GpuStates(run)
    return next(iter(ram_leak.find(run, states)), None), next(iter(history_bloat.find(run, states)), None)


def test_growth_that_ends_when_history_is_full_is_its_bloat(directory: Path) -> None:
    """It keeps ten thousand prompts."""
    leak, bloat = _both(_with_history(lambda came: 66_000 * np.minimum(came, 10_000), every_s=2), directory)
    assert leak is None
    assert "64.5 KiB each" in sure(bloat).evidence
    assert "It keeps 10,000 prompts: about 629 MiB. It stopped when history was full." in sure(bloat).evidence
    assert sure(bloat).certainty is Certainty.LIKELY


def test_growth_that_goes_on_when_history_is_full_is_a_leak(directory: Path) -> None:
    """The same slope, and history does not explain it."""
    leak, bloat = _both(_with_history(lambda came: 66_000 * came, every_s=2), directory)
    assert bloat is None
    assert "while its history was full, which does not explain it" in sure(leak).evidence


def test_growth_of_many_times_a_prompt_is_no_history(directory: Path) -> None:
    """What is kept of a prompt is some times its JSON, not a picture."""
    leak, bloat = _both(_with_history(lambda came: MIB * came / 4, text=""), directory)
    assert bloat is None
    assert "less the most that its history of 7,196 prompts can take" in sure(leak).evidence


@pytest.mark.parametrize("times", [0.7, 1.0, 1.25])
def test_the_history_of_usual_workflows_is_no_finding(directory: Path, times: float) -> None:
    """Ten thousand of them take some hundred MiB, and then no more."""
    assert _both(_with_history(lambda came: times * 10_700 * came, text=""), directory) == (None, None)


def test_a_history_that_there_is_no_room_for_is_told_however_small(directory: Path) -> None:
    """The limit of the container is reached before history is full."""
    soak = _with_history(lambda came: 10_700 * came, text="")
    at = soak.every(10)
    soak.add("containers", at_ns=soak.ns(at), host="gpu-1", server=server(), read_cost_ns=1, memory_limit_bytes=8 * GIB,
             memory_used_bytes=8 * GIB - 20 * MIB, memory_file_bytes=0)  # fmt: skip
    leak, bloat = _both(soak, directory)
    assert leak is None
    assert "Before that the limit of its container is reached." in sure(bloat).evidence


def test_a_leak_beside_a_large_history_is_told_with_it(directory: Path) -> None:
    """History takes its share, and what it cannot explain is a leak."""
    leak, bloat = _both(_with_history(lambda came: 66_000 * came + 400 * MIB * came / 7200), directory)
    assert "see RAM_LEAK" in sure(bloat).evidence
    assert "less the most that its history" in sure(leak).evidence


def test_a_history_that_is_cleared_hides_no_leak(directory: Path) -> None:
    """The next prompts are kept where the cleared ones were."""
    soak = Soak(hours=HOURS).rss(lambda at: 4 * GIB + 90 * MIB * at / (HOURS * 3600), step_s=30)
    soak.queue(lambda at: at * 0, step_s=30, history_length=lambda at: (at // 2) % 500)
    leak, _ = _both(soak, directory)
    assert "its history of 4" in sure(leak).evidence


def test_prompts_that_ended_are_history_where_nobody_read_how_long_it_is(directory: Path) -> None:
    """What they take is no leak."""
    soak = Soak(hours=2.0, text="x" * 8_000).prompts(every_s=1.0)
    assert _both(soak.rss(lambda at: 4 * GIB + 18_000 * at), directory) == (None, None)


def _restarted(rss: Of, every_s: float, hours: float) -> Soak:
    """Memory as a function of how long the server has been up, which is started anew now and then."""
    soak = Soak(hours=hours).rss(lambda at: 3 * GIB + rss(at % every_s), step_s=2)
    for at_s in np.arange(every_s, hours * 3600, every_s):
        soak.event(float(at_s), "server_restarted", server=server(), subject="queue")
    return soak


def test_a_server_that_fills_its_caches_after_each_start_does_not_leak(directory: Path) -> None:
    """How a process begins is left out, whenever it was started."""
    soak = _restarted(lambda up: 200 * MIB * (1 - np.exp(-up / 150)), 1500.0, 0.83)
    assert found(soak, directory, ram_leak.find) is None


def test_a_leak_that_ends_with_its_process_again_and_again_is_one(directory: Path) -> None:
    """The kernel kills it, and the next one leaks."""
    sure(found(_restarted(lambda up: 200 * MIB * up / 7200, 7200.0, HOURS), directory, ram_leak.find))


# --- OOM_STICKY ---


def _out_of_memory(keeps: float, *, restarted: bool = False) -> Soak:
    soak = Soak().models([(5, "SDXL"), (3610, "SDXL")])
    if restarted:
        soak.event(3605.0, "server_restarted", server=server(), code="SERVER_RESTARTED", detail="planted")
    soak.gpu_samples(lambda at: soak.saw(at) + np.where(at > 3600, keeps, 0))
    return soak.prompts(failed=lambda at: (at > 3590) & (at < 3602))


def test_memory_that_stays_after_an_oom_is_sticky(directory: Path) -> None:
    """By low points with the same models loaded."""
    finding = sure(found(_out_of_memory(460 * MIB), directory, oom_sticky.find))
    assert "before an OOM at 3,60" in finding.evidence
    assert finding.examples[0] == gpu()


@pytest.mark.parametrize(
    "soak", [_out_of_memory(0), _out_of_memory(150 * MIB), _out_of_memory(460 * MIB, restarted=True)],
    ids=["comes back", "a little", "restarted"],
)  # fmt: skip
def test_memory_that_comes_back_after_an_oom_is_not(directory: Path, soak: Soak) -> None:
    """Nor what is less than a tenth; nor what another process of the server holds."""
    assert found(soak, directory, oom_sticky.find) is None


def test_a_larger_model_after_an_oom_is_not_sticky(directory: Path) -> None:
    """Other models are not compared with each other."""
    soak = Soak().models([(5, "SDXL"), (3610, "Flux")])
    soak.gpu_samples(lambda at: soak.saw(at) + np.where(at > 3600, 5 * GIB, 0))
    assert found(soak.prompts(failed=lambda at: (at > 3590) & (at < 3602)), directory, oom_sticky.find) is None


def test_settles_before_and_after_an_oom_decide(directory: Path) -> None:
    """A server that settles shows what it keeps."""
    soak = Soak()
    soak.settles(8)
    soak.gpu_samples(lambda at: soak.saw(at) + np.where(at > 3600, 460 * MIB, 0))
    finding = sure(found(soak.prompts(failed=lambda at: (at > 3590) & (at < 3602)), directory, oom_sticky.find))
    assert "after a settle" in finding.evidence
    assert finding.certainty is Certainty.LIKELY


# --- LATENCY_DRIFT ---


def test_a_workflow_that_slows_down_drifts(directory: Path) -> None:
    """With how much, and over what time."""
    soak = Soak().prompts(lambda at, large: np.where(large, 1 + 0.15 * at / 7200, 1.0))
    finding = sure(found(soak, directory, latency_drift.find))
    assert finding.count == 1
    assert finding.evidence.startswith(f"large on {server()}: service times rose by 1")


def test_a_mix_that_shifts_to_the_slow_workflow_is_no_drift(directory: Path) -> None:
    """Pooled it would be twice as slow at the end."""
    assert found(Soak().prompts(share=lambda at: at / 7200), directory, latency_drift.find) is None


@pytest.mark.parametrize(
    "slower",
    [
        lambda share: 1 + 0.05 * share,  # too little
        lambda share: np.where(share > 0.7, 1.3, 1.0),  # a neighbour came
        lambda share: np.where((share * 7) % 1 < 0.3, 1.5, 1.0),  # a noisy one
        lambda share: np.where(share < 0.15, 1.5, 1.0),  # warm-up
        lambda share: 1 - 0.3 * share,
    ],
    ids=["little", "step", "neighbour", "warm-up", "faster"],
)
def test_what_does_not_go_on_slowing_down_is_no_drift(directory: Path, slower: Shape) -> None:
    """Steps and bursts have other causes."""
    soak = Soak().prompts(lambda at, _: slower(at / 7200))
    assert found(soak, directory, latency_drift.find) is None


def test_a_load_that_rises_is_no_drift(directory: Path) -> None:
    """More users make everything slower; at each level of load nothing changed."""

    def users(at_s: np.ndarray) -> np.ndarray:
        return np.asarray(np.floor(2 * 1.25 ** (at_s // 900)), dtype=np.int64)

    soak = Soak()
    at = soak.every(5)
    soak.add("generator", at_ns=soak.ns(at), worker="load-0", pid=1, users=users(at), sockets=1, in_flight=1)
    soak.prompts(lambda at, _: 1 + 0.02 * users(at))
    assert found(soak, directory, latency_drift.find) is None


def test_clocks_that_were_held_down_are_throttling_and_no_drift(directory: Path) -> None:
    """The cause is told, not its effect."""
    soak = Soak().gpu_samples().prompts(lambda at, _: 1 + 0.3 * at / 7200)
    soak.gpu_slow(lambda at: 1_700e6 / (1 + 0.3 * at / 7200), lambda at: np.where(at > 600, "software_thermal", ""))
    assert found(soak, directory, latency_drift.find) is None


# --- The rule that leaks, drift and disks share ---


@pytest.mark.parametrize("values", [[], [1.0], [np.nan] * 30, [5.0] * 30, [np.inf] * 30, list(range(4))])
def test_series_that_tell_nothing_do_not_rise(values: list[float]) -> None:
    """Empty, missing and constant ones."""
    series = Series("x", np.arange(len(values), dtype=float), np.array(values, dtype=float))
    assert rise_of(series, 1.0) is None
