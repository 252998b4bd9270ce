"""Commands that start servers: once, bounded, and never left behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import psutil
import pytest

from comfysoak_load.course.launcher import OUTPUT_MOST, Launcher
from tests.load.looping import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="load runs on Linux and macOS")


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    made = Launcher()
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("command", "status", "output"),
    [
        ([sys.executable, "-c", "print('up')"], 0, "up"),
        ("echo one; echo two >&2; exit 3", 3, "one\ntwo"),
        (["echo", "$HOME; exit 3"], 0, "$HOME; exit 3"),
    ],
)
def test_what_became_of_it(launcher: Launcher, command: list[str] | str, status: int, output: str) -> None:
    """A list is a program with its arguments, a text is for a shell; both channels are kept."""
    assert launcher.start(command) is None
    until(lambda: launcher.exit_status is not None)
    assert (launcher.exit_status, launcher.hear_out()) == (status, output)


def test_a_program_that_is_not_there(launcher: Launcher) -> None:
    """It is said in words, and is no error."""
    assert launcher.start(["/no/such/program"]) == "it cannot be run: No such file or directory"
    assert (launcher.exit_status, launcher.output) == (None, "")


def test_talk_is_cut_to_its_end(launcher: Launcher) -> None:
    """However much a command says, it does not stand still, and the last of it is kept."""
    launcher.start([sys.executable, "-c", "print('x' * 300_000); print('the end')"])
    until(lambda: launcher.exit_status is not None and launcher.output.endswith("the end"))
    assert len(launcher.output) <= OUTPUT_MOST


def test_secrets_in_its_talk_are_hidden(launcher: Launcher) -> None:
    """A command line that a script repeats does not carry its token into the recording."""
    launcher.start(["echo", "curl --api-key hunter22222"])
    until(lambda: launcher.output != "")
    assert "hunter22222" not in launcher.output


def test_what_goes_on_ends_with_us(launcher: Launcher) -> None:
    """A command that is the server itself, and what it has started, are gone before the next one and at the end."""
    launcher.start("sleep 600 & echo $!; wait")
    until(lambda: launcher.output != "")
    child = psutil.Process(int(launcher.output))
    launcher.start(["echo", "next"])
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_variables_of_the_run_are_its_own(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is a ComfySoak itself does not take itself for a part of this run."""
    monkeypatch.setenv("COMFYSOAK_RUN_DIR", "/somewhere")
    launcher.start("echo [$COMFYSOAK_RUN_DIR]")
    until(lambda: launcher.output != "")
    assert launcher.output == "[]"
