"""`comfysoak plan` as a person calls it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from comfysoak.main import run_command
from comfysoak_analysis.planning import model, sensitivity
from comfysoak_core.recording.run_file import EndReason
from tests.analysis.planted import plant
from tests.analysis.queued import play, poisson, record
from tests.cli.runs import comfysoak

HOSTILE = '<script>alert(1)</script>|"&[x](http://a.example)\x1b]0;t\x07'
GOAL = ("--goal", "prompts.latency.p95 < 8s")


@pytest.fixture(autouse=True)
def _fewer_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on fewer prompts."""
    monkeypatch.setattr(model, "PROMPTS", 1_500)
    monkeypatch.setattr(model, "REPLICATES", 8)
    monkeypatch.setattr(sensitivity, "REPLICATES", 2)


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A recording of one server and two workflows, one of them with a name that means harm."""
    prompts = play(poisson(200, 0.35, (1.0, 2.0), 1, loading_s=0.5), 1, "round-robin")
    return str(record(tmp_path / "one", prompts, 1, "round-robin", ("sdxl", HOSTILE)))


def test_a_plan_is_told_and_left_as_a_page(tmp_path: Path, run: str) -> None:
    """Through the door itself: text on stdout, the memo beside the recording, exit code 0."""
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(f'{{"time": {number + number % 7 / 10}}}\n' for number in range(300)), encoding="utf-8")
    done = comfysoak("plan", run, "--demand", str(trace), *GOAL, "--price", "$2.10/h", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d GPUS, \d WITH A SPARE  prompts\.latency\.p95 < 8s at 60/min holds with", done.stdout), (
        done.stdout
    )
    assert "model only" in done.stdout
    assert "\x1b" not in done.stdout
    page = (Path(run) / "plan.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert f"memo  {run}/plan.html" in done.stdout


def test_markdown_keeps_names_as_text(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No tag, no link, no further cell."""
    assert run_command(["plan", run, "--demand", "60/min", *GOAL, "--markdown"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("## ComfySoak plan: ")
    assert "<script>" not in told
    assert "](http" not in told
    rows = [line for line in told.splitlines() if "alert" in line and line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9, 5}  # of the workflows, and of a change of mix


def test_json_holds_the_plan_and_nothing_else(
    run: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """With the memo where it was wanted."""
    out = tmp_path / "memo.html"
    code = run_command(
        ["plan", run, "--demand", "10/min..60/min", *GOAL, "--growth", "20%", "--json", "--out", str(out)]
    )
    plan = json.loads(capsysbinary.readouterr().out)
    assert (code, plan["exit_code"], plan["demand"]["growth"]) == (0, 0, 0.2)
    assert plan["gpus_with_spare"] == plan["gpus"] + 1
    assert {size["checked"] for size in plan["sizes"]} == {"model only"}
    assert plan["checks"][0]["gpus"] == 1
    assert out.is_file()


def test_a_goal_that_nothing_meets_is_exit_code_1(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At once, and a page says so, too."""
    assert run_command(["plan", run, "--demand", "60/min", "--goal", "prompts.latency.p95 < 1s"]) == 1
    assert "NO NUMBER OF GPUS MEETS THE GOAL" in capsys.readouterr().out
    assert "No number of GPUs" in (Path(run) / "plan.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--demand", "sometimes"), "expected a demand such as 30/min"),
        (("--demand", "1/s", "--mix", "other=1"), "'other' was not measured"),
        (("--demand", "1/s", "--mix", "sdxl"), "expected shares such as"),
        (("--demand", "1/s", "--growth", "much"), "expected growth such as 20%"),
        (("--demand", "1/s", "--price", "free"), "expected a price such as"),
        (("--demand", "1/s", "--goal", "prompts.failed < 1%"), "no plan can be made for"),
        (("--demand", "1/s", "--out", "/no/such/folder/x.html"), "cannot be written"),
    ],
)  # fmt: skip
def test_wrong_calls_are_told_in_a_sentence(
    run: str, options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, with what to do."""
    goal = () if "--goal" in options else GOAL
    assert run_command(["plan", run, *options, *goal]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_runs_that_are_not_valid_are_refused_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With why; and the plan made anyway says so."""
    run = str(plant(tmp_path / "cut", name="cut", duration_s=120, ended=EndReason.INTERRUPTED))
    asked = ["plan", run, "--demand", "20/min", *GOAL]
    assert run_command(asked) == 3
    refused = capsys.readouterr().err
    assert "is not valid" in refused
    assert "--anyway" in refused
    assert run_command([*asked, "--anyway"]) in (0, 3)
    assert "cut is not valid: " in capsys.readouterr().out


def test_what_is_no_recording_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, in one sentence."""
    assert run_command(["plan", str(tmp_path), "--demand", "20/min"]) == 3
    assert "run.json" in capsys.readouterr().err
