"""Findings: each planted failure is found by its code, with evidence, and nothing where nothing was planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.findings.detectors import find_all
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.rows import Container, Event, Gpu, GpuProcess, GpuSlow, Row, Server, ServerLog, Session
from tests.analysis.planted import GIB, SERVER, START_NS, plant
from tests.analysis.test_frames import S, prompt


def found(run: Run) -> dict[str, Finding]:
    """All findings of a run by code."""
    return {finding.code.value: finding for finding in find_all(run, GpuStates(run))}


def with_rows(directory: Path, *rows: Row, **changes: Any) -> dict[str, Finding]:
    """The findings of a run of one workflow, in which nothing is wrong but these rows."""
    values: dict[str, Any] = {"workflows": ("sketch-sd15",), "duration_s": 30.0} | changes
    return found(open_run(plant(directory, other_rows=rows, **values)))


def test_a_calm_run_has_no_finding(calm: Run) -> None:
    """Never cry wolf."""
    assert found(calm) == {}


def test_the_story_is_told_by_its_codes(story: Run) -> None:
    """What was planted, and the models that do not fit together; the gravest first."""
    assert list(found(story)) == ["OOM", "NODE_ERROR", "MODEL_THRASH", "WS_ABNORMAL"]


def test_out_of_memory_says_how_full_the_gpu_was(story: Run) -> None:
    """And beside each example stands the state of the GPU within two seconds."""
    finding = found(story)["OOM"]
    assert finding.count == 1
    assert "VRAM reached 98% of the GPU" in finding.evidence
    assert finding.states[0].vram_share == pytest.approx(0.985, abs=0.01)
    assert abs(finding.first_ns - (START_NS + 30 * S)) < 3 * S


def test_of_several_gpus_the_state_says_that_it_is_the_fullest_one(directory: Path) -> None:
    """Which GPU a server uses is not known: another one's memory must not pass for its own."""
    other = Gpu(
        at_ns=START_NS, read_cost_ns=1, host="gpu-1", source="nvml", uuid="GPU-2", memory_used_bytes=23 * GIB,
        memory_total_bytes=24 * GIB, utilisation_ratio=0.0,
    )  # fmt: skip
    rows = [replace(other, at_ns=START_NS + second * S) for second in range(30)]
    finding = with_rows(directory, *rows, oom_at_s=(15,))["OOM"]
    assert "of the fullest of 2 GPUs" in finding.evidence
    assert "on the fullest of 2 GPUs" in finding.states[0].in_words()
    assert "2 GPUs busy" in finding.states[0].in_words()


def test_a_burst_of_drops_points_to_the_server(story: Run) -> None:
    """All sockets of a server within a moment."""
    finding = found(story)["WS_ABNORMAL"]
    assert finding.count == 12
    assert "12 of 12 open sockets" in finding.evidence
    assert "points to the server" in finding.evidence


@pytest.mark.parametrize(("broken", "is_poisoned"), [(4, True), (2, False)])
def test_cuda_errors_in_a_row_are_a_poisoned_process(directory: Path, broken: int, *, is_poisoned: bool) -> None:
    """Every prompt fails from the first on; one or two are a bad node."""
    errors = [
        prompt(number, outcome="failed", code="NODE_ERROR", scheduled_ns=START_NS + (100 + number) * S,
               finished_ns=START_NS + (101 + number) * S, error_message="CUDA error: an illegal memory access")
        for number in range(broken)
    ]  # fmt: skip
    findings = with_rows(directory, *errors)
    assert ("CUDA_POISONED" in findings) == is_poisoned
    if is_poisoned:
        assert "4 prompts in a row" in findings["CUDA_POISONED"].evidence
    lost = Event(at_ns=START_NS + 99 * S, source="sampler", kind="gpu_lost", subject="GPU-0", code="GPU_LOST")
    assert "CUDA_POISONED" not in with_rows(directory / "lost", *errors, lost)
    late = Event(at_ns=START_NS + 300 * S, source="sampler", kind="gpu_lost", subject="GPU-0", code="GPU_LOST")
    assert ("CUDA_POISONED" in with_rows(directory / "late", *errors, late)) == is_poisoned


def test_a_single_drop_points_to_the_network(directory: Path) -> None:
    """The others lived on."""
    drop = Session(
        id="s", server=SERVER, worker="w", role="watcher", client_id="c", opening_ns=START_NS, opened_ns=START_NS + 1,
        closed_ns=START_NS + 5 * S, close_code=1006, closed_by="network", code="WS_ABNORMAL",
    )  # fmt: skip
    evidence = with_rows(directory, drop)["WS_ABNORMAL"].evidence
    assert "1 socket" in evidence
    assert "points to the network" in evidence


def test_models_that_take_turns_are_thrashing(story: Run) -> None:
    """Fifteen times each."""
    finding = found(story)["MODEL_THRASH"]
    assert "SDXL 15 times" in finding.evidence
    assert finding.count == pytest.approx(30, abs=2)
    assert set(finding.examples) <= set(story.frame("prompts", ("id",))["id"])


def test_one_model_that_is_loaded_once_is_not_thrashing(directory: Path) -> None:
    """A first load is no load again."""
    assert "MODEL_THRASH" not in with_rows(directory)


def test_a_restart_that_the_sampler_saw_is_one(directory: Path) -> None:
    """It says how it showed."""
    event = Event(
        at_ns=START_NS + 3 * S, source="sampler", kind="server_restarted", server="http://gpu-2:8188",
        code="SERVER_RESTARTED", detail="queue numbers fell from 41 to 0",
    )  # fmt: skip
    finding = with_rows(directory, event)["SERVER_RESTARTED"]
    assert (finding.count, finding.first_ns) == (1, START_NS + 3 * S)
    assert finding.evidence == "http://gpu-2:8188: 1 restart, seen by this: queue numbers fell from 41 to 0."


def test_a_restart_that_two_saw_is_one_restart(directory: Path) -> None:
    """Sampler and load tell of it, each at its own next request; when one of them tells again it is another one."""
    rows = [
        Event(at_ns=START_NS + at_s * S, source=source, kind="restart", server="http://gpu-2:8188",
              code="SERVER_RESTARTED", detail=detail)
        for at_s, source, detail in (
            (3, "sampler", "it refused connections and then answered again"),
            (5, "load-0", "queue numbers began again"),
            (25, "load-0", "queue numbers began again"),
        )
    ]  # fmt: skip
    finding = with_rows(directory, *rows)["SERVER_RESTARTED"]
    assert finding.count == 2
    assert "2 restarts, seen by this: it refused connections and then answered again; queue" in finding.evidence


def test_a_queue_number_that_falls_is_no_restart(directory: Path) -> None:
    """A client may choose a number, delete the last prompt of the queue, or send one to its front."""
    rows = [
        Server(at_ns=START_NS + second * S, server="http://gpu-2:8188", highest_number=float(number))
        for second, number in ((1, 40), (2, 1000), (3, 41), (4, -42))
    ]
    assert with_rows(directory, *rows) == {}


def test_refused_connections_are_a_server_that_is_down(directory: Path) -> None:
    """By the probe and by the load."""
    finding = found(open_run(plant(directory, down_from_s=20)))["SERVER_DOWN"]
    assert finding.count > 5
    assert abs(finding.first_ns - (START_NS + 20 * S)) < 2 * S


def test_a_server_that_is_taken_down_after_the_load_is_not_down(directory: Path) -> None:
    """An embedded one ends with the run, and a probe may see that."""
    late = Server(at_ns=START_NS + 31 * S, server=SERVER, missing="queue: connection refused")
    early = replace(late, at_ns=START_NS - S)
    assert with_rows(directory, early, late) == {}


def test_models_that_change_places_at_every_change_of_workflow_are_thrashing(directory: Path) -> None:
    """In a mix of seven to one most prompts follow one of their own kind; at each change somebody pays."""
    mix = ("portrait-sdxl",) * 7 + ("sketch-sd15",)
    run = open_run(plant(directory, workflows=mix, users=8, duration_s=90.0))
    finding = found(run)["MODEL_THRASH"]
    assert finding.count < 0.35 * len(run.prompts)


def test_a_lost_gpu_is_told_by_xid_79_once(directory: Path) -> None:
    """A counter goes on saying what it once said."""
    calm = GpuSlow(at_ns=START_NS, read_cost_ns=1, host="h", source="dcgm", uuid="GPU-9", xid=0)
    rows = [replace(calm, at_ns=START_NS + second * S, xid=79 if second > 3 else 0) for second in range(8)]
    finding = with_rows(directory, *rows)["GPU_LOST"]
    assert (finding.count, finding.first_ns) == (1, START_NS + 4 * S)


def test_a_lost_gpu_is_told_by_the_driver(directory: Path) -> None:
    """By the sampler's event."""
    event = Event(
        at_ns=START_NS + S, source="sampler", kind="gpu_lost", subject="GPU-0", code="GPU_LOST", detail="code 15"
    )
    assert with_rows(directory, event)["GPU_LOST"].examples == ("GPU-0",)


def test_a_foreign_process_with_little_memory_is_none(directory: Path) -> None:
    """A desktop holds some, and pids that cannot be matched accuse nobody."""
    base = GpuProcess(
        at_ns=START_NS, read_cost_ns=1, host="h", uuid="GPU-0", pid=9, name="train.py", memory_bytes=4 * GIB
    )
    innocent = (
        replace(base, is_server=True),
        replace(base, is_server=None),
        replace(base, is_server=False, memory_bytes=10**6),
    )
    assert "GPU_FOREIGN" not in with_rows(directory, *innocent)
    assert "train.py" in with_rows(directory.with_name("b"), replace(base, is_server=False))["GPU_FOREIGN"].evidence


def test_a_partial_load_is_a_silent_degradation(directory: Path) -> None:
    """The server's log says so, and nothing fails."""
    asked = ServerLog(
        at_ns=START_NS + S,
        server=SERVER,
        source="socket",
        kind="model_requested",
        model="Flux",
        text="Requested to load",
    )
    partly = replace(asked, at_ns=START_NS + 2 * S, kind="model_loaded", text="loaded partially 5000 5000 0")
    rows = (asked, partly)
    assert with_rows(directory, *rows, log=False)["SILENT_DEGRADE"].examples == ("Flux",)


def test_cached_prompts_are_told_and_no_failure(directory: Path) -> None:
    """They are information, not a warning."""
    finding = with_rows(directory, cached_share=0.3)["CACHE_HIT"]
    assert finding.severity.value == "info"
    assert finding.count > 3


@pytest.mark.parametrize(("attempt", "told"), [(1, True), (2, False)])
def test_who_tries_again_with_the_same_inputs_may_be_served_from_the_cache(
    directory: Path, attempt: int, told: bool
) -> None:
    """What was left went on, and its picture was there: to vary a seed would be the wrong advice."""
    row = prompt(1, outcome="cached", code="CACHE_HIT", attempt=attempt)
    assert ("CACHE_HIT" in with_rows(directory, row)) is told


def test_what_was_expected_is_no_finding(directory: Path) -> None:
    """A workflow that is meant to be refused."""
    row = prompt(1, outcome="rejected", expected="rejected", code="VALIDATION_REJECTED", finished_ns=START_NS + S)
    assert with_rows(directory, row) == {}


def test_what_a_simulator_was_told_to_do_is_no_observation(directory: Path) -> None:
    """The plan of a fault proves nothing about its finding."""
    event = Event(at_ns=START_NS + S, source="simulator", kind="fault", subject="oom", code="OOM", detail="planted")
    assert with_rows(directory, event) == {}


def test_a_success_with_a_code_is_told(directory: Path) -> None:
    """Outputs that were left out of a prompt that succeeded."""
    row = prompt(1, outcome="success", code="OUTPUT_DROPPED", end_received_ns=START_NS + 2 * S)
    assert with_rows(directory, row)["OUTPUT_DROPPED"].count == 1


def test_a_code_of_a_newer_version_is_left_out_of_the_findings(directory: Path) -> None:
    """It has no severity here; the table of failures shows it all the same."""
    row = prompt(1, outcome="failed", code="FROM_THE_FUTURE", finished_ns=START_NS + S)
    assert with_rows(directory, row) == {}


def test_without_samples_the_state_of_the_gpu_is_unknown(directory: Path) -> None:
    """Nothing older than two seconds is passed off as its state."""
    run = open_run(plant(directory, oom_at_s=(30,), sampler_gap_s=(20.0, 20.0)))
    assert found(run)["OOM"].states[0].unknown == "no sample within 2 s"
    without = open_run(plant(directory.with_name("b"), oom_at_s=(30,), gpu=False))
    assert found(without)["OOM"].states[0].unknown == "no GPU was watched"


def _container_event(at_s: float, kind: str, detail: str, server: str = SERVER) -> Event:
    return Event(at_ns=START_NS + round(at_s * S), source="sampler", kind=kind, server=server, subject="4f4f4f4f4f4f",
                 code="CGROUP_OOM", detail=detail)  # fmt: skip


def test_a_container_killed_for_memory_is_told_with_its_limit(directory: Path) -> None:
    """The kernel's word and the engine's about one end count once; the last reading before stands beside them."""
    reading = Container(
        at_ns=START_NS + 9 * S, read_cost_ns=1, host="h", server=SERVER, container="4f4f4f4f4f4f",
        memory_limit_bytes=16 * GIB, memory_used_bytes=12 * GIB, limit_hits=7,
    )  # fmt: skip
    rows = [
        reading,
        replace(reading, at_ns=START_NS + 11 * S, memory_used_bytes=1),
        _container_event(10, "container_oom_kill", "oom_kill rose from 0 to 1"),
        _container_event(12, "container_exited", "killed for memory, exit code 137"),
        _container_event(12.5, "container_exited", "killed for memory elsewhere", server="http://other:8188"),
        _container_event(25, "container_oom_kill", "oom_kill rose from 1 to 2"),
    ]
    finding = with_rows(directory, *rows)["CGROUP_OOM"]
    assert finding.count == 3
    assert finding.evidence.startswith(
        f"{SERVER}: oom_kill rose from 0 to 1. {SERVER}: killed for memory, exit code 137."
    )
    assert finding.evidence.endswith(
        "And 1 event more. The last reading, 1.0 s before the first, had 12.00 GiB of 16.00 GiB in use, "
        "the limit had been hit 7 times."
    )


def test_a_container_without_a_reading_is_told_by_the_event_alone(directory: Path) -> None:
    """The sampler came too late for a row, or its memory could not be read."""
    finding = with_rows(directory, _container_event(10, "container_exited", "killed for memory"))["CGROUP_OOM"]
    assert (finding.count, finding.evidence) == (1, f"{SERVER}: killed for memory.")
