"""Servers that get nowhere: a dead worker and a hung node, and what only looks like one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfysoak_analysis import open_run
from comfysoak_analysis.findings.finding import Finding
from comfysoak_core.rows import Event, Gpu, NodeRun, Prompt, Row, Server, ServerLog
from tests.analysis.planted import GIB, START_NS, plant
from tests.analysis.test_findings import found
from tests.analysis.test_frames import S, prompt

HERE = "http://gpu-1:8188"
STUCK = {"WORKER_DEAD", "NODE_HANG"}
LAST_S = 40  # the last one begins then


def ns(seconds: float) -> int:
    return START_NS + round(seconds * S)


def done(number: int, at_s: float, lasts_s: float = 2.0, **more: Any) -> Prompt:
    """A prompt that was run and succeeded."""
    return prompt(number, server=HERE, workflow="portrait-sdxl", scheduled_ns=ns(at_s), sent_ns=ns(at_s),
                  accepted_ns=ns(at_s), start_received_ns=ns(at_s + 0.1), end_received_ns=ns(at_s + lasts_s),
                  finished_ns=ns(at_s + lasts_s), outcome="success", **more)  # fmt: skip


def node(of: Prompt, began_s: float, ended_s: float | None) -> NodeRun:
    ended_ns = None if ended_s is None else ns(ended_s)
    return NodeRun(id=f"{of.id}/3", prompt_id=of.id, node_id="3", node_class="KSampler", server=HERE,
                   workflow=of.workflow, started_ns=ns(began_s), ended_ns=ended_ns)  # fmt: skip


def reading(at_s: float, running: str | None, pending: int = 0, **more: Any) -> Server:
    return Server(at_ns=ns(at_s), server=HERE, queue_running=int(running is not None), queue_pending=pending,
                  running_prompt_id=running, canary_answer_ns=2_000_000, **more)  # fmt: skip


def before(lasts_s: float = 2.0) -> Iterator[Row]:
    """Prompts one after the other, each with its node and a reading a second, up to `LAST_S`."""
    for number in range(int(LAST_S / lasts_s)):
        at_s = number * lasts_s
        one = done(number, at_s, lasts_s * 0.95)
        yield from (one, node(one, at_s + 0.2, at_s + lasts_s * 0.95))
        for step in range(int(lasts_s)):
            yield reading(at_s + step + 0.5, one.id, 1)


def standing(until_s: float = 120.0, **more: Any) -> Prompt:
    """The prompt that runs from `LAST_S` on and never ends."""
    return replace(
        done(900, LAST_S), end_received_ns=None, finished_ns=ns(until_s), outcome="timeout", code="DEADLINE",
        deadline_ns=ns(until_s), **more,
    )  # fmt: skip


def still(of: Prompt | None, until_s: float = 120.0, waiting: int = 6) -> Iterator[Server]:
    """Readings in which it stays, and the queue grows."""
    for second in range(LAST_S, int(until_s)):
        share = (second - LAST_S) / (until_s - LAST_S)
        yield reading(second + 0.5, of.id if of is not None else None, 1 + round(waiting * share))


def pinned(ratio: float = 1.0) -> Iterator[Gpu]:
    for second in range(120):
        yield Gpu(at_ns=ns(second), read_cost_ns=1, host="gpu-1", source="nvml", uuid="GPU-0", index=0,
                  memory_used_bytes=GIB, memory_total_bytes=8 * GIB, utilisation_ratio=ratio)  # fmt: skip


def findings(directory: Path, *rows: Row, gpu: bool = True) -> dict[str, Finding]:
    """With an idle GPU, or none but those of `rows`."""
    run = plant(directory, duration_s=120.0, prompts_most=0, users=0, watchers=0, gpu=gpu, other_rows=rows)
    return found(open_run(run))


def test_a_worker_that_died_is_told(directory: Path) -> None:
    """The prompt began and no node of it did, the queue grows, HTTP answers and the GPU is idle."""
    dead = standing()
    findings_ = findings(directory, *before(), dead, *still(dead))
    finding = findings_["WORKER_DEAD"]
    assert (finding.count, finding.certainty.value, finding.chart) == (1, "likely", "queue")
    assert finding.examples == (dead.id,)
    assert abs(finding.first_ns - ns(LAST_S)) < 2 * S
    for words in ("none of its nodes began", "up to 7 waited", "the GPU was idle, 2%", "had ended as success"):
        assert words in finding.evidence
    assert "A node that waits" in finding.unless
    assert "NODE_HANG" not in findings_
    assert "It came during WORKER_DEAD of http://gpu-1:8188." in findings_["DEADLINE"].evidence


def test_the_word_of_its_log_makes_a_dead_worker_certain(directory: Path) -> None:
    """With the readings, or without any: a restart may have come too soon for them."""
    line = ServerLog(at_ns=ns(LAST_S + 0.2), server=HERE, source="socket", kind="worker_died",
                     text="Exception in thread Thread-1 (prompt_worker):")  # fmt: skip
    dead = standing()
    told = findings(directory, *before(), dead, *still(dead), line)["WORKER_DEAD"]
    assert (told.count, told.certainty.value, told.unless) == (1, "certain", "")
    assert "Exception in thread" in told.evidence
    alone = findings(directory.with_name("b"), *before(), line)["WORKER_DEAD"]
    assert (alone.count, alone.certainty.value) == (1, "certain")


def test_a_server_that_takes_prompts_and_runs_none_has_a_dead_worker(directory: Path) -> None:
    """Nothing is in `queue_running`, and prompts wait."""
    finding = findings(directory, *before(), *still(None))["WORKER_DEAD"]
    assert "no prompt ran for 79 s while up to 7 waited" in finding.evidence


@pytest.mark.parametrize(("ratio", "words"), [(None, "the GPU was idle, 2%"), (1.0, "the GPU was pinned, 100%")])
def test_a_node_that_never_ends_hangs(directory: Path, ratio: float | None, words: str) -> None:
    """It began, and takes longer than its workflow ever took, whatever the GPU does."""
    hung = standing()
    gpu = () if ratio is None else tuple(pinned(ratio))
    rows = (*before(), hung, node(hung, LAST_S + 0.2, None), *still(hung), *gpu)
    findings_ = findings(directory, *rows, gpu=ratio is None)
    finding = findings_["NODE_HANG"]
    assert finding.certainty.value == "likely"
    assert "last in KSampler (3); it did not end" in finding.evidence
    assert "took 1.8 s at most before" in finding.evidence
    assert words in finding.evidence
    assert "WORKER_DEAD" not in findings_


def test_a_slow_workflow_is_neither(directory: Path) -> None:
    """What took so long before, or ends well in the end, is work."""
    usual = standing()
    slow = (*before(lasts_s=40.0), usual, node(usual, LAST_S + 0.2, None), *still(usual))
    assert not STUCK & set(findings(directory, *slow))
    good = replace(usual, outcome="success", code=None, end_received_ns=ns(119))
    ended = (*before(), good, node(good, LAST_S + 0.2, 119), *still(good))
    assert not STUCK & set(findings(directory.with_name("b"), *ended))


def test_a_gpu_at_work_speaks_against_a_dead_worker(directory: Path) -> None:
    """No node was told, but somebody computes."""
    dead = standing()
    assert "WORKER_DEAD" not in findings(directory, *before(), dead, *still(dead), *pinned(0.6), gpu=False)


def test_a_server_whose_http_stands_still_is_no_dead_worker(directory: Path) -> None:
    """It is frozen as a whole: LOOP_BLOCKED, and nothing can be said of its worker."""
    frozen = standing()
    silent = [
        Server(at_ns=ns(second), server=HERE, missing="all: timed out after 5 s") for second in range(LAST_S, 118, 6)
    ]
    findings_ = findings(directory, *before(), frozen, *silent, reading(119, frozen.id, 3))
    assert not STUCK & set(findings_)
    finding = findings_["LOOP_BLOCKED"]
    assert "13 times none came within 5 s: the server stood still" in finding.evidence
    assert "during LOOP_BLOCKED" in findings_["DEADLINE"].evidence


def test_others_that_begin_meanwhile_show_that_the_server_lives(directory: Path) -> None:
    """A proxy whose /queue always comes from the same one of several servers."""
    dead = standing()
    alive = [done(950 + number, LAST_S + 10.0 * number) for number in range(6)]
    assert "WORKER_DEAD" not in findings(directory, *before(), dead, *still(dead), *alive)


def test_a_restart_ends_it(directory: Path) -> None:
    """It is told from when to when, and the restart beside it."""
    dead = standing(until_s=90)
    again = Event(at_ns=ns(92), source="sampler", kind="server_restarted", server=HERE, code="SERVER_RESTARTED",
                  detail="queue numbers fell")  # fmt: skip
    after = [done(960 + number, 95.0 + 2 * number) for number in range(5)]
    busy = [reading(95.5 + 2 * number, one.id) for number, one in enumerate(after)]
    findings_ = findings(directory, *before(), dead, *still(dead, 90), again, *after, *busy)
    assert "for 49 s" in findings_["WORKER_DEAD"].evidence
    assert findings_["SERVER_RESTARTED"].count == 1


def test_a_node_that_ended_after_all_was_slow(directory: Path) -> None:
    """The server went on by itself: DEADLINE says where the time went."""
    late = standing(until_s=70)
    after = [done(960 + number, 101.0 + 2 * number) for number in range(5)]
    busy = [reading(101.5 + 2 * number, one.id) for number, one in enumerate(after)]
    rows = (*before(), late, node(late, LAST_S + 0.2, 100), *still(late, 100), *after, *busy)
    findings_ = findings(directory, *rows)
    assert not STUCK & set(findings_)
    assert "then in KSampler (3)" in findings_["DEADLINE"].evidence


def test_half_a_minute_at_the_end_of_a_run_is_not_enough(directory: Path) -> None:
    """What runs when a run ends has not hung."""
    last = standing(until_s=65)
    aborted = replace(last, outcome="aborted", code=None)
    rows = (*before(), aborted, node(aborted, LAST_S + 0.2, None), *still(aborted, 65))
    assert not STUCK & set(findings(directory, *rows))
