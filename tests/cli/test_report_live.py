"""`report --live`: the page of a run in progress, on loopback alone, until the run ends."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from comfysoak.live_report import pause_s
from comfysoak_core.recording.recording import Recording
from tests.analysis.planted import plant


def test_the_next_page_waits_for_three_times_what_the_last_one_took() -> None:
    """Five seconds at least: watching a run never costs more than a quarter of a core."""
    assert [pause_s(took_s) for took_s in (0.1, 1.0, 20.0)] == [5.0, 5.0, 60.0]


@contextmanager
def served(run_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command on this run and the address it prints; ended afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "comfysoak", "report", "--live", str(run_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def asked(url: str, path: str, host: str | None = None) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of what is answered to exactly this path."""
    place = urlsplit(url)
    connection = HTTPConnection(str(place.hostname), place.port or 0, timeout=30)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host or place.netloc)
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode("utf-8")
    connection.close()
    return answer.status, dict(answer.getheaders()), text


def test_a_run_that_has_ended_is_served_until_an_interrupt(tmp_path: Path) -> None:
    """It says so; only the page and its state are there, only for loopback addresses, and nothing is written."""
    run_dir = plant(tmp_path / "run", name="<b>ended</b>")
    before = sorted(path.name for path in run_dir.iterdir())
    with served(run_dir) as (process, url):
        assert urlsplit(url).hostname == "127.0.0.1"
        status, headers, page = asked(url, "/")
        assert (status, headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == (200, "DENY", "nosniff")
        assert "connect-src" not in page
        assert "&lt;b&gt;ended" in page
        for path in ("/../run.json", "/run.json", "//etc/passwd", "/..%2f..%2fetc%2fpasswd", "/page/../run.json"):
            assert asked(url, path)[0] == 404
        assert asked(url, "/", host="evil.example")[0] == 403
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "The run has ended" in errors
        assert "Traceback" not in errors
    assert sorted(path.name for path in run_dir.iterdir()) == before


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    """With what to do."""
    run_dir = plant(tmp_path / "run")
    with served(run_dir) as (_, url):
        done = subprocess.run(
            [sys.executable, "-m", "comfysoak", "report", "--live", str(run_dir), "--port", str(urlsplit(url).port)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "cannot be used" in done.stderr
    assert "--port" in done.stderr


@pytest.mark.browser
def test_the_page_of_a_run_in_progress_becomes_its_report(tmp_path: Path, chromium: str) -> None:
    """Without a reload: time range, focus and place stay; then the command ends by itself."""
    sync_api = pytest.importorskip("playwright.sync_api")
    run_dir = plant(tmp_path / "run", oom_at_s=(30,), seal=False)
    lock = os.open(Recording.open(run_dir).layout.run_lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as the living supervisor of a run does
    with served(run_dir) as (process, url), sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(reduced_motion="reduce")
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(url)
        assert "so far" in page.inner_text("h1")
        stage = page.locator("#chart-vram .stage")
        stage.scroll_into_view_if_needed()
        page.wait_for_selector("#chart-vram .plot[data-drawn]")
        stage.focus()
        page.keyboard.press("+")
        address, marker = page.url, page.evaluate("() => (globalThis.sameDocument = 1)")
        place = stage.bounding_box()
        os.close(lock)
        Recording.open(run_dir).seal("finished")
        page.wait_for_function("() => document.getElementById('live').textContent.includes('this is its report')")
        assert "so far" not in page.inner_text("h1")
        assert (page.url, page.evaluate("() => globalThis.sameDocument")) == (address, marker)
        assert page.evaluate("() => document.activeElement.closest('figure').id") == "chart-vram"
        now = page.locator("#chart-vram .stage").bounding_box()
        assert place is not None
        assert now is not None
        assert abs(now["y"] - place["y"]) < 40
        assert complaints == []
        browser.close()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "the page shows its report" in errors
