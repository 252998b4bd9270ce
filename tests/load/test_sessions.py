"""Sessions of a scenario, through Locust and real sockets: what becomes of sockets, and of the prompts meanwhile."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfysoak_core.comfyui.vary import Range, Vary
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.sessions import ReconnectOrder, Reconnects, Sessions, Stalled
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Workload
from comfysoak_load.process.built_in import GRAPH
from tests.load.conftest import simulated
from tests.load.locusting import Rows, ended, planned_locust, rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="load runs on Linux and macOS")

SOON_S = 9.0  # a silent socket is found out within it, on a machine that is busy with other tests as well


def plan_for(server: str, sessions: Sessions, *, duration_s: float, users: int = 2) -> Plan:
    return Plan(
        name="sessions",
        seed=3,
        servers=(server,),
        sessions=sessions,
        workloads=(
            Workload(name="picture", graph=GRAPH, vary=Vary(inputs={"1.color": Range(0, 0xFFFFFF)}), deadline_s=60),
        ),
        stages=(Stage(duration_s=duration_s, users=Line.level(users)),),
    )


@contextmanager
def steady(folder: Path, *faults: str) -> Iterator[str]:
    """A simulator whose prompts take a tenth of a second, with these faults."""
    scenario = folder / "steady.yaml"
    scenario.write_text(
        "target: {embedded: {servers: 1, costs: {EmptyImage: {seconds: 100ms}}, faults: [" + ", ".join(faults) + "]}}\n"
        "workload: [{workflow: none.json}]\nload: [{users: 1, for: 1s}]\n"
    )
    with simulated("--speed", "1", str(scenario)) as (url, _):
        yield url


def outcomes(prompts: Rows) -> set[tuple[str | None, str | None]]:
    return {(row["outcome"], row["code"]) for row in prompts}


def test_a_socket_that_was_forgotten_is_replaced_and_its_prompts_are_not_lost(tmp_path: Path) -> None:
    """Opened before the older one closed: the server forgets it (recording 08c), the harness sees it by its silence."""
    sessions = Sessions(
        watchers=3, reconnects=Reconnects(every_s=2.5, share=0.2, order=ReconnectOrder.OPEN_FIRST), churn_per_s=4
    )
    with steady(tmp_path) as url:
        process, recording = planned_locust(tmp_path, plan_for(url, sessions, duration_s=11))
        ended(process)
    assert outcomes(rows(recording, "prompts")) <= {("success", None), ("success", "LOST_TERMINAL")}
    by_id = {row["id"]: row for row in rows(recording, "sessions")}
    zombies = [row for row in by_id.values() if row["code"] == "WS_ZOMBIE"]
    assert zombies
    for zombie in zombies:
        older = next(row for row in by_id.values() if row["reopened_as"] == zombie["id"])
        assert (older["reason"], older["client_id"]) == ("reconnected, open-first", zombie["client_id"])
        assert (zombie["closed_ns"] - zombie["opened_ns"]) / 1e9 < SOON_S
    events = [row for row in rows(recording, "events") if row["kind"] == "zombie"]
    assert {row["subject"] for row in events} == {row["id"] for row in zombies}


def test_churn_and_reconnects_leave_no_trace_but_rows(tmp_path: Path) -> None:
    """Sockets that come and go are closed properly, and each is a row; close first, and nothing is forgotten."""
    sessions = Sessions(watchers=4, churn_per_s=10, stays_s=(0.2, 0.6), reconnects=Reconnects(every_s=1.0, share=0.5))
    with steady(tmp_path) as url:
        process, recording = planned_locust(tmp_path, plan_for(url, sessions, duration_s=3))
        ended(process)
    assert outcomes(rows(recording, "prompts")) <= {("success", None), ("success", "LOST_TERMINAL")}
    sessions_rows = rows(recording, "sessions")
    ends = {(row["closed_by"], row["close_code"], row["code"]) for row in sessions_rows if row["opened_ns"]}
    assert ends == {("client", 1000, None)}
    roles = Counter(row["role"] for row in sessions_rows)
    assert roles["churn"] >= 15
    churned = [row for row in sessions_rows if row["role"] == "churn"]
    assert all(row["reopened_as"] is None for row in churned)
    again = [row for row in sessions_rows if row["reason"] == "reconnected, close-first"]
    assert {row["role"] for row in again} == {"user", "watcher"}
    names = {row["id"]: row["client_id"] for row in sessions_rows}
    assert all(names[row["reopened_as"]] == row["client_id"] for row in again if row["reopened_as"])


def test_watchers_are_shared_by_processes_and_are_no_users(tmp_path: Path) -> None:
    """Each process holds its part, Locust counts users alone, and progress is told."""
    with steady(tmp_path) as url:
        plan = plan_for(url, Sessions(watchers=101), duration_s=1.5)
        process, recording = planned_locust(tmp_path, plan, "--processes", "2")
        ended(process)
    watchers = [row for row in rows(recording, "sessions") if row["role"] == "watcher"]
    assert sorted(Counter(row["worker"] for row in watchers).values()) == [50, 51]
    assert all(row["opened_ns"] for row in watchers)
    generators = rows(recording, "generator")
    assert max(row["users"] for row in generators) <= 2
    told = [row["detail"] for row in rows(recording, "events") if row["kind"] == "watchers"]
    assert {detail.partition(" after")[0] for detail in told} == {"50 of 50 are open", "51 of 51 are open"}


def test_a_stalled_reader_stalls_all(tmp_path: Path) -> None:
    """The server waits for a client that does not read: all are silent meanwhile, and no prompt is lost."""
    large = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": 7}},
        "2": {"class_type": "RepeatImageBatch", "inputs": {"image": ["1", 0], "amount": 400}},
        "3": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["2", 0]}},
    }
    stalled = Stalled(reads_nothing_for_s=2.0, after_s=0.5, then="close", sends="large")
    with steady(tmp_path) as url:
        plan = plan_for(url, Sessions(watchers=3, stalled=stalled), duration_s=4)
        workloads = (*plan.workloads, Workload(name="large", graph=large, weight=1e-9, vary=Vary(), deadline_s=60))
        process, recording = planned_locust(tmp_path, plan.model_copy(update={"workloads": workloads}))
        ended(process)
    assert outcomes(rows(recording, "prompts")) <= {("success", None), ("success", "LOST_TERMINAL")}
    events = {row["kind"]: row for row in rows(recording, "events")}
    assert events["stall_over"]["at_ns"] - events["stalled"]["at_ns"] >= 2e9
    by_id = {row["id"]: row for row in rows(recording, "sessions")}
    reader = by_id[events["stalled"]["subject"]]
    assert (reader["role"], reader["closed_by"]) == ("stalled", "client")
    watchers = [row for row in by_id.values() if row["role"] == "watcher"]
    assert min(row["longest_silence_ns"] for row in watchers) > 1e9
    assert {row["code"] for row in watchers} == {None}


def test_in_a_storm_no_prompt_is_lost(tmp_path: Path) -> None:
    """Every socket is cut every second, without a close frame, with prompts on their way all the time."""
    with steady(tmp_path, "{kind: drop-sockets, every: 1s, share: 100%}") as url:
        plan = plan_for(url, Sessions(watchers=5), duration_s=4, users=6)
        process, recording = planned_locust(tmp_path, plan)
        ended(process)
    prompts = rows(recording, "prompts")
    assert len(prompts) >= 12
    assert outcomes(prompts) <= {("success", None), ("success", "LOST_TERMINAL")}
    dropped = [row for row in rows(recording, "sessions") if row["code"] == "WS_ABNORMAL"]
    assert len(dropped) >= 2 * 11
    assert all(row["close_code"] == 1006 and row["closed_by"] == "network" for row in dropped)
