"""Receive times: how wrong `ended` is at 80 % CPU, against the server's own clock, and whether its bound holds.

The server is a process of its own on this machine, so both have one clock; it notes the moment before and after it
hands each prompt's last message to the kernel. An error is how far a time lies outside of that span; a bound is
exceeded when it does not reach back to it. The user-space time of the same messages, in the same run, is what a client
without kernel stamps has. (The delay of about 0.8 s of the first end of a fresh ComfyUI is in the server, before that.)
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Figure

ROOT = Path(__file__).parents[1]
CERTIFICATE = ROOT / "tests" / "load" / "data" / "localhost.pem"
ROUNDS = 5
PROMPTS, PROMPTS_FULL = 150, 1000
SOCKETS = 8
NEVER_WITHIN_S = 180.0
GOAL_SHARE = 1 / 20
TOLERANCE_NS = 100_000  # of the conversion between clocks


@dataclass(frozen=True, slots=True)
class Run:
    """What one run found; errors in ns, in the order of prompts."""

    ours: list[int]
    user_space: list[int]
    exceeded: int
    busy: float


def measure(*, full: bool) -> Iterator[Figure]:
    """The figures, plain and over TLS."""
    prompts = PROMPTS_FULL if full else PROMPTS
    for scheme in ("http", "https"):
        runs = [_run(scheme, prompts) for _ in range(ROUNDS)]
        yield _error(scheme, prompts, runs)
        yield _exceeded(scheme, prompts, runs)


def _error(scheme: str, prompts: int, runs: list[Run]) -> Figure:
    shares = [_p99(run.ours) / _p99(run.user_space) for run in runs]
    own, other = (statistics.median(_p99(errors) for errors in side) / 1e6
                  for side in ([run.ours for run in runs], [run.user_space for run in runs]))  # fmt: skip
    busy = statistics.median(run.busy for run in runs)
    return Figure(
        name=f"error of `ended`, {scheme}, p99 of {prompts} prompts at {busy:.0%} CPU",
        value=own,
        unit="ms",
        goal="at most 1/20 of user space",
        met=statistics.median(shares) <= GOAL_SHARE,
        peer="user space, same messages",
        peer_value=other,
        ratio=1 / max(statistics.median(shares), 1e-9),
        spread=f"1/{1 / max(*shares, 1e-9):.0f}..1/{1 / max(min(shares), 1e-9):.0f}",
        runs=len(runs),
    )


def _exceeded(scheme: str, prompts: int, runs: list[Run]) -> Figure:
    return Figure(
        name=f"ends whose error exceeds its bound, {scheme}, of {prompts * len(runs)}",
        value=sum(run.exceeded for run in runs),
        unit="prompts",
        goal="none",
        met=not any(run.exceeded for run in runs),
        runs=len(runs),
    )


def _p99(values: list[int]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[-1]


def _run(scheme: str, prompts: int) -> Run:
    certificate = [str(CERTIFICATE)] if scheme == "https" else []
    server = _start("server", str(prompts), str(SOCKETS), *certificate)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        client = _start("client", f"{scheme}://127.0.0.1:{port}", str(prompts), str(SOCKETS), *certificate)
        said, errors = client.communicate(timeout=NEVER_WITHIN_S)
        ends = json.loads(server.stdout.readline() or "{}")
    finally:
        server.kill()
        server.wait(10)
    if client.returncode or not said:
        raise RuntimeError(f"the client measured nothing:\n{errors[-2000:]}")
    return _compared(json.loads(said), ends, prompts)


def _compared(told: dict[str, object], ends: dict[str, tuple[int, int]], prompts: int) -> Run:
    found = told["ends"]
    assert isinstance(found, dict)
    if len(found) != prompts or found.keys() != ends.keys():
        raise RuntimeError(f"{len(found)} of {prompts} ends were heard")
    ours, user_space, exceeded = [], [], 0
    for prompt, (before, after) in ends.items():
        at_ns, error_ns, user_ns = found[prompt]
        ours.append(max(at_ns - after, before - at_ns, 0))
        user_space.append(max(user_ns - after, 0))
        exceeded += at_ns - error_ns > after + TOLERANCE_NS or at_ns < before - TOLERANCE_NS
    return Run(ours, user_space, exceeded, float(str(told["busy"])))


def _start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.time_files.{script}", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if script == "client" else subprocess.DEVNULL,
        text=True,
    )
