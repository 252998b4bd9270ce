from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sets no limit")

PROGRAM = """
import resource, sys
soft, hard, sockets = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from comfysoak_core.errors import ComfySoakError
from comfysoak_load.edge.handles import check_handles, handle_limit
try:
    check_handles(sockets)
except ComfySoakError as error:
    print(int(error.exit_code), error)
else:
    print(handle_limit())
assert "gevent" not in sys.modules
"""


def asked(soft: int, hard: int, sockets: int) -> str:
    """What a process with these limits is told."""
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(sockets)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def test_the_soft_limit_is_raised_when_it_must_be() -> None:
    """A low soft limit is no obstacle where the hard one allows more."""
    assert asked(256, 1024, 50) == "256\n"
    assert asked(256, 1024, 600) == "1024\n"


def test_too_few_handles_are_said_with_the_limit_and_the_remedy() -> None:
    """When even the hard limit is too low, the message names it and how to raise it."""
    told = asked(256, 1024, 5000)
    assert told.startswith("2 5000 sockets need 5128 file handles, this process may open 1024\n")
    assert "ulimit -n 5128" in told
