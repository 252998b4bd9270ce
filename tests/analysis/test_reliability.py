"""When a server counts as failed, and when as back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from comfysoak_analysis import open_run
from comfysoak_analysis.economy import economy
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.reliability import Failure, Reliability, failures_of, reliability
from comfysoak_analysis.statistics.rates import rate_at_most, rate_interval
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
    assert "of a server" in told["Reliability"]
    assert not any("GPU" in words for words in (*told, *told.values()))


@pytest.mark.parametrize(
    ("failures", "hours", "words"),
    [
        (0, 576.0, "No failure in 576 GPU-hours shows at most one in 192 GPU-hours, not that there is none."),
        (0, 0.09, "No failure in 5 min 24 s of a GPU shows at most one in 1 min 48 s of a GPU"),
        (
            2,
            10.0,
            "2 failures in 10 GPU-hours: one in 5 GPU-hours (95 %: between one in 1.38 GPU-hours and one in 41.3",
        ),
    ],
)
def test_hours_are_told_as_people_read_them(failures: int, hours: float, words: str) -> None:
    """Less than an hour of a GPU is minutes; rates are never told without how sure they are."""
    low, high = (rate_interval(failures, hours / 1000).low, rate_interval(failures, hours / 1000).high)
    high = high if failures else rate_at_most(hours / 1000)
    one = Failure(SERVER, pd.Timestamp(0), 1, 1.0)
    found = Reliability((one,) * failures, 1, hours, failures / hours * 1000, low, high)
    assert found.in_words().startswith(words)
