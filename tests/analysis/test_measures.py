"""Figures agree with the raw values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comfysoak_analysis import Run, measures, open_run
from comfysoak_analysis.measuring import Evidence, measure
from comfysoak_analysis.node_times import node_times
from comfysoak_core.rows import Gpu
from tests.analysis.planted import START_NS, plant
from tests.analysis.test_frames import S, only, prompt


def ended(number: int, seconds: float, outcome: str = "success", **changes: object):  # type: ignore[no-untyped-def]  # a row
    """A prompt that was due at 1 s and took `seconds`."""
    end_ns = START_NS + S + round(seconds * S)
    return prompt(number, end_received_ns=end_ns, finished_ns=end_ns, outcome=outcome, **changes)


def test_percentiles_are_those_of_the_raw_values(calm: Run) -> None:
    """No sketch, no average of percentiles."""
    prompts = calm.prompts
    raw = prompts.loc[(prompts["phase"] == "load") & (prompts["outcome"] == "success"), "latency_s"].to_numpy()
    found = measures.whole(calm).latency
    assert (found.count, found.p95, found.p99) == (len(raw), np.quantile(raw, 0.95), np.quantile(raw, 0.99))


def test_cached_prompts_are_no_throughput(directory: Path) -> None:
    """They did no work, and have no latency."""
    run = only(directory, ended(1, 10.0), ended(2, 0.1, "cached"), ended(3, 0.1, "cached"))
    found = measures.whole(run)
    assert (found.succeeded, found.cached, found.judged, found.latency.count) == (1, 2, 1, 1)
    assert found.per_minute == pytest.approx(6.0)


def test_a_prompt_that_timed_out_counts_with_the_time_it_was_waited_for(directory: Path) -> None:
    """Leaving it out would make a slow server look fast."""
    run = only(directory, ended(1, 1.0), ended(2, 120.0, "timeout"))
    assert measures.whole(run).latency.max == 120.0


def test_what_fails_at_once_does_not_improve_latency(directory: Path) -> None:
    """A server that refuses everything is not a fast one."""
    run = only(directory, ended(1, 9.0), *(ended(number, 0.01, "failed") for number in range(2, 9)))
    assert measures.whole(run).latency.p50 == 9.0


def test_who_gave_up_counts_with_the_time_waited(directory: Path) -> None:
    """Its latency ends where the user left, however long the server went on; it is a failure, and no throughput."""
    left = {"left_ns": START_NS + 31 * S, "expected": "success", "code": "GAVE_UP"}
    run = only(directory, ended(1, 1.0), ended(2, 50.0, "given_up", **left))
    found = measures.whole(run)
    assert (found.latency.max, found.latency.count) == (30.0, 2)
    assert (found.succeeded, found.failed, found.judged) == (1, 1, 2)


def test_what_was_cancelled_is_neither_failure_nor_throughput_nor_a_time(directory: Path) -> None:
    """It did as it was told; what it would have taken is not known."""
    server = {"started_server_ns": START_NS + S, "ended_server_ns": START_NS + 3 * S}
    cancelled = {"expected": "interrupted", "cancel_asked_ns": START_NS + 2 * S, **server}
    run = only(directory, ended(1, 1.0), ended(2, 2.0, "interrupted", **cancelled))
    found = measures.whole(run)
    assert (found.succeeded, found.failed, found.judged) == (1, 0, 2)
    assert (found.latency.count, found.latency.max) == (1, 1.0)
    assert np.isnan(run.prompts["service_s"]).all()


def test_a_prompt_that_ended_before_its_cancel_took_effect_is_throughput(directory: Path) -> None:
    """It ran to its end, and somebody has the picture."""
    run = only(directory, ended(1, 2.0, cancel_asked_ns=START_NS + 2 * S))
    found = measures.whole(run)
    assert (found.succeeded, found.failed, found.latency.max) == (1, 0, 2.0)


def test_a_refused_mistake_is_a_success_and_an_accepted_one_a_failure(directory: Path) -> None:
    """Neither is counted as a picture anybody wanted."""
    wrong = {"expected": "rejected", "deliberate": "bad-type"}
    refused = ended(1, 0.1, "rejected", **wrong, code="VALIDATION_REJECTED")
    run = only(directory, refused, ended(2, 3.0, "success", **wrong, code="MISTAKE_ACCEPTED"), ended(3, 1.0))
    found = measures.whole(run)
    assert (found.succeeded, found.failed, found.judged) == (1, 1, 3)
    (failure,) = measures.failures(run)
    assert failure.code == "MISTAKE_ACCEPTED"


def test_failures_are_counted_by_code_with_examples(story: Run) -> None:
    """One of each was planted."""
    found = {row.code: row for row in measures.failures(story)}
    assert {code: (row.count, row.outcome) for code, row in found.items()} == {
        "OOM": (1, "oom"),
        "NODE_ERROR": (1, "failed"),
    }
    assert found["NODE_ERROR"].messages == ("RuntimeError: boom",)
    assert len(found["OOM"].examples[0]) == 36


def test_what_was_expected_is_no_failure(directory: Path) -> None:
    """A workflow that is meant to be refused may be refused."""
    run = only(directory, ended(1, 0.1, "rejected", expected="rejected", code="VALIDATION_REJECTED"))
    assert (measures.whole(run).failed, measures.failures(run)) == (0, ())


def test_groups_share_out_all_prompts(story: Run) -> None:
    """By workflow and by phase nothing is lost or counted twice."""
    total = measures.whole(story).intended
    for column in ("workflow", "phase", "server"):
        assert sum(group.intended for group in measures.groups_by(story, column)) == total


def test_a_warmup_has_figures_of_its_own_by_phase(story: Run) -> None:
    """It is in no other figure."""
    by_phase = {group.name: group for group in measures.groups_by(story, "phase")}
    assert by_phase["warmup"].latency.count > 0
    assert measures.whole(story).latency.count == by_phase["load"].latency.count


def test_drops_per_socket_hour(story: Run) -> None:
    """Twelve sockets were cut once."""
    found = measures.sockets(story)
    assert (found.opened, found.dropped, found.by_code) == (24, 12, (("WS_ABNORMAL", 12),))
    assert found.drops_per_hour == pytest.approx(12 / found.socket_hours)


def test_node_times_by_class(story: Run) -> None:
    """The sampler takes most of all."""
    found = node_times(story)
    assert found[0].node_class == "KSampler"
    assert found[0].median_s <= found[0].p95_s <= found[0].max_s


def test_a_warmup_is_in_no_time_of_a_node(story: Run) -> None:
    """The first prompts read models from the disk; that is what a warm-up is for."""
    nodes, prompts = story.nodes, story.frame("prompts", ("id", "phase"))
    warm = nodes["prompt_id"].isin(prompts.loc[prompts["phase"] == "warmup", "id"])
    assert warm.any()
    samplers = nodes[~warm & (nodes["node_class"] == "KSampler")]["lasted_s"].dropna()
    found = {row.node_class: row for row in node_times(story)}["KSampler"]
    assert found.count == len(samplers)
    assert found.max_s == pytest.approx(samplers.max())


def test_gpu_figures(story: Run) -> None:
    """The highest sample of the GPU, and of how much."""
    (gpu,) = measures.gpus(story)
    assert gpu.memory_max_bytes == story.gpu["memory_used_bytes"].max()
    assert gpu.memory_max_share == pytest.approx(0.985, abs=0.01)


def test_a_mean_of_a_gpu_is_one_over_time(directory: Path) -> None:
    """An exporter tells more often while its values change: a busy second in ten is a tenth, not half of it."""
    busy = [(tenth / 10, 1.0) for tenth in range(10)]
    idle = [(float(second), 0.0) for second in range(1, 11)]
    rows = [
        Gpu(at_ns=START_NS + round(at * S), read_cost_ns=1, host="h", source="dcgm", uuid="GPU-1", utilisation_ratio=u)
        for at, u in busy + idle
    ]
    run = only(directory, ended(1, 10.0), *rows)
    (gpu,) = measures.gpus(run)
    assert gpu.utilisation_mean == pytest.approx(0.1)
    assert measure("gpu.utilisation.mean", Evidence(run, ())).value == pytest.approx(0.1)


def test_an_empty_run_has_figures_of_nothing(empty: Run) -> None:
    """And no warning of a mean of an empty slice."""
    found = measures.whole(empty)
    assert (found.intended, found.latency.count, measures.gpus(empty), node_times(empty)) == (0, 0, (), ())
    assert measures.sockets(empty).dropped == 0


def test_two_servers_are_told_apart(directory: Path) -> None:
    """Each with its own prompts."""
    rows = [replace(ended(number, 1.0), server=f"http://gpu-{number % 2}:8188") for number in range(6)]
    run = open_run(plant(directory, prompts_most=0, gpu=False, other_rows=tuple(rows)))
    assert [(group.name, group.intended) for group in measures.groups_by(run, "server")] == [
        ("http://gpu-0:8188", 3),
        ("http://gpu-1:8188", 3),
    ]
