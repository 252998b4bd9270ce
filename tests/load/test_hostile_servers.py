from __future__ import annotations

import copy
import sys
from collections import Counter
from pathlib import Path

import pytest

from comfysoak_core.comfyui.vary import Range, Vary
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Workload
from comfysoak_load.process.built_in import GRAPH
from tests.load.hostile_server import hostile_server
from tests.load.locusting import ended, planned_locust, rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="load runs on Linux and macOS")

# What the server does -> (outcome, code) of every such prompt.
MISDEEDS: dict[str, tuple[str, str | None]] = {
    "none": ("success", None),
    "broken_json": ("success", "BAD_MESSAGE"),
    "wrong_types": ("success", "BAD_MESSAGE"),
    "other_ids": ("success", None),
    "told_twice": ("success", "BAD_MESSAGE"),
    "status_flood": ("success", None),
    "large_frame": ("success", None),
    "huge_frame": ("success", "LOST_TERMINAL"),
    "cut_in_mid_frame": ("success", "LOST_TERMINAL"),
    "close_1011": ("success", "LOST_TERMINAL"),
    "silence": ("timeout", "DEADLINE"),
    "html_for_submit": ("failed", "SUBMIT_ERROR"),
    "error_for_submit": ("failed", "SUBMIT_ERROR"),
    "hang_up_on_submit": ("failed", "SUBMIT_ERROR"),
    "html_for_history": ("success", "BAD_MESSAGE"),
    "html_for_picture": ("failed", "OUTPUT_WRONG"),
    "two_pictures": ("failed", "OUTPUT_WRONG"),
    "no_picture": ("failed", "OUTPUT_MISSING"),
}
MOST_BYTES = 500 * 1024 * 1024  # with a frame of 40 MB on its way to several users


def workload(misdeed: str) -> Workload:
    graph = copy.deepcopy(GRAPH)
    graph["3"]["inputs"]["filename_prefix"] = misdeed  # type: ignore[index]  # the graph's own shape
    deadline_s = 30 if misdeed == "large_frame" else 2  # 40 MB may keep a busy machine silent for long
    return Workload(name=misdeed, graph=graph, vary=Vary(inputs={"1.color": Range(0, 9999)}), deadline_s=deadline_s)


def test_a_hostile_server_becomes_rows_and_codes(tmp_path: Path) -> None:
    """Whatever a server does, each prompt ends in the outcome and code that says so, and the users go on."""
    with hostile_server() as server:
        plan = Plan(
            name="hostile",
            seed=5,
            servers=(server,),
            workloads=tuple(map(workload, MISDEEDS)),
            stages=(Stage(duration_s=3, users=Line.level(len(MISDEEDS))),),
        )
        process, recording = planned_locust(tmp_path, plan)
        ended(process)
    prompts = rows(recording, "prompts")
    found = {name: {(row["outcome"], row["code"]) for row in prompts if row["workflow"] == name} for name in MISDEEDS}
    assert found == {name: {expected} for name, expected in MISDEEDS.items()}
    sessions = Counter((row["closed_by"], row["close_code"], row["code"]) for row in rows(recording, "sessions"))
    assert sessions[("client", 1009, "WS_TOO_BIG")] >= 1
    assert sessions[("network", 1006, "WS_ABNORMAL")] >= 1
    assert sessions[("server", 1011, None)] >= 1
    assert max(row["rss_bytes"] for row in rows(recording, "generator")) < MOST_BYTES
    events = rows(recording, "events")
    assert not [row for row in events if row["kind"] == "own_error"]
    assert {row["code"] for row in events if row["kind"] == "bad_message"} == {"BAD_MESSAGE"}
    by_prompt = {row["id"]: row["workflow"] for row in prompts}
    disagreed = {by_prompt[row["subject"]] for row in events if row["kind"] == "disagreement"}
    assert disagreed == {"html_for_history"}
