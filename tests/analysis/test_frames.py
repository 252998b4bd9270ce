"""Frames: one clock, exact moments, derived columns."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.frames import DURATIONS
from comfysoak_core.errors import RecordingError
from comfysoak_core.rows import TABLES, Outcome, Prompt, Row
from tests.analysis.planted import SERVER, START_NS, plant

S = 1_000_000_000
MOMENTS = {
    *("scheduled_ns", "deadline_ns", "sent_ns", "accepted_ns", "start_received_ns", "end_received_ns", "fetched_ns"),
    *(
        "started_server_ns",
        "ended_server_ns",
        "created_server_ns",
        "finished_ns",
        "started_ns",
        "first_progress_ns",
        "ended_ns",
    ),
    *("opening_ns", "opened_ns", "closed_ns", "at_ns", "began_ns", "judged_ns"),
    *("left_ns", "cancel_asked_ns"),
}


def prompt(number: int, **changes: object) -> Prompt:
    """A prompt that was due one second after the start, and whatever `changes` say."""
    values: dict[str, object] = {
        "id": f"00000000-0000-4000-8000-{number:012d}", "server": SERVER, "worker": "w", "client_id": "c",
        "workflow": "sketch-sd15", "phase": "load", "scheduled_ns": START_NS + S,
    } | changes  # fmt: skip
    return Prompt(**values)  # type: ignore[arg-type]  # a test says what it needs


def only(directory: Path, *rows: Row) -> Run:
    """A run with these rows alone."""
    return open_run(plant(directory, prompts_most=0, users=0, watchers=0, gpu=False, other_rows=rows))


def test_every_ns_column_is_known_as_moment_or_duration() -> None:
    """A new column in nanoseconds must be told to be the one or the other."""
    names = {field.name for row in TABLES.values() for field in fields(row) if field.name.endswith("_ns")}
    assert names == MOMENTS | DURATIONS


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_is_a_frame_with_all_its_columns(story: Run, empty: Run, table: str) -> None:
    """Full and empty tables have the same columns."""
    assert list(story.frame(table).columns) == list(empty.frame(table).columns)


def test_a_selected_column_is_all_that_is_read(story: Run) -> None:
    """A notebook may ask for the columns it needs."""
    assert list(story.frame("gpu", ("at_ns", "utilisation_ratio")).columns) == ["at", "utilisation_ratio"]


def test_moments_keep_every_nanosecond(directory: Path) -> None:
    """A float of seconds since 1970 would be off by 200 ns."""
    run = only(directory, prompt(1, scheduled_ns=START_NS + 123_456_789, outcome="success"))
    assert int(run.prompts["scheduled"].iloc[0].value) == START_NS + 123_456_789


def test_times_of_a_prompt(directory: Path) -> None:
    """Latency counts from due, service by the server's clock, queue wait to its start."""
    run = only(
        directory,
        prompt(
            1, sent_ns=START_NS + 3 * S, start_received_ns=START_NS + 7 * S, end_received_ns=START_NS + 12 * S,
            fetched_ns=START_NS + 13 * S, started_server_ns=90 * S, ended_server_ns=94 * S, outcome="success",
        ),
    )  # fmt: skip
    row = run.prompts.iloc[0]
    assert (row["latency_s"], row["queue_wait_s"], row["service_s"], row["fetch_s"]) == (11.0, 4.0, 4.0, 1.0)


def test_service_time_falls_back_to_our_clock(directory: Path) -> None:
    """Without history the receive times tell it."""
    run = only(
        directory,
        prompt(1, start_received_ns=START_NS + 2 * S, end_received_ns=START_NS + 5 * S, outcome="success"),
    )
    assert run.prompts["service_s"].iloc[0] == 3.0


def test_a_missed_start_is_told_by_the_end(directory: Path) -> None:
    """Queue wait is what lies between sending and the end, less the service time."""
    run = only(
        directory,
        prompt(1, sent_ns=START_NS + S, end_received_ns=START_NS + 6 * S, started_server_ns=0, ended_server_ns=2 * S,
               outcome="success"),
    )  # fmt: skip
    assert run.prompts["queue_wait_s"].iloc[0] == 3.0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"outcome": "success"}, {"intended": True, "measured": True, "work": True, "ok": True, "timed": True}),
        ({"outcome": "success", "phase": "warmup"}, {"measured": False, "timed": False, "timeable": True}),
        ({"outcome": "cached"}, {"measured": True, "work": False, "ok": False, "timed": False}),
        ({"outcome": "timeout"}, {"ok": False, "timed": True}),
        ({"outcome": "oom"}, {"ok": False, "timed": False}),
        ({"outcome": "rejected", "expected": "rejected"}, {"ok": True, "timed": False}),
        ({"outcome": "not_sent"}, {"intended": False, "measured": False}),
        ({"outcome": "aborted"}, {"intended": False, "measured": False}),
        ({"outcome": None}, {"intended": False, "timed": False}),
    ],
)
def test_what_counts(directory: Path, changes: dict[str, object], expected: dict[str, bool]) -> None:
    """Each outcome counts where it belongs, and nowhere else."""
    row = only(directory, prompt(1, **changes)).prompts.iloc[0]
    assert {name: bool(row[name]) for name in expected} == expected


def test_of_rows_with_one_id_the_last_counts(directory: Path) -> None:
    """A prompt is journalled when it begins and when it ends."""
    run = only(directory, prompt(1), prompt(1, outcome=Outcome.SUCCESS.value))
    assert list(run.prompts["outcome"]) == ["success"]


def test_a_node_with_the_socket_away_has_no_time(story: Run) -> None:
    """Its times are bounds, and bounds are not measurements."""
    nodes = story.nodes
    assert nodes["lasted_s"].notna().all()
    assert np.allclose(nodes["lasted_s"], (nodes["ended"] - nodes["started"]).dt.total_seconds())


def test_the_clock_starts_with_the_load(story: Run) -> None:
    """The first phase is second 0."""
    assert story.start_ns == START_NS
    assert story.duration_s == 60.0
    assert float(story.since_start_s(pd.Series([story.end]))[0]) == 60.0


def test_phases_are_told_by_the_load_where_run_json_has_none(directory: Path) -> None:
    """Each load process tells of each phase: together they are one."""
    run = open_run(plant(directory, phases_by_events=True))
    assert [(phase.name, phase.started_ns - START_NS) for phase in run.phases] == [("warmup", 0), ("load", 8 * S)]
    assert run.phases[0].ended_ns == run.phases[1].started_ns
    assert run.start_ns == START_NS


def test_a_folder_without_a_recording_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """It says what was expected and what to name instead."""
    with pytest.raises(RecordingError, match="no run directory"):
        open_run(tmp_path)
