"""A trace on its way from a person's file into a run directory."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from comfysoak_core.errors import RecordingError, ScenarioError
from comfysoak_core.recording.layout import Layout
from comfysoak_core.scenario.stage import Replay, Stage
from comfysoak_core.trace.file import MAX_PROBLEMS, check_trace, store_traces, stored_arrivals, trace_path

GRAPHS = {
    "a": {"3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 4}}},
    "b": {"1": {"class_type": "EmptyImage", "inputs": {"color": 0}}},
}
TRACE = '{"time": 12, "workflow": "b"}\n{"time": 10, "workflow": "a", "inputs": {"3.seed": 7}}\n{"time": 15}\n'


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    path.write_text(TRACE, encoding="utf-8")
    return path


def stored(replay: Replay, run_dir: Path) -> Replay:
    run_dir.mkdir(exist_ok=True)
    store_traces([Stage(duration_s=1, replay=replay), Stage(duration_s=1)], run_dir)
    return replay


def test_a_trace_is_known_by_what_it_asks_for(trace: Path, tmp_path: Path) -> None:
    """The same prompts have one hash, whether compressed, as CSV, in another order or at another time of day."""
    found = check_trace(trace, GRAPHS)
    assert (found.prompts, found.lasts_s, found.name) == (3, 5.0, "trace.jsonl")
    packed = tmp_path / "trace.csv.gz"
    packed.write_bytes(gzip.compress(b'time,workflow,inputs\n110,a,"{""3.seed"":7}"\n112,b,\n115,,\n'))
    assert check_trace(packed, GRAPHS).trace == found.trace


def test_what_stands_in_the_run_directory_is_what_is_sent(trace: Path, tmp_path: Path) -> None:
    """Offsets count from the first prompt, in order, as many times as fast as is asked for."""
    replay = stored(check_trace(trace, GRAPHS), tmp_path / "run").model_copy(update={"speed": 2.0})
    found = [(one.offset_s, one.workflow, one.inputs) for one in stored_arrivals(replay, tmp_path / "run")]
    assert found == [(0.0, "a", {"3.seed": 7}), (1.0, "b", None), (2.5, None, None)]
    assert list(Layout(tmp_path / "run").inputs.iterdir()) == [trace_path(replay, tmp_path / "run")]


def test_lines_are_dealt_out(trace: Path, tmp_path: Path) -> None:
    """Several processes send each prompt once between them."""
    replay = stored(check_trace(trace, GRAPHS), tmp_path / "run")
    parts = [[one.offset_s for one in stored_arrivals(replay, tmp_path / "run", part=part, parts=2)] for part in (0, 1)]
    assert parts == [[0.0, 5.0], [2.0]]


def test_the_plan_does_not_say_where_a_trace_was(trace: Path) -> None:
    """What is written into run.json has the hash and the name, and no path of this machine."""
    replay = check_trace(trace, GRAPHS)
    assert str(trace) not in replay.model_dump_json()
    assert Replay.model_validate(json.loads(replay.model_dump_json())).trace == replay.trace


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"time": 1, "workflow": "c"}', "no workflow of the scenario is called 'c'"),
        ('{"time": 1, "workflow": "a", "inputs": {"3.sed": 1}}', "3.sed names no input"),
        ('{"time": 1, "inputs": {"3.seed": 1}}', "without the workflow"),
        ('{"time": 99999999999}', "lasts"),
        ("{", "line of JSON"),
    ],
)
def test_what_cannot_be_sent_is_told(trace: Path, line: str, words: str) -> None:
    """A workflow or an input that is not there is told with its line."""
    trace.write_text(TRACE + line + "\n", encoding="utf-8")
    with pytest.raises(ScenarioError) as refused:
        check_trace(trace, GRAPHS)
    (problem,) = refused.value.problems
    assert words in problem.what
    assert problem.where in (f"{trace}:4", str(trace))


def test_one_workflow_needs_no_name(trace: Path) -> None:
    """Where there is only one workflow, inputs are its."""
    trace.write_text('{"time": 1, "inputs": {"3.seed": 1}}\n', encoding="utf-8")
    assert check_trace(trace, {"a": GRAPHS["a"]}).lasts_s == 0


def test_mistakes_are_told_up_to_a_number(trace: Path) -> None:
    """A file of another kind does not give a million messages."""
    trace.write_text("x\n" * 1000, encoding="utf-8")
    with pytest.raises(ScenarioError):
        check_trace(trace, GRAPHS)
    trace.write_text('{"time": 1}\n' + "x\n" * 1000, encoding="utf-8")
    with pytest.raises(ScenarioError) as refused:
        check_trace(trace, GRAPHS)
    assert len(refused.value.problems) == MAX_PROBLEMS


@pytest.mark.parametrize("content", [b"", b"time,workflow\n", b"\x1f\x8b\x08\x00cut off", b"\x1f\x8b"])
def test_a_file_that_is_no_trace(trace: Path, content: bytes) -> None:
    """An empty file, one without prompts, and one that is compressed and broken are told."""
    trace.write_bytes(content)
    with pytest.raises(ScenarioError, match="trace"):
        check_trace(trace, GRAPHS)


def test_no_file(tmp_path: Path) -> None:
    """A path that leads nowhere is told."""
    with pytest.raises(ScenarioError, match="cannot be read"):
        check_trace(tmp_path / "none.jsonl", GRAPHS)


def test_a_trace_that_changes_meanwhile(trace: Path, tmp_path: Path) -> None:
    """What is replayed is what was checked."""
    replay = check_trace(trace, GRAPHS)
    trace.write_text('{"time": 1}\n', encoding="utf-8")
    with pytest.raises(ScenarioError, match="has changed"):
        stored(replay, tmp_path / "run")
    assert list(Layout(tmp_path / "run").inputs.iterdir()) == []


def test_a_trace_that_is_not_there(trace: Path, tmp_path: Path) -> None:
    """A process without the run's inputs says so."""
    replay = check_trace(trace, GRAPHS)
    with pytest.raises(RecordingError, match="cannot be read"):
        next(stored_arrivals(replay, tmp_path))


def test_inputs_nested_too_deeply(tmp_path: Path) -> None:
    """What can be read and not be written is told with its line."""
    path = tmp_path / "deep.jsonl"
    path.write_text('{"time": 0, "workflow": "a", "inputs": {"3.seed": ' + "[" * 300 + "]" * 300 + "}}\n")
    with pytest.raises(ScenarioError, match="nested too deeply") as caught:
        check_trace(path, GRAPHS)
    assert caught.value.problems[0].where == f"{path}:1"
