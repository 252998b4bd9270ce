"""`comfysoak compare` as people and CI call it: on recordings, baseline files, and calls that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfysoak.commands.compare import _spread
from tests.analysis.test_compare import planted
from tests.cli.runs import comfysoak


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a b --baseline c d --json", "a b --baseline c --baseline d --json"),
        ("a --baseline c --baseline d", "a --baseline c --baseline d"),
        ("--anyway a --baseline c", "--anyway a --baseline c"),
        ("a --baseline c d --html x.html", "a --baseline c --baseline d --html x.html"),
        ("a --baseline", "a --baseline"),
    ],
)
def test_baseline_takes_names_up_to_the_next_option(written: str, read: str) -> None:
    """So that a shell may expand `--baseline runs/old-*`."""
    assert _spread(written.split()) == read.split()


def test_from_runs_to_files_and_a_baseline_that_outlives_them(tmp_path: Path) -> None:
    """Every output is written, the exit code says regression, and the baseline file stands for the old runs."""
    old = [str(planted(tmp_path, n, gpu=False, watchers=0)) for n in range(4)]
    new = [str(planted(tmp_path, 10 + n, 0.8, gpu=False, watchers=0)) for n in range(4)]
    outputs = ("--markdown", "c.md", "--junit", "c.xml", "--html", "c.html")
    done = comfysoak("compare", *new, "--baseline", *old, *outputs, "--save-baseline", "main.json", cwd=tmp_path,
                     GITHUB_ACTIONS="true")  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("REGRESSION  Worse: ")
    assert "::error title=ComfySoak compare" in done.stdout
    assert "❌ worse" in (tmp_path / "c.md").read_text()
    assert 'type="regression"' in (tmp_path / "c.xml").read_text()
    assert "<title>✕ Regression" in (tmp_path / "c.html").read_text()
    saved = json.loads((tmp_path / "main.json").read_text())
    assert [run["name"] for run in saved["runs"]] == ["run-0", "run-1", "run-2", "run-3"]  # the worse ones stay out
    again = comfysoak("compare", new[0], "--baseline", "main.json", "--json", cwd=tmp_path)
    assert again.returncode == 3, again.stderr
    assert json.loads(again.stdout)["conclusion"] == "cannot tell"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run",), 2, "has no two sides"),
        (("run", "--baseline", "run"), 2, "is there twice"),
        (("run", "--baseline", "run", "--gate", "prompts.latency.p96"), 2, "did you mean 'prompts.latency.p9"),
        (("run", "--baseline", "empty.json"), 3, "is no baseline file"),
        (("nowhere", "--baseline", "run"), 2, "nowhere"),
        (("folder", "--baseline", "run"), 3, "no run directory"),
    ],
)
def test_a_wrong_call_is_one_clear_sentence(
    tmp_path_factory: pytest.TempPathFactory, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """With what to do, and without a traceback."""
    folder = tmp_path_factory.mktemp("wrong")
    planted(folder, 1, gpu=False, watchers=0, prompts_most=5).rename(folder / "run")
    (folder / "empty.json").write_text("{}")
    (folder / "folder").mkdir()
    done = comfysoak("compare", *arguments, cwd=folder)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
