"""`comfysoak report --live`: the report of a run in progress on a loopback port, made again and again by a child.

The page renews itself (`templates/page.js`); here is what it asks: `/` or `/page` for the newest page, `/state` for its
number. Nothing else is served, no path is ever opened by its name, and only what asks for a loopback address is
answered: a page of a stranger that gave its own name our address gets nothing.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

from comfysoak_core.errors import ComfySoakError, UsageError
from comfysoak_core.recording.recording import Recording

LEAST_APART_S = 5.0
TIMES_APART = 3.0  # of what the last one took: the report never has more than a quarter of a core
FETCHED_WITHIN_S = 10.0  # after the end, for a page that still watches
_POLL_S = 0.1
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page brings the rest of it
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class State:
    """What is served: a page, its number, and a line on how it stands."""

    page: bytes
    version: int
    running: bool
    words: str


def pause_s(took_s: float) -> float:
    """How long to rest after an analysis that took so long."""
    return max(LEAST_APART_S, TIMES_APART * took_s)


class LiveReport:
    """The pages of one run: made one after the other, served meanwhile, until the run or the caller ends."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._child: subprocess.Popen[bytes] | None = None
        self.stop = threading.Event()
        self.final_fetched = threading.Event()
        self.state = State(b"", 0, running=True, words="")

    def make(self) -> float:
        """Make the page once, in a process of its own; the seconds that took. Raises ComfySoakError with its words."""
        began = time.monotonic()
        recording = Recording.open(self._run_dir)
        running = recording.is_running()
        if not running:
            recording.seal_if_cut_off()
        with tempfile.TemporaryDirectory(prefix="comfysoak-live-") as folder:
            page = self._made(Path(folder) / "report.html", running=running)
        took_s = time.monotonic() - began
        words = f"in progress, as of {datetime.now(UTC):%H:%M:%S} UTC; renewed every {pause_s(took_s) + took_s:.0f} s"
        self.state = State(page, self.state.version + 1, running, words if running else "the run has ended")
        return took_s

    def _made(self, target: Path, *, running: bool) -> bytes:
        command = [sys.executable, "-m", "comfysoak_analysis", str(self._run_dir), "--page", str(target)]
        self._child = subprocess.Popen(
            [*command, "--live"] if running else command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C ends it by us, without a traceback of its own
        )
        errors = b""
        while True:
            try:
                errors = self._child.communicate(timeout=_POLL_S)[1]
                break
            except subprocess.TimeoutExpired:
                if self.stop.is_set():
                    self._child.kill()
        if not target.exists():
            lines = errors.decode("utf-8", "replace").strip().splitlines() or ["the analysis was ended"]
            raise ComfySoakError(f"the report could not be made: {lines[-1]}")
        return target.read_bytes()

    def renew(self, took_s: float) -> None:
        """Make it again and again until the run has ended or `stop` is set; a failure leaves the last page."""
        while self.state.running and not self.stop.wait(pause_s(took_s)):
            began = time.monotonic()
            try:
                took_s = self.make()
            except ComfySoakError as error:
                took_s = time.monotonic() - began
                last = self.state
                self.state = State(last.page, last.version, running=True, words=f"not renewed: {error}")


def serve(run_dir: Path, port: int) -> None:
    """Serve the report of `run_dir` until its run has ended and was shown, or somebody interrupts.

    A run that has ended already is served until somebody interrupts. Raises ComfySoakError when no first page can be
    made, UsageError when the port is taken.
    """
    live = LiveReport(run_dir)
    with ExitStack() as stack:
        for name in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, name, signal.getsignal(name))
            signal.signal(name, lambda _signal, _frame: live.stop.set())
        server = _bound(live, port)
        stack.callback(server.server_close)
        took_s = _first(live)
        if live.stop.is_set():
            return
        threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True).start()
        stack.callback(server.shutdown)
        was_running = live.state.running
        click.echo(f"http://127.0.0.1:{server.server_port}/")
        click.echo(_how_it_stands(was_running=was_running), err=True)
        renewing = threading.Thread(target=live.renew, args=(took_s,))
        renewing.start()
        _wait(live, was_running=was_running)
        live.stop.set()
        renewing.join()


def _first(live: LiveReport) -> float:
    try:
        return live.make()
    except ComfySoakError:
        if live.stop.is_set():
            return 0.0
        raise


def _how_it_stands(*, was_running: bool) -> str:
    if was_running:
        return "The run is in progress; the page renews itself, and this ends with the run. Ctrl-C ends it before."
    return "The run has ended: this is its report. Ctrl-C ends serving it."


def _wait(live: LiveReport, *, was_running: bool) -> None:
    """Until it is over; who still watches is given time to fetch the last page."""
    while not live.stop.wait(_POLL_S):
        if was_running and not live.state.running:
            fetched = live.final_fetched.wait(FETCHED_WITHIN_S)
            click.echo("The run has ended" + ("; the page shows its report." if fetched else "."), err=True)
            return


def _bound(live: LiveReport, port: int) -> ThreadingHTTPServer:
    handler = type("LiveHandler", (_Handler,), {"live": live})
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise UsageError(f"port {port} cannot be used: {error.strerror}", "Choose another: --port 8100") from None
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    """Answers for two things, and only to this machine."""

    live: LiveReport
    timeout = 10
    server_version, sys_version = "ComfySoak", ""

    def do_GET(self) -> None:
        """The page, its state, or a refusal."""
        state, path = self.live.state, self.path.partition("?")[0]
        if not self._is_asked_for_here():
            self._answer(403, "text/plain", b"Only loopback addresses are answered.\n")
        elif path in ("/", "/page"):
            self._answer(200, "text/html; charset=utf-8", state.page)
            if not state.running:
                self.live.final_fetched.set()
        elif path == "/state":
            said = {"version": state.version, "running": state.running, "words": state.words}
            self._answer(200, "application/json", json.dumps(said).encode())
        else:
            self._answer(404, "text/plain", b"Only the report is served here; other files lie in the run's folder.\n")

    def _is_asked_for_here(self) -> bool:
        _, port = self.connection.getsockname()
        return self.headers.get("Host") in (f"127.0.0.1:{port}", f"localhost:{port}")

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the name of the base class
        """Nothing: a page asks every second."""
