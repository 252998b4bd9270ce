"""The embedded simulator, for tests that need a ComfyUI."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def simulated(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A simulator of its own; its base URL and process."""
    with simulated_fleet(*options) as (servers, process):
        yield servers[0], process


@contextmanager
def simulated_fleet(*options: str) -> Iterator[tuple[list[str], subprocess.Popen[str]]]:
    """Several simulated servers in one process; their base URLs and the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "comfysoak", "sim", "--port", "0", "--speed", "100", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["servers"], process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    """The base URL of a simulator that all tests of this process share."""
    with simulated() as (url, _):
        yield url


@pytest.fixture
def own_simulator() -> Callable[..., object]:
    """Starts a simulator that a test may mistreat."""
    return simulated
