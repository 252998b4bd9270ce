"""A child ends when its supervisor does, however busy it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from comfysoak_core.lifeline import LIFELINE_VARIABLE

IDLE = "from comfysoak_core import lifeline; import time; lifeline.hold(); print('held', flush=True); time.sleep(60)"
DEAF = IDLE.replace("hold()", "hold(hears=False)")
DEAF_GEVENT = "import gevent.monkey; gevent.monkey.patch_all(); " + DEAF
TWO_READERS = """
import os, time
from comfysoak_core import lifeline
child = os.fork()
lifeline.hold(hears=bool(child))
print('held', flush=True) if child else None
while not (said := lifeline.words()):
    time.sleep(0.01)
print(f"{'parent' if child else 'child'} heard {said}", flush=True)
time.sleep(60)
"""
BUSY_GEVENT = """
import gevent.monkey; gevent.monkey.patch_all()
import signal
from comfysoak_core import lifeline
signal.signal(signal.SIGTERM, lambda *_: None)
lifeline.hold(grace_s=0.2)
print('held', flush=True)
while True:
    pass
"""


def start(code: str) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, LIFELINE_VARIABLE: "1"},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    return child


@pytest.mark.parametrize(
    ("code", "status"),
    [(IDLE, -signal.SIGTERM), (DEAF, -signal.SIGTERM), (DEAF_GEVENT, -signal.SIGTERM), (BUSY_GEVENT, 143)],
)
def test_a_child_ends_with_its_parent(code: str, status: int) -> None:
    """An idle child takes the SIGTERM; one that ignores it and never yields its event loop is ended all the same."""
    with start(code) as child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(20) == status


def test_without_a_supervisor_nothing_is_watched() -> None:
    """A process that nobody supervises does not mind its standard input."""
    done = subprocess.run(
        [sys.executable, "-c", "from comfysoak_core import lifeline; print(lifeline.hold())"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        env={name: value for name, value in os.environ.items() if name != LIFELINE_VARIABLE},
    )
    assert done.stdout == b"False\n"


def test_a_word_reaches_the_one_that_hears() -> None:
    """Of two processes with one standard input the deaf one takes no word, and ends with it all the same."""
    with start(TWO_READERS) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for number in range(20):
            child.stdin.write(f"word {number}\n".encode())
            child.stdin.flush()
        assert child.stdout.readline().startswith(b"parent heard ['word 0'")
        child.stdin.close()
        assert child.stdout.read() == b""  # at the end of the last of them
        assert child.wait(20) == -signal.SIGTERM
