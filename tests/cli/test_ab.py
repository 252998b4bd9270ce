"""`comfysoak run --ab` on two simulators: where load goes, what is compared, and what the report says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pytest

from comfysoak_core.recording.recording import Recording
from tests.cli.runs import ROOT, comfysoak

SCENARIO = f"""\
name: ab
target: {{comfyui: http://127.0.0.1:1}}
workload:
  - workflow: {ROOT}/scenarios/workflows/sdxl.json
    deadline: 20s
    vary: {{seed: random, inputs: {{5.width: [64], 5.height: [64]}}}}
load:
  - {{LOAD}}
goals: ["prompts.failed < 50%"]
on_undecided: pass
"""
SERVER = """\
name: server
target:
  embedded:
    gpu: {name: Small, memory: 16 GiB, load_bandwidth: 64 GiB}
    costs: {KSampler: {seconds: SECONDS, vram: 1 GiB}, CheckpointLoaderSimple: {seconds: 0.01}}
workload: [{workflow: WORKFLOW}]
load: [{users: 1, for: 1s}]
"""


@contextmanager
def server(folder: Path, seconds: float) -> Iterator[str]:
    """A simulator whose sampler takes that long; its address."""
    scenario = folder / f"server-{seconds}.yaml"
    text = SERVER.replace("SECONDS", str(seconds)).replace("WORKFLOW", f"{ROOT}/scenarios/workflows/sdxl.json")
    scenario.write_text(text, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "comfysoak", "sim", str(scenario), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["servers"][0]
    finally:
        process.terminate()
        process.communicate(timeout=20)


def run_ab(folder: Path, load: str, seconds: tuple[float, float]) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A run of six pairs of blocks against an old and a new server."""
    (folder / "ab.yaml").write_text(SCENARIO.replace("{LOAD}", load), encoding="utf-8")
    with ExitStack() as servers:
        old, new = (servers.enter_context(server(folder, one)) for one in seconds)
        done = comfysoak("run", "ab.yaml", "--ab", old, new, "--ab-block", "0.5s", "--quiet", cwd=folder)
    return done, next((folder / "runs").iterdir())


def prompts_of(run: Path) -> pd.DataFrame:
    columns = ("phase", "server", "variation", "scheduled_ns", "end_received_ns")
    prompts: pd.DataFrame = Recording.open(run).table("prompts", columns).to_pandas()
    return prompts.sort_values("scheduled_ns")


def check_blocks(run: Path) -> None:
    """Every prompt went to the server whose block it was, alone; both blocks of a pair began with the same prompts."""
    prompts, plan = prompts_of(run), Recording.open(run).run.plan
    assert [stage["phase"] for stage in plan["stages"][:4]] == ["warmup", "warmup", "old 1", "new 1"]
    ended = 0
    for pair in range(1, 7):
        sides = {side: prompts[prompts["phase"] == f"{side} {pair}"] for side in ("old", "new")}
        for place, side in enumerate(sides):
            assert set(sides[side]["server"]) <= {plan["servers"][place]}
        shared = set(sides["old"]["variation"]) & set(sides["new"]["variation"])
        assert len(shared) == min(len(set(rows["variation"])) for rows in sides.values())
    for _, block in prompts.groupby("phase", sort=False):
        assert block["scheduled_ns"].min() >= ended
        ended = int(block["end_received_ns"].max()) if block["phase"].iloc[0] != "warmup" else 0


def test_a_slower_server_is_a_regression(tmp_path: Path) -> None:
    """The run ends with 1, its page of both sides lies beside the report, and its sides can be compared again."""
    done, run = run_ab(tmp_path, "{users: 2, for: 6s}", (0.03, 0.12))
    assert done.returncode == 1, done.stderr
    assert "prompts.typical_service: new not worse than old" in done.stdout
    verdict = json.loads((run / "verdict.json").read_text())
    assert verdict["conclusion"] == "failed"
    standings = {goal["measure"]: goal["standing"] for goal in verdict["goals"] if goal["unit"] == "change"}
    assert standings["prompts.typical_service"] == "missed"
    assert standings["prompts.failed"] == "met"
    assert "new not worse than old" in (run / "report.html").read_text()
    assert "Regression" in (run / "compare.html").read_text()
    assert "❌ worse" in (run / "compare.md").read_text()
    check_blocks(run)
    again = comfysoak("compare", str(run), "--gate", "prompts.per_minute", "--json", cwd=tmp_path)
    assert again.returncode == 1, again.stderr
    told = json.loads(again.stdout)
    assert told["method"] == "signed-rank test over pairs of blocks"
    assert told["rows"][0]["measure"] == "prompts.per_minute"


def test_a_faster_server_under_open_load_is_no_regression(tmp_path: Path) -> None:
    """Arrivals go to one server at a time as well, the same ones to both."""
    done, run = run_ab(tmp_path, "{arrivals: {from: 8/s, to: 12/s}, for: 6s}", (0.06, 0.02))
    assert done.returncode == 0, done.stdout + done.stderr
    check_blocks(run)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--ab-block", "5s"), "--ab OLD NEW"),
        (("--ab", "http://a:1", "http://b:1", "--target", "http://c:1"), "leave --target out"),
        (("--ab", "http://a:1", "http://a:1"), "both sides of --ab"),
        (("--ab", "http://a:1", "b"), "--ab"),
        (("--ab", "http://a:1", "http://b:1", "--ab-block", "3s"), "expected 6 pairs or more"),
    ],
)
def test_a_wrong_call_is_told_before_anything_starts(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """One sentence, exit code 2, and no run."""
    (tmp_path / "ab.yaml").write_text(SCENARIO.replace("{LOAD}", "{users: 2, for: 6s}"), encoding="utf-8")
    done = comfysoak("run", "ab.yaml", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "runs").exists()
