"""The command as people and CI call it: exit codes, streams, terminals, signals."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from rich.cells import cell_len

from comfysoak.check.ending import Interrupted, signals_raised
from comfysoak.check.output.terminal import Progress
from comfysoak.check.rows import KINDS, Part
from comfysoak.main import run_command
from comfysoak_core.errors import ExitCode
from tests.check.stand import Stand, served, sound_nodes, sound_workflow
from tests.cli.runs import comfysoak, eventually

_PLAIN = ("--idle", "100ms")
_NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where workflow and mapping lie."""
    (tmp_path / "w.json").write_text(json.dumps(sound_workflow()), encoding="utf-8")
    (tmp_path / "n.json").write_text(json.dumps(sound_nodes()), encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def sound() -> Iterator[Stand]:
    """A ComfyUI with nothing wrong."""
    with served() as one:
        yield one


def _rows_of(stdout: str) -> list[dict[str, Any]]:
    document: dict[str, Any] = json.loads(stdout)
    rows: list[dict[str, Any]] = document["rows"]
    return rows


def test_a_sound_server_is_told_in_every_form_at_once(sound: Stand, folder: Path) -> None:
    """Exit code 0; JSON alone on stdout; files whole; lines of JSON on stderr."""
    done = comfysoak(
        "check", sound.url, "--workflow", "w.json", "--nodes", "n.json", *_PLAIN, "--json", "--log-json",
        "--junit", "c.xml", "--html", "c.html", "--markdown", "c.md", cwd=folder,
    )  # fmt: skip
    rows = _rows_of(done.stdout)
    assert [(row["id"], row["seen"]) for row in rows if row["state"] in {"failed", "warning"}] == []
    assert (done.returncode, len(rows)) == (ExitCode.OK, len(KINDS))
    assert {json.loads(line)["event"] for line in done.stderr.splitlines()} == {"doing", "row", "ended"}
    assert (folder / "c.xml").read_text(encoding="utf-8").count("<testcase") == len(KINDS) + 1
    assert "<h1>Sound" in (folder / "c.html").read_text(encoding="utf-8")
    assert "[x] Verify COMFYUI_BASE_URL is accessible" in (folder / "c.md").read_text(encoding="utf-8")


def test_a_server_that_is_not_there_fails_one_row(folder: Path) -> None:
    """Exit code 4, the cause once, what to do next, the place in the guide; nothing beside it but skipped rows."""
    done = comfysoak("check", _NOBODY, *_PLAIN, cwd=folder, GITHUB_ACTIONS="true")
    failures = [line for line in done.stdout.splitlines() if line.startswith("  failed ")]
    assert done.returncode == ExitCode.TARGET_NOT_READY
    assert len([line for line in failures if "Its port takes connections" in line]) == 1
    assert "docs/troubleshooting.md#url.tcp" in done.stdout
    assert "\nnext  Mend url.tcp, then call this again." in done.stdout
    assert "\n::error title=ComfySoak" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workflow", "none.json"), "cannot be read"),
        (("--html", "no/where/c.html"), "there is no folder"),
        (("--idle", "soon"), "--idle"),
        (("--metrics", "127.0.0.1:9109"), "--watch"),
        (("--errors",), "there is nobody to ask"),
        (("--api", "openai"), "is about a gateway"),
        (("--token-variable", "NOT_SET", "--gateway", _NOBODY), "NOT_SET"),
        (("--bogus",), "No such option"),
    ],
)
def test_a_wrong_call_is_told_before_anything_is_asked(
    arguments: tuple[str, ...],
    words: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, one clear sentence on stderr, nothing on stdout."""
    monkeypatch.chdir(folder)
    code = run_command(["check", _NOBODY, *arguments])
    said = capsys.readouterr()
    assert (code, said.out) == (ExitCode.WRONG_CALL, "")
    assert words in said.err


def test_quiet_tells_what_complains_and_how_it_came_out(capsys: pytest.CaptureFixture[str]) -> None:
    """No row that is ok or skipped."""
    run_command(["check", _NOBODY, *_PLAIN, "--quiet"])
    said = capsys.readouterr()
    assert not re.search(r"^  (ok|skipped) ", said.out, re.MULTILINE)
    assert "1 ROW FAILED  " in said.out
    assert said.err == ""


def test_a_reader_who_leaves_does_not_change_the_exit_code(folder: Path) -> None:
    """As in `comfysoak check | head -1`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "comfysoak", "check", _NOBODY, *_PLAIN],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    words = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), words) == (ExitCode.TARGET_NOT_READY, "")


def _on_a_terminal(columns: int, *arguments: str, cwd: Path, typed: bytes = b"", **environment: str) -> str:
    """What a terminal of so many columns is sent, stderr and stdout as they come, and its own echo."""
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "comfysoak", "check", *arguments],
        cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, env={**kept, "TERM": "xterm-256color", **environment},
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, typed)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # all who wrote there have ended
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    process.wait(60)
    return said.decode()


@pytest.mark.parametrize(("columns", "no_color"), [(60, ""), (140, "1")])
def test_rows_fit_the_terminal(columns: int, no_color: str, sound: Stand, folder: Path) -> None:
    """No line is longer than it; parts in order; a row takes the place of progress; NO_COLOR leaves words alone."""
    said = _on_a_terminal(columns, sound.url, *_PLAIN, cwd=folder, NO_COLOR=no_color)
    shown = [line.rpartition("\r\x1b[K")[2] for line in said.replace("\r\n", "\n").split("\n")]
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown]
    assert max(map(cell_len, plain)) <= columns
    assert [line for line in plain if line in set(Part)] == list(Part)
    assert "…" in said
    assert not [line for line in plain if line.startswith("  …")]
    assert ("\x1b[32mok" in said) is not bool(no_color)
    assert [line for line in plain if line.startswith("  ok ")]


def test_failures_are_provoked_on_somebodys_word_alone(folder: Path) -> None:
    """It says what it will do and to whom; without a yes nothing is asked of anybody."""
    said = _on_a_terminal(100, "http://me:secret@127.0.0.1:9", "--errors", cwd=folder, typed=b"n\n")
    assert "stops no server of yours" in said
    assert "Provoke failures at http://[redacted]@127.0.0.1:9?" in said
    assert Part.CONFIGURATION.value not in said


def test_what_lasts_is_told_with_its_seconds() -> None:
    """On one line that is rewritten; hostile words steer nothing; a row takes its place."""
    stream, now_s = _Terminal(), [10.0]
    progress = Progress(stream, clock=lambda: now_s[0])
    progress.say("waiting\x1b[2J\nfor a model")
    now_s[0] += 61.4
    progress.tick()
    progress.clear()
    progress.tick()
    progress.close()
    waiting = "\r\x1b[K  … waiting [2J for a model"
    assert stream.getvalue().replace(waiting, "W", 1) == f"W{waiting}  61 s\r\x1b[K"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _signalled(tidied: list[bool], more: int) -> None:
    """SIGTERM, and some more while it tidies up."""
    with signals_raised():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            for _ in range(more):
                signal.raise_signal(signal.SIGINT)
            tidied.append(True)


@pytest.mark.parametrize(
    ("more", "is_tidied", "code"), [(2, True, ExitCode.TERMINATED), (3, False, ExitCode.INTERRUPTED)]
)
def test_a_check_that_tidies_up_is_left_to_it(more: int, is_tidied: bool, code: ExitCode) -> None:
    """The first signal raises where the check stands; the next two only say so; one more ends even that."""
    tidied: list[bool] = []
    with pytest.raises(Interrupted) as raised:
        _signalled(tidied, more)
    assert (bool(tidied), raised.value.code) == (is_tidied, code)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)]
)
def test_a_signal_ends_it_in_good_order(number: int, code: ExitCode, folder: Path) -> None:
    """In mid run: what was decided is told in every form, and no prompt of ours is left at the server."""
    slow = {"KSampler": {"steps": "{steps}", "seconds_per_step": "100s", "vram": "1 GiB"}}
    with served(costs=slow) as stand:
        process = subprocess.Popen(
            [sys.executable, "-m", "comfysoak", "check", stand.url, "--workflow", "w.json", "--json",
             "--junit", "c.xml", "--markdown", "c.md"],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        eventually(lambda: bool(_at(stand, "/queue")["queue_running"]), "a prompt runs")
        process.send_signal(number)
        out, words = process.communicate(timeout=60)
        left = _at(stand, "/queue")
        history = _at(stand, "/history")
    document = json.loads(out)
    assert (process.returncode, document["exit_code"], document["interrupted"]) == (code, code, True)
    assert {row["state"] for row in document["rows"]} <= {"ok", "skipped"}
    assert len(document["rows"]) >= len([kind for kind in KINDS.values() if kind.part is Part.CONFIGURATION])
    assert (left["queue_running"], left["queue_pending"], history) == ([], [], {})
    assert 'errors="1"' in (folder / "c.xml").read_text(encoding="utf-8")
    assert "the check was interrupted" in (folder / "c.md").read_text(encoding="utf-8")
    assert "Traceback" not in words


def _at(stand: Stand, path: str) -> Any:
    with urlopen(f"{stand.url}{path}", timeout=10) as answer:
        return json.load(answer)
