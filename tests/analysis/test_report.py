"""The four files: what is in them, and that bad input makes a report or one clear sentence."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from plotly.offline import get_plotlyjs_version

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.page import PLOTLY
from comfysoak_analysis.report import build, documents, write_page
from comfysoak_analysis.style import FONT
from comfysoak_analysis.tiles import tiles
from comfysoak_core.errors import ExitCode, RecordingError
from comfysoak_core.guide import address_of
from comfysoak_core.recording.recording import Recording
from tests.analysis.planted import plant
from tests.analysis.server_lines import said
from tests.analysis.test_frames import only, prompt

FILES = {"report.html", "summary.md", "junit.xml", "verdict.json"}
EVIL = "</script><script>document.title='owned'</script><img src=http://evil.example/x onerror=alert(1)>|[x](http://evil.example)"


def test_four_files_are_written_whole(directory: Path) -> None:
    """And no temporary one is left."""
    plant(directory)
    build(directory)
    assert {path.name for path in directory.iterdir()} >= FILES
    assert not [
        path
        for path in directory.iterdir()
        if path.name.startswith(".") and "." in path.name[1:] and path.suffix in {".html", ".md", ".xml", ".json"}
    ]


def test_a_full_disk_leaves_the_small_files_and_no_scraps(directory: Path) -> None:
    """Where the page does not fit, the verdict does; it is told in one sentence, and half a page is removed."""
    plant(directory)
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 100; exec {sys.executable} -m comfysoak_analysis {directory}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.NOT_VALID
    assert "report.html cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in directory.iterdir()} >= FILES - {"report.html"}
    assert not list(directory.glob(".*.html*"))


def test_a_report_can_be_made_again_from_a_sealed_recording(directory: Path) -> None:
    """From tables alone, it says the same as from the journal."""
    plant(directory, oom_at_s=(30,), seal=False)
    before, _ = documents(open_run(directory), live=True)
    Recording.open(directory).seal("finished")
    after = build(directory)
    assert [(f.code, f.count, f.evidence) for f in after.findings] == [
        (f.code, f.count, f.evidence) for f in before.findings
    ]
    assert [goal.value for goal in after.goals] == [goal.value for goal in before.goals]


def test_plotly_is_the_version_the_python_package_stands_for() -> None:
    """The bundle comes from another registry, and must not drift."""
    head = PLOTLY.read_text(encoding="utf-8")[:200]
    assert f"v{get_plotlyjs_version()}" in head
    assert "basic" in head
    for licence in ("plotly-LICENSE", "inter-LICENSE"):
        assert (PLOTLY.parent / licence).stat().st_size > 500
    assert FONT.read_bytes()[:4] == b"wOF2"


def page_of(run: Run) -> str:
    """The page as text."""
    return documents(run)[1]["report.html"].decode()


def test_only_scripts_of_ours_may_run_and_nothing_may_be_fetched(story: Run) -> None:
    """The policy names both scripts by their hashes, and allows no address."""
    page = page_of(story)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert not re.search(r"https?:|\*", policy[1])
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts}
    assert (len(scripts), set(rules["script-src"].split())) == (2, hashes)


def test_the_page_loads_no_other_file(story: Run) -> None:
    """No source, no stylesheet, no import; a reader may follow a link to the guide, the page asks for nothing."""
    shell = re.sub(r"<script.*?</script>", "", page_of(story), flags=re.DOTALL)
    shell, links = re.subn(rf'<a href="{address_of("")}[A-Z_]+">', "", shell)
    assert links
    assert not re.findall(r"""(?:src|href)=["']?(?!#|data:)[^"'>\s]+""", shell)
    assert "@import" not in shell
    assert not re.findall(r"url\((?!data:)", shell)


def test_the_page_is_small(story: Run, calm: Run) -> None:
    """Three megabytes at most."""
    assert max(len(page_of(story)), len(page_of(calm))) < 3_000_000


def test_the_verdict_comes_before_the_charts(story: Run) -> None:
    """A reader who sees one screen sees what it says."""
    page = page_of(story)
    places = [
        page.index(text)
        for text in ("<h1>Failed</h1>", 'id="goals"', 'id="findings"', 'id="timeline"', 'id="failures"')
    ]
    assert places == sorted(places)


def test_hostile_text_stays_text(directory: Path) -> None:
    """In the page, the data of its charts, the summary and the test results."""
    row = prompt(1, workflow=EVIL, outcome="failed", code=EVIL, error_type=EVIL, node_class=EVIL, server=EVIL)
    plant(directory, name=EVIL, node_error_at_s=(20,), node_error_text=EVIL, other_rows=(row,))
    _, files = documents(open_run(directory))
    page, summary = files["report.html"].decode(), files["summary.md"].decode()
    assert page.count("<script") == 3
    assert "<img" not in page
    assert "<img" not in summary.replace("\\<img", "")
    assert "](http" not in summary
    assert ET.fromstring(files["junit.xml"]).tag == "testsuites"


def test_empty_gpu_charts_say_why(directory: Path) -> None:
    """Instead of an empty frame."""
    plant(directory, gpu=False, log=False)
    page = page_of(open_run(directory))
    assert page.count('<div class="empty">No GPU was watched') == 2


def test_junit_counts_goals_that_were_missed(story: Run) -> None:
    """One failure, one error for the undecided one; findings decide nothing there."""
    root = ET.fromstring(documents(story)[1]["junit.xml"])
    suites = {suite.get("name"): (suite.get("failures"), suite.get("errors")) for suite in root}
    assert suites == {"goals": ("1", "1"), "validity": ("0", "0"), "findings": ("0", "0")}
    assert root.get("failures") == "1"


def test_the_summary_fits_a_pull_request(story: Run) -> None:
    """Verdict, goals, figures, findings, failures."""
    text = documents(story)[1]["summary.md"].decode()
    assert text.startswith("## ❌ ComfySoak: story failed")
    assert "**[OOM](report.html#finding-OOM)**" in text
    assert len(text) < 10_000


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts_most": 0, "users": 0, "watchers": 0, "gpu": False, "log": False},
        {"prompts_most": 1},
        {"prompts_most": 1, "warmup_s": 0.0, "gpu": False},
        {"gpu": False},
        {"seal": False},
        {"duration_s": 1.0, "warmup_s": 0.0},
        {"down_from_s": 0.0, "down_for_s": 100.0},
        {"cached_share": 1.0},
        {"clock_step_s": -3600.0},
        {"duration_s": 900.0, "think_s": 60.0, "users": 2},
    ],
)
def test_a_poor_recording_makes_a_report(directory: Path, changes: dict[str, Any]) -> None:
    """Empty, one prompt, no GPU, cut off, down from the start, all cached, clock stepped, long."""
    plant(directory, **changes)
    verdict = build(directory)
    assert verdict.sentence
    assert "nan" not in (directory / "summary.md").read_text().lower()
    page = re.sub(
        r"<script.*?</script>|<style.*?</style>|Content-Security[^>]*",
        "",
        (directory / "report.html").read_text(),
        flags=re.DOTALL,
    )
    assert not re.findall(r"\bnan\b|\bNaT\b|\bNone\b|&lt;NA&gt;", page)


def test_a_journal_cut_in_mid_line_is_read_to_there(directory: Path) -> None:
    """Whoever was killed lost what it had not written."""
    plant(directory, seal=False)
    journal = next((directory / "journal").glob("*~prompts~*"))
    journal.write_bytes(journal.read_bytes()[:-40])
    assert build(directory).ended_how == "cut off"


@pytest.mark.parametrize(
    ("text", "said"), [("{", "damaged"), ('{"format": 99}', "format 99"), ("[]", "damaged"), (None, "no run directory")]
)
def test_what_cannot_be_read_is_refused_in_one_sentence(directory: Path, text: str | None, said: str) -> None:
    """A damaged, a newer and a missing run.json."""
    plant(directory, prompts_most=0, users=0, watchers=0)
    (directory / "run.json").unlink()
    if text is not None:
        (directory / "run.json").write_text(text)
    with pytest.raises(RecordingError, match=said):
        build(directory)


def test_a_damaged_table_is_named_in_one_sentence(directory: Path) -> None:
    """It says which file, and what to do."""
    plant(directory, duration_s=12.0, seal=False)
    Recording.open(directory).seal("finished")
    table = next((directory / "tables").rglob("*.parquet"))
    table.write_bytes(b"PAR1 and no more")
    with pytest.raises(RecordingError, match=r"\.parquet"):
        documents(open_run(directory))


def test_a_journal_of_a_newer_format_leaves_a_recording_that_is_not_whole(directory: Path) -> None:
    """The rest is read; the run is not valid, and the fault is named."""
    plant(directory, duration_s=12.0, seal=False)
    journal = next((directory / "journal").glob("*~prompts~*"))
    journal.write_bytes(journal.read_bytes().replace(b'"format":1', b'"format":9', 1))
    Recording.open(directory).seal("finished")
    verdict, _ = documents(open_run(directory))
    assert not verdict.valid
    assert any("could not be read" in doubt.what for doubt in verdict.doubts if doubt.name == "recording")


def process(directory: Path) -> subprocess.CompletedProcess[str]:
    """What the command line calls, in a process of its own, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-m", "comfysoak_analysis", str(directory)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_the_process_ends_with_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    """Exit code 3, nothing on stdout."""
    done = process(tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"{tmp_path} is no run directory")


def test_a_plan_of_a_newer_version_is_no_obstacle(directory: Path) -> None:
    """The default goals are judged, and a note says so."""
    plant(directory)
    run = json.loads((directory / "run.json").read_text())
    run["plan"]["from_the_future"] = {"x": 1}
    (directory / "run.json").write_text(json.dumps(run))
    verdict = build(directory)
    assert "no plan" in {doubt.name for doubt in verdict.doubts}


def test_the_process_prints_the_verdict_and_exits_with_its_code(directory: Path) -> None:
    """The same bytes as in the file."""
    plant(directory, goals=("failures.OOM = 0",), oom_at_s=(30,))
    done = process(directory)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (directory / "verdict.json").read_text()
    assert json.loads(done.stdout)["conclusion"] == "failed"


def test_a_live_page_may_ask_where_it_came_from_and_a_finished_one_nobody(directory: Path) -> None:
    """It is written beside the run, which is left as it is."""
    plant(directory, seal=False)
    before = {path.name for path in directory.iterdir()}
    write_page(directory, directory.parent / "live.html", live=True)
    assert {path.name for path in directory.iterdir()} == before
    page = (directory.parent / "live.html").read_text()
    assert "connect-src 'self'" in page
    assert '"live":true' in page
    assert "so far</h1>" in page
    Recording.open(directory).seal("finished", None)
    build(directory)
    assert "connect-src" not in (directory / "report.html").read_text()


def test_a_key_of_an_api_in_a_workflow_reaches_no_file(directory: Path) -> None:
    """The plan needs it to be run; the report is passed on."""
    secret = "sk-0123456789abcdef0123"
    run = open_run(plant(directory, node_error_at_s=(20,)))
    plan = run.recording.run.plan
    for workload in plan["workloads"]:
        workload["graph"]["6"]["inputs"]["api_key"] = secret
    run.recording.save(run.recording.run.model_copy(update={"plan": plan}))
    _, files = documents(open_run(directory))
    assert b"[redacted]" in files["report.html"]
    assert not [name for name, content in files.items() if secret.encode() in content]


def test_what_is_in_no_figure_is_told_beside_those_that_are(directory: Path) -> None:
    """Warm-up, cache, prompts without an end: a reader sees how many each leaves out."""
    rows = (
        prompt(1, outcome="success", phase="warmup"),
        prompt(2, outcome="cached"),
        prompt(3, outcome="aborted"),
        prompt(4, outcome="success"),
        prompt(5, outcome="not_sent"),
    )
    first = next(iter(tiles(only(directory, *rows))))
    assert (first.value, first.note) == ("1", "beside 1 not measured · 1 cached · 1 unended · 1 never sent")


def test_the_prompts_of_a_table_are_those_its_figures_are_about(directory: Path) -> None:
    """One failure among two measured prompts is half of them, however long the warm-up was."""
    warm = [prompt(number, outcome="success", phase="warmup") for number in range(50)]
    run = only(directory, *warm, prompt(60, outcome="success"), prompt(61, outcome="failed", code="NODE_ERROR"))
    _, files = documents(run)
    assert "| sketch-sd15 | 2 | 1 |" in files["summary.md"].decode()
    row = re.search(r"<tr><td>sketch-sd15</td>(.*?)</tr>", files["report.html"].decode())
    assert row is not None
    assert re.findall(r">([^<]+)</td>", row[1])[:2] == ["2", "50 %"]


def test_loads_of_which_little_is_known_are_in_the_table(directory: Path) -> None:
    """A staged model has no end, one whose request was lost no name: dashes in the table, and words why."""
    staged = "Requested to load Flux\nModel Flux prepared for dynamic VRAM loading. 9000MB Staged. 0 patches attached."
    evil = f"Requested to load {EVIL.replace(' ', '')}\nloaded partially 1 2 3"
    page = documents(only(directory, prompt(1), *said(staged), *said(evil, from_s=9)))[1]["report.html"].decode()
    table = page[page.index("By model") : page.index("<h3>Sockets")]
    assert "<code>Flux</code>" in table
    assert "—" in table
    assert "1 with dynamic VRAM: weights were staged" in table
    assert "<script>" not in table
