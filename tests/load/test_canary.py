from __future__ import annotations

import base64
import io
import json
import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfysoak_core.comfyui.vary import Range, Vary
from comfysoak_core.recording.layout import Layout
from comfysoak_core.scenario.canary import BUILT_IN, Canary, KnownPicture, folder_of
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Fetch, Workload
from comfysoak_load.process.built_in import GRAPH
from tests.load.conftest import simulated_fleet
from tests.load.locusting import Rows, ended, planned_locust, rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="load runs on Linux and macOS")

SCENARIO = """\
target:
  embedded:
    servers: 3
    faults:
      - {kind: corrupt-output, probability: 1, server: 1}
      - {kind: hang, node: ImageScale, probability: 1, server: 2}
workload: [{workflow: graph.json}]
load: [{users: 1, for: 1s}]
"""
LOAD = Workload(
    name="load", graph=GRAPH, vary=Vary(inputs={"1.color": Range(0, 0xFFFFFF)}), deadline_s=1, fetch=Fetch(share=0)
)


@contextmanager
def simulators(folder: Path) -> Iterator[list[str]]:
    """Three servers in one process: one is well, one flips pixels of all it saves, one hangs in the canary."""
    (folder / "graph.json").write_text(json.dumps(BUILT_IN), encoding="utf-8")
    (folder / "sim.yaml").write_text(SCENARIO, encoding="utf-8")
    with simulated_fleet(str(folder / "sim.yaml")) as (servers, _):
        yield servers


def ask(url: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
        said: bytes = answer.read()
        return said


def picture_of(url: str) -> bytes:
    """The picture of the built-in canary, asked for by hand."""
    prompt_id = json.loads(ask(f"{url}/prompt", json.dumps({"prompt": BUILT_IN}).encode()))["prompt_id"]
    entry: dict[str, Any] = {}
    while not entry:
        entry = json.loads(ask(f"{url}/history/{prompt_id}"))
    (file,) = entry[prompt_id]["outputs"]["6"]["images"]
    return ask(f"{url}/view?filename={file['filename']}&type=temp")


def plan_for(servers: list[str], canary: Canary) -> Plan:
    stage = Stage(duration_s=3.5, users=Line.level(1))
    return Plan(name="canary", servers=tuple(servers), workloads=(LOAD,), stages=(stage,), canary=canary)


def ends(found: Rows) -> set[tuple[str, str | None]]:
    """Outcomes and codes, less what was still open when the run ended."""
    return {(row["outcome"], row["code"]) for row in found} - {("aborted", None)}


Found = tuple[list[str], dict[str, Rows], Path, dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A run with a canary on four servers, the last of which is down.

    The servers, the canaries of each, the run directory, and what the hanging server has in its queue afterwards.
    """
    folder = tmp_path_factory.mktemp("canary")
    with simulators(folder) as servers, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        known = KnownPicture(server=folder_of(servers[1]), png=base64.b64encode(picture_of(servers[0])).decode())
        servers.append(f"http://127.0.0.1:{nobody.getsockname()[1]}")
        process, recording = planned_locust(
            folder, plan_for(servers, Canary(every_s=0.4, deadline_s=0.8, baseline=(known,)))
        )
        ended(process)
        queue = json.loads(ask(f"{servers[2]}/queue"))
    canaries = [row for row in rows(recording, "prompts") if row["role"] == "canary"]
    found = {server: [row for row in canaries if row["server"] == server] for server in servers}
    return servers, found, recording.path, queue


def test_a_server_that_is_well_never_alarms(run: Found) -> None:
    """Its own first picture is the baseline, every canary does its work, and all are as the first."""
    servers, canaries, path, _ = run
    well = canaries[servers[0]]
    assert len(well) >= 2
    assert ends(well) == {("success", None)}
    assert all(row["nodes_cached"] <= 2 for row in well if row["outcome"] == "success")
    assert [file.name for file in (Layout(path).canary / folder_of(servers[0])).iterdir()] == ["baseline-6-1.png"]


def test_flipped_pixels_are_corruption_and_are_kept(run: Found) -> None:
    """What differs is told with how many pixels and by how much, and both pictures are there to look at."""
    servers, canaries, path, _ = run
    corrupt = canaries[servers[1]]
    assert ends(corrupt) == {("failed", "OUTPUT_CORRUPT")}
    assert "64 of 65,536 pixels (0.10%) differ, by up to" in corrupt[0]["output_problem"]
    folder = Layout(path).canary / folder_of(servers[1])
    kept = {file.name: Image.open(io.BytesIO(file.read_bytes())).size for file in folder.iterdir()}
    assert kept.pop("baseline-6-1.png") == (256, 256)
    told = {f"{row['id']}-6-1.png" for row in corrupt if row["code"] == "OUTPUT_CORRUPT"}
    assert kept.keys() == told
    assert set(kept.values()) == {(256, 256)}


def test_a_canary_that_cannot_run_gives_up_and_never_piles_up(run: Found) -> None:
    """By its deadline it is over and taken back: the server has nothing but the one that hangs in it."""
    servers, canaries, path, queue = run
    stuck = canaries[servers[2]]
    assert ends(stuck) == {("timeout", "DEADLINE")}
    waiting = {item[1] for item in queue["queue_pending"]}
    assert not waiting & {row["id"] for row in stuck}
    assert not (Layout(path).canary / folder_of(servers[2])).exists()


def test_a_server_that_is_down_is_no_corruption(run: Found) -> None:
    """It is told that the canary could not be sent, and that is all."""
    servers, canaries, _, _ = run
    assert ends(canaries[servers[3]]) == {("failed", "SERVER_DOWN")}
