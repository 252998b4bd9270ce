"""Planning: queues against formulas and against plain ones, draws, room for models, and plans held against fleets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.planning import model, sensitivity
from comfysoak_analysis.planning.answer import Answer, Question, answer
from comfysoak_analysis.planning.check import check
from comfysoak_analysis.planning.demand import Demand, read_demand
from comfysoak_analysis.planning.fleet import Fleet, Kind, Memory, serve
from comfysoak_analysis.planning.measured import Measured, measure
from comfysoak_analysis.planning.price import read_price
from comfysoak_analysis.planning.search import smallest
from comfysoak_analysis.planning.times import NO_TIMES, Times, block_length, drawn
from comfysoak_analysis.planning.wish import read_wish
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.errors import ExitCode, RecordingError, UsageError
from comfysoak_core.scenario.routing import Route
from tests.analysis.queued import play, poisson, record

NAMES = ("portrait", "sketch", "video")
SERVICES_S = (1.0, 2.0, 3.0)
LATENCY = "prompts.latency.p95 < 30s"


def times(seconds: Floats | list[float]) -> Times:
    """Times with nothing seen beside them."""
    values = np.asarray(seconds, dtype=float)
    return Times(values, np.zeros(len(values)))


def random_arrivals(count: int, per_s: float, seed: int = 3) -> Floats:
    """Moments of a Poisson process."""
    moments: Floats = np.cumsum(np.random.default_rng(seed).exponential(1 / per_s, count))
    return moments


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """600 prompts of three workflows on one server that holds two of their three models."""
    return measure([open_run(_one_server(tmp_path_factory.mktemp("alone") / "one-server"))])


@pytest.fixture(scope="module", autouse=True)
def _fewer_prompts() -> Iterator[None]:
    """A tenth of the prompts and half of the replicates: the same in a second instead of ten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "PROMPTS", 2_000)
        patch.setattr(model, "REPLICATES", 10)
        patch.setattr(sensitivity, "REPLICATES", 4)
        yield


def _one_server(path: Path) -> Path:
    prompts = play(poisson(600, 0.28, SERVICES_S, 1, loading_s=0.8), 1, "round-robin", room=2)
    return record(path, prompts, 1, "round-robin", NAMES, goals=("findings.critical = 0", LATENCY))


def test_one_server_of_even_times_waits_as_the_formula_of_m_d_1() -> None:
    """Mean wait is rho / (2 (1 - rho)) service times."""
    served = serve(
        random_arrivals(200_000, 0.8), np.zeros(200_000, np.int64), Fleet(1, "round-robin"),
        [Kind(times([1.0]), NO_TIMES)],
    )  # fmt: skip
    assert served.wait_s.mean() == pytest.approx(0.8 / (2 * 0.2), rel=0.05)
    assert served.utilisation == pytest.approx(0.8, rel=0.02)


def test_servers_by_models_are_each_an_m_m_1() -> None:
    """Each kind on a server of its own: the time in the system is exponential with mean 1 / (mu - lambda)."""
    numbers, kinds = np.random.default_rng(5), np.arange(200_000) % 2
    np.random.default_rng(6).shuffle(kinds)
    of = [Kind(times(numbers.exponential(1.0, 100_000)), NO_TIMES, models=name) for name in ("x", "y")]
    served = serve(random_arrivals(200_000, 2 * 0.7), kinds, Fleet(2, "affinity"), of)
    assert np.quantile(served.latency_s, 0.95) == pytest.approx(-math.log(0.05) / 0.3, rel=0.06)


def test_servers_in_turn_wait_as_the_formula_of_erlang_arrivals() -> None:
    """In turn, every second arrival comes to a server: E2/M/1, whose wait is sigma / (mu (1 - sigma))."""
    served = serve(
        random_arrivals(200_000, 1.6), np.zeros(200_000, np.int64), Fleet(2, "round-robin"),
        [Kind(times(np.random.default_rng(8).exponential(1.0, 200_000)), NO_TIMES)],
    )  # fmt: skip
    sigma = 0.5
    for _ in range(200):
        sigma = (1.6 / (1.6 + 1 - sigma)) ** 2
    assert served.wait_s.mean() == pytest.approx(sigma / (1 - sigma), rel=0.06)


def test_the_shortest_queue_is_between_one_queue_for_all_and_servers_in_turn() -> None:
    """Never better than M/M/c with one queue (Erlang's C), never worse than in turn."""
    due_s, kind = (
        random_arrivals(200_000, 3.2),
        Kind(times(np.random.default_rng(8).exponential(1.0, 200_000)), NO_TIMES),
    )
    kinds = np.zeros(200_000, np.int64)
    shortest, turn = (
        serve(due_s, kinds, Fleet(4, route), [kind]).wait_s.mean() for route in ("shortest-queue", "round-robin")
    )
    idle = sum(3.2**k / math.factorial(k) for k in range(4))
    waiting = 3.2**4 / math.factorial(4) / (1 - 0.8)
    one_queue = waiting / (idle + waiting) / (4 - 3.2)
    assert one_queue * 0.97 < shortest < 1.6 * one_queue < turn


@pytest.mark.parametrize("route", ["shortest-queue", "round-robin"])
@pytest.mark.parametrize("servers", [1, 2, 5])
def test_each_prompt_waits_exactly_as_in_plain_queues(route: Route, servers: int) -> None:
    """First come, first served, routed on arrival, models let go by last use: equal to the oracle prompt by prompt."""
    prompts = play(poisson(400, 0.45 * servers, SERVICES_S, 11, loading_s=1.5), servers, route, room=2)
    kinds = np.array([one.kind for one in prompts])
    of = [Kind(times([0.0]), times([1.0]), need) for need in range(3)]  # the state alone: which prompts load
    due_s = np.array([one.due_s for one in prompts])
    if servers == 1:
        assert serve(due_s, kinds, Fleet(1, route, Memory((1.0,) * 3, 2.0)), of).loads == sum(
            one.loaded for one in prompts
        )
    plain = play([*(type(one)(one.due_s, 0, 1.7, 0.0) for one in prompts)], servers, route)
    served = serve(due_s, np.zeros(400, np.int64), Fleet(servers, route), [Kind(times([1.7]), NO_TIMES)])
    np.testing.assert_allclose(served.wait_s, [one.started_s - one.due_s for one in plain], atol=1e-9)


def test_what_a_server_holds_is_bounded_in_bytes() -> None:
    """The one used longest ago goes first, and as many as it takes; one that alone is too large is held alone."""
    memory, of = Memory((4.0, 3.0, 6.0), 8.0), [Kind(times([0.1]), times([1.0]), need) for need in range(3)]
    kinds = np.array([0, 1, 0, 1, 2, 0, 1, 0, 2, 2])  # held after each: 0 | 01 | 10 | 01 | 2 | 0 | 01 | 10 | 2 | 2
    served = serve(np.arange(0.0, 100.0, 10.0), kinds, Fleet(1, "round-robin", memory), of)
    np.testing.assert_allclose(served.latency_s, [1, 1, 0.1, 0.1, 1, 1, 1, 0.1, 1, 0.1])


def test_blocks_keep_what_follows_each_other_together() -> None:
    """Slow stretches stay slow: the mean of draws spreads as that of the series, not as that of single draws."""
    noise = np.random.default_rng(2).normal(size=4000)
    values = np.zeros(4000)
    for place, (before, now) in enumerate(pairwise(noise), 1):
        values[place] = 0.95 * values[place - 1] + now + 0 * before
    block = block_length(values)
    numbers = np.random.default_rng(4)
    in_blocks, singly = (
        np.std([values[drawn(4000, 4000, size, numbers)].mean() for _ in range(200)]) for size in (block, 1)
    )
    assert block > 30
    assert in_blocks > 3 * singly
    assert block_length(noise) == math.ceil(4000 ** (1 / 3))


def test_a_recording_tells_times_by_state_of_models(one_server: Measured) -> None:
    """With models held a workflow takes its time, with a load as much more as planted; two models fit."""
    for one, service_s in zip(one_server.workflows, SERVICES_S, strict=True):
        assert one.kind.held.service_s.mean() == pytest.approx(service_s, rel=0.05)
        assert one.kind.loading.service_s.mean() == pytest.approx(service_s + 0.8, rel=0.07)
        assert one.loads_seen > 30
        assert one.pictures == 2
    room = one_server.room
    assert (room.explained, room.memory.room) == (room.cases, 12 * 1024**3)
    assert one_server.handover_s == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("servers", "route", "per_s"),
    [(2, "shortest-queue", 0.62), (2, "round-robin", 0.55), (4, "shortest-queue", 1.25), (4, "round-robin", 1.1),
     (3, "affinity", 0.8)],
)  # fmt: skip
def test_a_plan_from_one_server_foretells_fleets_it_has_not_seen(
    one_server: Measured, tmp_path: Path, servers: int, route: Route, per_s: float
) -> None:
    """p95 of two to four busy servers within 15 %, by every route."""
    prompts = play(poisson(1200, per_s, SERVICES_S, 7, loading_s=0.8), servers, route, room=2)
    run = open_run(record(tmp_path / "fleet", prompts, servers, route, NAMES))
    found = check(one_server, run, read_wish(LATENCY, NAMES))
    assert found is not None
    assert (found.gpus, found.prompts, found.own) == (servers, 1200, False)
    assert 0.5 < found.utilisation < 0.9
    assert abs(found.error) < 0.15
    assert found.is_good


def test_servers_that_slow_each_other_down_are_told_from_queues(one_server: Measured, tmp_path: Path) -> None:
    """Where each prompt runs a third longer the prediction is off, and the plan says why."""
    prompts = play(poisson(800, 0.5, [1.33 * one for one in SERVICES_S], 7, loading_s=1.06), 2, "round-robin", room=2)
    run = open_run(record(tmp_path / "sharing", prompts, 2, "round-robin", NAMES))
    found = answer(one_server, question(one_server, read_demand("20/min")), [run])
    assert [(one.own, one.is_good) for one in found.checks] == [(True, True), (False, False)]
    assert found.checks[1].ran_longer == pytest.approx(1.33, abs=0.05)
    assert any("these servers share something" in words for words in found.cautions)


def test_closed_load_tells_nothing_about_the_model(story: Run) -> None:
    """Where prompts come when others have ended, there is no check, and plans say model only."""
    measured = measure([story])
    assert check(measured, story, read_wish(LATENCY, measured.names)) is None


def question(
    measured: Measured, demand: Demand, goal: str = LATENCY, route: Route = "shortest-queue", **more: Any
) -> Question:
    """What is asked, with the mix as measured unless said otherwise."""
    return Question(read_wish(goal, measured.names), demand, route, more.pop("mix", {}), **more)


@pytest.fixture(scope="module")
def planned(one_server: Measured) -> Answer:
    """A plan for 1.2 prompts a second, p95 below 8 s."""
    asked = question(one_server, read_demand("72/min"), "prompts.latency.p95 < 8s", price=read_price("2.40/h"))
    return answer(one_server, asked)


def test_the_plan_is_the_smallest_fleet_that_meets_the_goal(planned: Answer) -> None:
    """One fewer misses it, that many meet it, and the interval holds it."""
    assert planned.gpus is not None
    assert planned.needed is not None
    assert planned.point(planned.gpus).value_s < 8 <= planned.point(planned.gpus - 1).value_s
    assert planned.needed.low is not None
    assert planned.needed.high is not None
    assert planned.needed.low <= planned.gpus <= planned.needed.high
    assert [after.value_s <= before.value_s * 1.02 for before, after in pairwise(planned.points)]
    assert planned.exit_code is ExitCode.OK
    assert planned.standing(planned.gpus) == "model only"


def test_the_price_is_that_of_all_gpus_over_all_pictures(planned: Answer) -> None:
    """2.40 an hour each, two pictures a prompt, 72 prompts a minute."""
    assert planned.cost is not None
    assert planned.gpus is not None
    assert planned.cost.planned == pytest.approx(planned.gpus * 2.40 / (72 * 60 * 2) * 1000)
    assert planned.cost.planned_with_spare == pytest.approx(planned.cost.planned * (planned.gpus + 1) / planned.gpus)


def test_what_makes_it_slower_is_told_as_slower(planned: Answer) -> None:
    """Longer service and more demand raise p95, the largest effect first; each kind of change is there."""
    changes = {one.name: one.change for one in planned.swings}
    assert changes["service time +10 %"] > 0.05
    assert changes["demand +10 %"] > 0
    assert {"load times +10 %", "route round-robin", "route affinity", "10 % more of the prompts are video"} <= set(
        changes
    )
    sizes = [abs(one.change) for one in planned.swings]
    assert sizes == sorted(sizes, reverse=True)


def test_the_same_seed_gives_the_same_plan(one_server: Measured, planned: Answer) -> None:
    """Nothing but the seed decides what is drawn."""
    assert answer(one_server, planned.question).points == planned.points


def test_a_goal_below_the_service_time_is_refused_at_once(one_server: Measured) -> None:
    """No size is simulated for it."""
    told: list[str] = []
    found = answer(
        one_server, question(one_server, read_demand("1/s"), "prompts.latency.p95 < 2s"), progress=told.append
    )
    assert (found.gpus, found.needed, found.points, told) == (None, None, (), [])
    assert found.floor_s == pytest.approx(3.5, rel=0.1)
    assert found.exit_code is ExitCode.GOAL_MISSED


def test_by_models_more_servers_than_models_are_no_help(one_server: Measured) -> None:
    """Three models keep three servers busy: where those do not do, the plan says so and names another route."""
    found = answer(one_server, question(one_server, read_demand("3/s"), route="affinity"))
    assert found.gpus is None
    assert found.needed is not None
    assert found.needed.tried == 3
    assert "another route would" in found.why_not


def test_too_few_prompts_are_said_with_how_many_more(tmp_path: Path) -> None:
    """Twelve prompts give an answer that nobody should rely on: exit code 3."""
    prompts = play(poisson(12, 0.3, (1.0,), 4), 1, "round-robin")
    measured = measure([open_run(record(tmp_path / "few", prompts, 1, "round-robin", NAMES[:1]))])
    found = answer(measured, question(measured, read_demand("2/s"), "prompts.latency.p95 < 4s"))
    assert found.gpus is not None
    assert found.exit_code is ExitCode.NOT_VALID
    assert f"about {30 - measured.workflows[0].measured} more are the least" in found.cautions[0]


def test_loads_that_were_never_seen_again_are_said(tmp_path: Path) -> None:
    """Workflows recorded one by one tell no change between them: what fits together is a guess, and said to be one."""
    runs = []
    for kind in (0, 1):
        prompts = [one for one in poisson(150, 0.5, (1.0, 1.0), 4) if one.kind == kind]
        play(prompts, 1, "round-robin")
        runs.append(open_run(record(tmp_path / str(kind), prompts, 1, "round-robin", NAMES[:2])))
    measured = measure(runs)
    found = answer(measured, question(measured, read_demand("2/s"), "prompts.latency.p95 < 6s"))
    assert measured.room.guessed == "one at a time, to be on the safe side"
    assert sum("first time" in words for words in found.cautions) == 2
    assert any("a run of the whole mix on one server would tell" in words for words in found.cautions)


def test_the_demand_of_a_day_is_that_at_the_percentile_of_its_busy_parts() -> None:
    """Of the parts with at least the mean demand; growth comes on top."""
    day = read_demand("10/min,20/min,60/min,30/min,40/min,50/min", 60)
    assert day.per_s * 60 == pytest.approx(50)
    assert (day.busiest_per_s * 60, day.mean_per_s * 60) == pytest.approx((60, 35))
    assert day.grown(1.2).per_s * 60 == pytest.approx(60)
    wave = read_demand("10/min..60/min")
    assert (wave.mean_per_s * 60, wave.busiest_per_s * 60) == pytest.approx((35, 60), rel=0.01)
    assert 55 < wave.per_s * 60 < 60


def _trace(path: Path) -> Path:
    """Eight hours, of which hour n has 60 n prompts, each third one of them a sketch."""
    moments = [3600 * hour + 60 * number / (hour + 1) for hour in range(8) for number in range(60 * (hour + 1))]
    lines = ['{"time": %f, "workflow": "%s"}' % (at, NAMES[place % 3 == 0]) for place, at in enumerate(moments)]  # noqa: UP031  # braces
    path.write_text("\n".join([*lines, '{"time": 28800, "workflow": "portrait"}']), encoding="utf-8")
    return path


def test_a_trace_is_planned_for_at_its_busy_hour(tmp_path: Path) -> None:
    """That at the percentile, as it came, after the hour before it as a run-in."""
    found = read_demand(str(_trace(tmp_path / "trace.jsonl")), 75)
    assert found.per_s * 3600 == 420
    assert found.busiest_per_s * 3600 == 480
    arrivals = found.arrivals(1, np.random.default_rng(1))
    assert (arrivals.first, len(arrivals.due_s)) == (360, 360 + 420)
    assert found.workflows == ("sketch", "portrait")
    assert np.bincount(arrivals.names).tolist() == [260, 520]
    faster = found.grown(1.2).arrivals(1, np.random.default_rng(1))
    assert faster.due_s[-1] == pytest.approx(arrivals.due_s[-1] / 1.2)


def test_a_trace_decides_the_mix_unless_one_is_named(one_server: Measured, tmp_path: Path) -> None:
    """Its own workflows count; with a mix its moments alone."""
    demand = read_demand(str(_trace(tmp_path / "trace.jsonl")))
    goal = "prompts.queue_wait.p90{workflow=sketch} < 60s"
    found = answer(one_server, question(one_server, demand, goal))
    assert found.shares == pytest.approx((2 / 3, 1 / 3, 0), abs=0.01)
    assert found.gpus == 1
    assert answer(one_server, question(one_server, demand, goal, mix={"video": 1, "sketch": 1})).shares == (0, 0.5, 0.5)


def test_a_trace_of_what_was_not_measured_is_refused(one_server: Measured, tmp_path: Path) -> None:
    """With the workflows there are."""
    path = tmp_path / "trace.jsonl"
    path.write_text('{"time": 1, "workflow": "<b>other"}\n{"time": 2}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"<b>other.*\n.*portrait, sketch, video"):
        answer(one_server, question(one_server, read_demand(str(path))))


@pytest.mark.parametrize("text", ["", "many", "30", "-1/min", "0/min", "1/min..", "1/min,x", "0/min,0/min", "nan/min"])
def test_what_is_no_demand_is_refused_with_examples(text: str) -> None:
    """One sentence, never a traceback."""
    with pytest.raises(UsageError):
        read_demand(text)


@pytest.mark.parametrize(
    "lines", ["", '{"time": 1}\n', '{"time": 3}\n{"time": 3}\n', '{"time": "x"}\n', "\x00\xff", "[1]\n"]
)
def test_what_is_no_trace_is_refused(tmp_path: Path, lines: str) -> None:
    """Empty, of one prompt, of no length, or no trace at all."""
    path = tmp_path / "trace.jsonl"
    path.write_text(lines, encoding="latin-1")
    with pytest.raises(UsageError):
        read_demand(str(path))


@pytest.mark.parametrize(
    "goal",
    ["prompts.failed < 1%", "prompts.latency.max < 3s", "prompts.latency.p95 > 3s", "nonsense",
     "gpu.memory.max < 3 GiB", "prompts.latency.p95{phase=load} < 3s",
     "prompts.latency.p95{workflow=other} < 3s", "prompts.service.p95 < 3s"],
)  # fmt: skip
def test_goals_that_no_plan_can_be_made_for_are_refused(goal: str) -> None:
    """With an example of one that can."""
    with pytest.raises(UsageError):
        read_wish(goal, NAMES)


@pytest.mark.parametrize("text", ["", "free", "2", "-1/h", "2/day", "$/h", "1e99/h"])
def test_what_is_no_price_is_refused(text: str) -> None:
    """With an example."""
    with pytest.raises(UsageError, match=r"2\.10/h"):
        read_price(text)
    assert read_price("$2.10/h").show(1234.5) == "$1,234.50"
    assert read_price("2.10 EUR/h").show(3) == "3.00 EUR"


def test_the_smallest_size_is_found_from_below_and_from_above() -> None:
    """Whatever the start; None where even the largest does not do."""
    for need in (1, 2, 7, 40, 64):
        for start in (1, 5, 64):
            assert smallest(need.__le__, start, 64) == need
    assert smallest(lambda _size: False, 3, 64) is None


def test_recordings_without_a_measured_prompt_are_refused(empty: Run) -> None:
    """In one sentence."""
    with pytest.raises(RecordingError, match="no prompt was measured"):
        measure([empty])


def test_one_prompt_makes_a_plan_that_says_how_little_it_rests_on(tmp_path: Path) -> None:
    """No division by nothing, no warning."""
    run = record(tmp_path / "one", play(poisson(1, 1.0, (2.0,), 1), 1, "round-robin"), 1, "round-robin", NAMES[:1])
    measured = measure([open_run(run)])
    found = answer(measured, question(measured, read_demand("10/min"), "prompts.latency.mean < 9s"))
    assert found.gpus == 1
    assert found.too_little
