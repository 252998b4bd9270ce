"""When a server counts as failed, and when as back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from comfysoak_analysis import open_run
from comfysoak_analysis.economy import economy
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.reliability import failures_of, reliability
from comfysoak_core.rows import Event
from tests.analysis.planted import SERVER, START_NS, plant
from tests.analysis.test_frames import S


def prompts(*rows: tuple[str, float | None, float]) -> pd.DataFrame:
    """Outcome, start and end of each, in seconds."""
    outcomes, started, done = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "outcome": outcomes,
            "ok": [outcome == "success" for outcome in outcomes],
            "started_at": pd.to_datetime(pd.Series(started, dtype=float), unit="s"),
            "done_at": pd.to_datetime(pd.Series(done, dtype=float), unit="s"),
        }
    )


def test_a_success_that_was_done_before_the_failure_is_no_recovery() -> None:
    """Its user only came later for its picture; the next one that the server began counts."""
    rows = prompts(("oom", 9.0, 9.01), ("success", 8.6, 9.02), ("success", 9.01, 9.4), ("success", 9.4, 9.8))
    (one,) = failures_of(SERVER, rows)
    assert one.prompts == 1
    assert one.recovered_s is not None
    assert abs(one.recovered_s - 0.39) < 1e-6


def test_prompts_that_waited_in_vain_are_back_with_the_first_that_began_later() -> None:
    """They have no start of their own."""
    rows = prompts(("timeout", None, 40.0), ("timeout", None, 41.0), ("success", 39.0, 42.0), ("success", 42.0, 45.0))
    (one,) = failures_of(SERVER, rows)
    assert (one.prompts, one.recovered_s) == (2, 5.0)


def test_a_server_that_was_away_has_failed_though_it_had_no_prompt(directory: Path) -> None:
    """Who sees it, and how often, makes it no more than one."""
    told = [
        Event(at_ns=START_NS + round(at_s * S), source=source, kind=kind, server=SERVER, code=code)
        for at_s, source, kind, code in (
            (30.0, "load-0", "server_down", "SERVER_DOWN"),
            (30.5, "sampler", "server_down", "SERVER_DOWN"),
            (31.0, "sampler", "server_restarted", "SERVER_RESTARTED"),
        )
    ]
    found = reliability(open_run(plant(directory, other_rows=told)))
    assert [one.prompts for one in found.failures] == [0]
    assert 0 < found.recovery_max_s < 15
    assert found.in_words().startswith("1 failure in ")


def test_hours_are_those_of_servers_where_no_gpu_was_watched(directory: Path) -> None:
    """Nobody is told of a GPU that is not there."""
    run = open_run(plant(directory, gpu=False))
    told = dict(economy(run, (), GpuStates(run)))
    assert "1 server in use" in told["Prompts by server-hour"]
    assert "server-hours" in told["Reliability"]
    assert not any("GPU" in words for words in (*told, *told.values()))
