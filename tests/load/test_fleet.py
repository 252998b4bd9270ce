"""Several servers under one load: by name, and behind one address."""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.recording import Recording
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Workload
from comfysoak_load.process.built_in import GRAPH
from tests.load.conftest import simulated, simulated_fleet
from tests.load.locusting import ended, planned_locust, rows, told, wait_until
from tests.load.round_robin import Notes, round_robin
from tests.load.test_planned_locust import COLOUR

SCENARIOS = Path(__file__).parents[2] / "scenarios"
ROUTES = {"round-robin": 1, "affinity": 2}  # with a seed each, or the second would find its pictures in the cache
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="load runs on Linux and macOS")


def plan_for(*servers: str, users: int, seconds: float, deadline_s: float = 20, **changes: object) -> Plan:
    workload = Workload(name="picture", graph=GRAPH, vary=COLOUR, deadline_s=deadline_s)
    stages = (Stage(duration_s=seconds, users=Line.level(users)),)
    plan = Plan(name="fleet", seed=3, servers=servers, workloads=(workload,), stages=stages)
    return plan.model_copy(update=changes)


@contextmanager
def two_simulators(folder: Path, seconds: float, more: str = "") -> Iterator[list[str]]:
    """Two servers in one process, whose pictures take so long."""
    scenario = folder / "simulated.yaml"
    scenario.write_text(
        f"target: {{embedded: {{servers: 2, costs: {{EmptyImage: {{seconds: {seconds}}}}}{more}}}}}\n"
        f"workload: [{{workflow: {SCENARIOS}/workflows/no-model.json}}]\nload: [{{users: 1, for: 1s}}]\n",
        encoding="utf-8",
    )
    with simulated_fleet("--speed", "1", str(scenario)) as (servers, _):
        yield servers


@contextmanager
def deleting(server: str, of: Notes) -> Iterator[set[str]]:
    """Somebody who deletes the last pending prompt that came by this proxy, again and again: the ids of those."""
    deleted: set[str] = set()
    over = threading.Event()

    def asked(path: str) -> Any:
        with urllib.request.urlopen(f"{server}{path}") as answer:
            return json.load(answer)

    def delete() -> None:
        while not over.wait(0.3):
            pending = [item[1] for item in sorted(asked("/queue")["queue_pending"]) if item[1] in of.prompts]
            if pending:
                body = json.dumps({"delete": [pending[-1]]}).encode()
                urllib.request.urlopen(urllib.request.Request(f"{server}/queue", body)).close()
                running = [item[1] for item in asked("/queue")["queue_running"]]  # it may have begun meanwhile
                if pending[-1] not in running and not asked(f"/history/{pending[-1]}"):
                    deleted.add(pending[-1])

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield deleted
    finally:
        over.set()
        thread.join()


def test_prompts_are_routed_one_by_one_and_clocks_are_measured_by_them(tmp_path: Path) -> None:
    """A single user goes round all servers, with one socket to each; by affinity it stays with that of its model.

    Each server's clock is known within its stated error, however wrong it is.
    """
    wrong = ", clocks: [{ahead: 3s}, {behind: 200ms}]"
    with two_simulators(tmp_path, 0.05, wrong) as servers:
        plans = [plan_for(*servers, users=1, seconds=2, route=route, seed=seed) for route, seed in ROUTES.items()]
        started = [planned_locust(tmp_path, plan) for plan in plans]
        for process, _ in started:
            ended(process)
    turns, by_model = (recording for _, recording in started)
    sent = [row["server"] for row in sorted(rows(turns, "prompts"), key=lambda row: row["scheduled_ns"])]
    assert len(sent) >= 4
    assert all(one != two for one, two in pairwise(sent))
    assert Counter(row["server"] for row in rows(turns, "sessions")) == dict.fromkeys(servers, 1)
    assert len({row["server"] for row in rows(by_model, "prompts")}) == 1
    assert len(rows(by_model, "sessions")) == 1
    clocks = {row["server"]: row for row in rows(turns, "server_clocks")}
    for server, truth_s in zip(servers, (3.0, -0.2), strict=True):
        row = clocks[server]
        assert abs(row["offset_ns"] - truth_s * NS_PER_S) <= row["error_ns"] < NS_PER_S // 10


def test_a_server_that_dies_takes_its_prompts_and_nothing_else(tmp_path: Path) -> None:
    """The others take over; when all are dead prompts fail with the reason, users slow down, and the run goes on."""
    with simulated() as (first, one), simulated() as (second, two):
        plan = plan_for(first, second, users=3, seconds=6, route="shortest-queue")
        process, recording = planned_locust(tmp_path, plan)
        journal = recording.layout.journal
        wait_until(lambda: told(journal, "prompts", "outcome") >= 6, "prompts have ended")
        one.kill()
        one.wait()
        before = told(journal, "prompts", "outcome")
        wait_until(lambda: told(journal, "prompts", "outcome") >= before + 20, "the other one takes over")
        two.kill()
        two.wait()
        ended(process)
    events = [row for row in rows(recording, "events") if row["kind"] == "server_down"]
    down = sorted((row["server"], row["code"]) for row in events)  # whichever was looked at first
    assert down == sorted([(first, "SERVER_DOWN"), (second, "SERVER_DOWN")])
    prompts = rows(recording, "prompts")
    cut_ns = min(row["closed_ns"] for row in rows(recording, "sessions") if row["server"] == second)
    between = [row for row in prompts if events[0]["at_ns"] < row["scheduled_ns"] and row["finished_ns"] < cut_ns]
    assert {(row["server"], row["outcome"]) for row in between} == {(second, "success")}
    after = [row for row in prompts if row["scheduled_ns"] > events[1]["at_ns"]]
    assert {(row["outcome"], row["code"]) for row in after} == {("failed", "SERVER_DOWN")}
    assert len(after) <= 40


def codes(recording: Recording, notes: Notes, deleted: set[str]) -> Counter[tuple[str, str | None]]:
    """What is true of each prompt, and the code it was given."""
    found: Counter[tuple[str, str | None]] = Counter()
    for row in rows(recording, "prompts"):
        truth = "deleted" if row["id"] in deleted else "misrouted" if notes.is_misrouted(row["id"]) else "right"
        found[truth, row["code"]] += 1
    return found


def test_what_a_proxy_misroutes_is_named_and_nothing_else(tmp_path: Path) -> None:
    """With users side by side: every prompt whose socket and submission went to different servers, and no other.

    Behind a sticky proxy there are none; prompts that somebody deletes while they wait are PROMPT_VANISHED there.
    """
    with (
        two_simulators(tmp_path, 0.1) as servers,
        round_robin(servers) as notes,
        round_robin(servers[:1], sticky=True) as sticky,
        deleting(servers[0], of=sticky) as deleted,
    ):
        started = [
            planned_locust(tmp_path, plan_for(proxy.url, users=4, seconds=3, deadline_s=6, seed=seed))
            for seed, proxy in enumerate((notes, sticky))
        ]
        for process, _ in started:
            ended(process)
    mixed, clean = (recording for _, recording in started)
    assert set(codes(mixed, notes, set())) == {("misrouted", "LB_MISROUTED"), ("right", None)}
    kinds = [row["kind"] for row in rows(mixed, "events")]
    assert kinds.count("several_servers") == 1
    assert "restart" not in kinds
    assert set(codes(clean, sticky, deleted)) == {("deleted", "PROMPT_VANISHED"), ("right", None)}
