"""Measures narrowed down by filters, and what came out for what went in."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.efficiency import efficiency
from comfysoak_analysis.findings.rising import Series
from comfysoak_analysis.goals import evaluate
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.measuring import Evidence, measure, steepest
from comfysoak_analysis.model_states import model_states
from comfysoak_analysis.reliability import failures_of, reliability
from comfysoak_analysis.report import documents
from comfysoak_analysis.statistics.rates import rate_interval
from comfysoak_analysis.verdict import Standing
from comfysoak_core.scenario.goals import By
from tests.analysis.planted import SERVER, plant


def value(run: Run, name: str, **filters: str) -> float:
    """What a measure comes to."""
    return measure(name, Evidence(run, (), filters={By(by): chosen for by, chosen in filters.items()})).value


def test_filters_choose_the_prompts_that_count(story: Run) -> None:
    """The parts by workflow add up to the whole; one that nobody ran has nothing to measure."""
    names = ("portrait-sdxl", "sketch-sd15")
    parts = [value(story, "prompts.count", workflow=name) for name in names]
    assert min(parts) > 0
    assert sum(parts) == value(story, "prompts.count")
    rates = [value(story, "prompts.per_minute", workflow=name) for name in names]
    assert sum(rates) == pytest.approx(value(story, "prompts.per_minute"))
    chosen = story.prompts[story.prompts["timed"] & (story.prompts["workflow"] == names[0])]
    p95 = float(np.quantile(chosen["latency_s"], 0.95))
    assert value(story, "prompts.latency.p95", workflow=names[0]) == pytest.approx(p95)
    assert math.isnan(value(story, "prompts.latency.p95", workflow="nobody"))


def test_a_server_may_be_named_by_its_number(story: Run) -> None:
    """Addresses of embedded servers are known only once they have started."""
    assert value(story, "prompts.count", server="0") == value(story, "prompts.count", server=SERVER) > 0
    assert value(story, "prompts.count", server="1") == 0


def test_a_warm_up_can_be_asked_for_by_its_name(story: Run) -> None:
    """It is in no figure of the run, and has its own when a goal names it."""
    in_it = int((story.prompts["intended"] & story.prompts["work"] & (story.prompts["phase"] == "warmup")).sum())
    assert in_it > 0
    assert value(story, "prompts.count", phase="warmup") == in_it


def test_prompts_that_wait_for_a_model_are_apart(story: Run) -> None:
    """Cold ones are those in whose run a load was seen; they take longer, and all three kinds make the whole."""
    loads = GpuStates(story).loads
    states = model_states(story.prompts, loads)
    assert {"cold", "warm"} <= set(states)
    parts = [value(story, "prompts.count", model=state) for state in ("cold", "warm")]
    assert sum(parts) == value(story, "prompts.count")
    cold, warm = (value(story, "prompts.service.p50", model=one, workflow="portrait-sdxl") for one in ("cold", "warm"))
    assert cold > warm


def test_goodput_counts_what_is_within_the_goals(directory: Path) -> None:
    """A success that took longer than a goal on latency allows is throughput, and no goodput."""
    run = open_run(plant(directory, goals=("prompts.latency.p95 < 7.2s",)))
    within = run.prompts["timed"] & run.prompts["ok"] & (run.prompts["latency_s"] < 7.2)
    done = run.prompts["timed"] & run.prompts["ok"]
    assert 0 < within.sum() < done.sum()
    share = value(run, "prompts.good_per_minute") / value(run, "prompts.per_minute")
    assert share == pytest.approx(within.sum() / done.sum())


def test_a_filter_that_matched_nothing_is_told_with_the_nearest_name(story: Run) -> None:
    """The answer to a goal about a workflow nobody ran is its right name."""
    (result,) = evaluate(story, (), ["prompts.latency.p95{workflow=portrait-sdx} < 3s"])
    assert result.standing is Standing.UNDECIDED
    assert "did you mean 'portrait-sdxl'?" in result.reason


def test_failures_in_a_row_are_one_failure_with_its_recovery() -> None:
    """Up to the next success; what its sender broke is none, and a server that never worked again did not recover."""
    outcomes = ["success", "failed", "lost", "rejected", "timeout", "success", "given_up", "success", "oom"]
    prompts = pd.DataFrame(
        {
            "outcome": outcomes,
            "ok": [outcome == "success" for outcome in outcomes],
            "started_at": pd.to_datetime(np.arange(len(outcomes)) * 10**9 - 10**8),
            "done_at": pd.to_datetime(np.arange(len(outcomes)) * 10**9),
        }
    )
    first, last = failures_of(SERVER, prompts)
    assert (first.prompts, first.recovered_s) == (3, 4.0)
    assert (last.prompts, last.recovered_s) == (1, None)


def test_a_failure_comes_with_its_rate_and_how_sure_that_is(directory: Path) -> None:
    """One failure in a minute is a high rate, and hardly known."""
    found = reliability(open_run(plant(directory, node_error_at_s=(30.0,))))
    assert len(found.failures) == 1
    assert 0 < found.recovery_max_s < 15
    assert found.low < found.rate / 10 < found.rate < found.high
    assert found.in_words().startswith("1 failure in ")


def test_no_failure_is_no_proof_of_none(directory: Path) -> None:
    """A minute without a failure shows at most one in a third of the time under load."""
    run = open_run(plant(directory))
    found = reliability(run)
    assert not found.failures
    assert found.high == pytest.approx(3 / found.gpu_hours * 1000, rel=0.01)
    assert "not that there is none" in found.in_words()
    (result,) = evaluate(run, (), ["reliability.per_1000_gpu_hours < 5"])
    assert result.standing is Standing.UNDECIDED
    assert "it lies between 0 and" in result.reason


def test_a_goal_on_a_rate_is_missed_by_its_interval_and_later_while_the_run_goes_on(directory: Path) -> None:
    """Of four failures in a minute one end of 95 % is above the limit; that of looks again and again is not."""
    run = open_run(plant(directory, node_error_at_s=(20.0, 28.0, 36.0, 44.0)))
    found = reliability(run)
    surer = rate_interval(len(found.failures), found.gpu_hours / 1000, 0.999)
    between = (found.low + surer.low) / 2
    goal = [f"reliability.per_1000_gpu_hours < {between:.0f}"]
    assert evaluate(run, (), goal)[0].standing is Standing.MISSED
    assert evaluate(run, (), goal, unlikely=0.001)[0].standing is Standing.UNDECIDED


def test_a_rate_that_may_be_the_one_asked_for_is_not_missed(directory: Path) -> None:
    """Its interval holds the number; that neither end is exactly it says nothing."""
    run = open_run(plant(directory, node_error_at_s=(30.0,)))
    rate = round(reliability(run).rate)
    asked = evaluate(run, (), [f"reliability.per_1000_gpu_hours = {rate}", "reliability.per_1000_gpu_hours = 0"])
    assert [one.standing for one in asked] == [Standing.UNDECIDED, Standing.MISSED]


def test_the_steepest_of_several_is_as_unsure_as_any_that_may_be_it() -> None:
    """A GPU whose memory is well known is no proof that another, that swings, does not leak."""
    seconds = np.arange(0.0, 7200.0, 10.0)
    noise = np.random.default_rng(3).normal(size=seconds.size)
    known = Series("known", seconds, 100 + 1e-4 * seconds + 0.001 * noise)
    swings = Series("swings", seconds, 100 + 50 * np.sin(seconds / 2000.0))
    alone, both = (steepest(chosen, "", 0.05) for chosen in ([known], [known, swings]))
    assert alone.high == pytest.approx(0.36, rel=0.01)
    assert both.high > 10
    assert both.low <= both.value <= both.high
    again = steepest([known] * 8, "", 0.05)
    assert again.low < alone.low < again.value == alone.value


def test_energy_is_that_of_the_gpus_in_use(story: Run) -> None:
    """One GPU at 60 to 210 W: prompts by kilowatt-hour follow from mean power and time."""
    found = efficiency(story)
    assert found.gpus == 1
    assert 60 < found.power_mean_watts < 210
    assert found.per_kwh == pytest.approx(found.per_gpu_hour / found.power_mean_watts * 1000, rel=0.01)


def test_a_run_without_a_gpu_counts_servers_and_knows_no_energy(directory: Path) -> None:
    """Prompts by GPU-hour are those by server-hour then; nothing is made up for power."""
    found = efficiency(open_run(plant(directory, gpu=False)))
    assert found.gpus == 1
    assert found.per_gpu_hour > 0
    assert math.isnan(found.per_kwh)


def test_the_report_says_what_came_out_and_how_reliably(directory: Path) -> None:
    """Goodput, prompts by GPU-hour and kilowatt-hour, and what no failure shows, in words; cold prompts apart."""
    run = open_run(plant(directory, goals=("prompts.latency.p95 < 7.2s",)))
    _, files = documents(run)
    page = files["report.html"].decode()
    for words in ("a minute within the goals on latency", "1 GPU in use", "GPUs alone", "not that there is none",
                  "By model state"):  # fmt: skip
        assert words in page
