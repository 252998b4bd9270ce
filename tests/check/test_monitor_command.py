"""`comfysoak check --watch` as people and orchestrators call it: addresses, signals, a server that stands still."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from comfysoak_core.scenario.faults import Frozen
from tests.check.stand import served, sound_workflow
from tests.check.test_monitor import alive
from tests.cli.runs import comfysoak, eventually


@contextmanager
def watching(url: str, folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`comfysoak check --watch`, and where it listens."""
    (folder / "w.json").write_text(json.dumps(sound_workflow()), encoding="utf-8")
    log = (folder / "log.jsonl").open("w", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "comfysoak", "check", url, "--workflow", "w.json", "--watch", "500ms",
         "--metrics", "127.0.0.1:0", "--log-json", *more],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
    )  # fmt: skip
    try:
        eventually(lambda: bool(lines(folder, "started")), "the monitor listens")
        yield process, f"127.0.0.1:{lines(folder, 'started')[0]['port']}"
    finally:
        process.kill()
        process.communicate()
        log.close()


def lines(folder: Path, event: str) -> list[dict[str, Any]]:
    """What was logged of a kind."""
    found = []
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return [one for one in found if one["event"] == event]


def asked(at: str, path: str) -> tuple[int, str]:
    """Status and text."""
    try:
        with urlopen(f"http://{at}{path}", timeout=10) as answer:
            return int(answer.status), answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_mid_canary_takes_it_back(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Within two seconds; nothing is left in queue and history, and its log ends with a line that says so."""
    with served(costs={"KSampler": {"steps": 1000, "seconds_per_step": "10s"}}) as stand:
        with watching(stand.url, tmp_path) as (process, at):
            eventually(lambda: alive(stand)[0] == 1, "the canary runs")
            assert asked(at, "/healthz") == (200, "ok\n")
            process.send_signal(number)
            out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (code, "")
        assert alive(stand) == (0, 0)
        assert lines(tmp_path, "ended")[-1]["left"] is None
        assert {one["close_code"] for one in lines(tmp_path, "socket_closed")} == {1000}


def test_a_frozen_server_keeps_nobody_waiting(tmp_path: Path) -> None:
    """/metrics and /healthz are answered while a look hangs; a signal ends it all the same."""
    with served() as stand, watching(stand.url, tmp_path, "--canary-every", "never") as (process, at):
        eventually(lambda: asked(at, "/readyz")[0] == 200, "the target is ready")
        stand.loop.call_soon_threadsafe(stand.server._afflictions.suffer, Frozen(kind="frozen", lasting=60))
        eventually(lambda: _no_look_ends(at), "a look hangs")  # for 10 s; asking takes 1 s
        assert asked(at, "/healthz") == (200, "ok\n")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == 143
        stand.loop.call_soon_threadsafe(stand.server._afflictions.thawed.set)


def _no_look_ends(at: str) -> bool:
    """Whether two answers a second apart, in which two looks are due, tell of the same number of looks."""
    told = []
    for _ in range(2):
        text = asked(at, "/metrics")[1]
        told.append([line for line in text.splitlines() if line.startswith("comfysoak_monitor_looks_total")])
        time.sleep(1.0)
    return told[0] == told[1]


def test_wrong_calls_are_told(tmp_path: Path) -> None:
    """Exit code 2, one sentence: outputs of a check that ends, an address that is none, no target, a port in use."""
    with served() as stand:
        port = stand.server.port
        for arguments, words in (
            ((stand.url, "--watch", "1s", "--html", "c.html"), "--watch does not end"),
            ((stand.url, "--watch", "1s", "--metrics", "here"), "expected HOST:PORT"),
            ((stand.url, "--watch", "1s", "--metrics", f"127.0.0.1:{port}"), "Address already in use"),
            ((stand.url, "--watch", "1s", "--errors"), "--errors is of a check that ends"),
            ((stand.url, "--watch", "1s", "--hold", "5m"), "--hold is of a check that ends"),
            (("--watch", "1s"), "needs the address"),
            ((stand.url, "--canary-every", "1s"), "add --watch"),
        ):
            environment: dict[str, Any] = {name: "" for name in os.environ if name.startswith("COMFYUI_")}
            done = comfysoak("check", *arguments, cwd=tmp_path, **environment)
            assert (done.returncode, done.stdout) == (2, ""), arguments
            assert words in done.stderr
