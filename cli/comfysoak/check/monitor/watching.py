"""The monitor at work, from the call to the signal that ends it.

The main thread sends canaries, for a signal is raised there, and what is on the server is taken back where it stands; a
thread looks, one minds the sockets, one answers Prometheus.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

from comfysoak.check.ending import Interrupted, signals_raised
from comfysoak.check.monitor.happening import Happening
from comfysoak.check.monitor.logbook import Logbook
from comfysoak.check.monitor.monitor import Monitor, Read
from comfysoak.check.monitor.rhythm import Clocks, Rhythm
from comfysoak.check.monitor.serving import Answers, listener_on
from comfysoak.check.telling import Telling
from comfysoak_core.errors import ExitCode, UsageError
from comfysoak_probes.remote.service import Service

ENDS_WITHIN_S: Final = 1.5  # and the interpreter takes some time to end
IDLE_S: Final = 0.5


def watch(read: Read, rhythm: Rhythm, metrics: str | None, telling: Telling) -> ExitCode:
    """Stay until a signal, whose code is returned; UsageError for a call that cannot be understood."""
    _check_call(telling)
    logbook = Logbook(sys.stderr, as_json=telling.log_json, quiet=telling.quiet)
    listener = listener_on(metrics) if metrics is not None else None
    monitor = Monitor(read, rhythm, logbook.tell, Clocks())
    is_over = threading.Event()
    service = None
    if listener is not None:
        service = Service(listener, Answers(monitor.metrics, monitor.ailing, monitor.not_ready)).start()
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        words = f"listening on http://{shown}:{port}: /metrics, /healthz, /readyz"
        logbook.tell(Happening("started", words, {"host": host, "port": port}))
    end, code = _End(monitor, logbook), ExitCode.OK
    try:
        with signals_raised(end.begin):
            _stay(monitor, is_over)
    except Interrupted as interruption:
        code = interruption.code
    finally:
        is_over.set()
        _close(monitor)
        if service is not None:
            service.close()
        end.cancel()
    logbook.tell(Happening("ended", "ended by a signal", {"exit_code": int(code), "left": None}))
    return code


def _stay(monitor: Monitor, is_over: threading.Event) -> None:
    monitor.learn()
    if not monitor.is_reachable:
        raise UsageError(
            "--watch needs the address of a ComfyUI, and none is known", "Name it: comfysoak check URL --watch 30s"
        )
    steps = {"looks": monitor.keep_looking, "sockets": monitor.keep_sockets}
    for name, step in steps.items():
        thread = threading.Thread(target=step, args=(is_over,), name=name, daemon=True)
        thread.start()
        monitor.threads.append(thread)
    while not is_over.wait(IDLE_S):
        monitor.guarded(monitor.mind_canary)


def _close(monitor: Monitor) -> None:
    """Say goodbye, as far as the other side answers in time."""
    closing = threading.Thread(target=monitor.sockets.close, daemon=True)
    closing.start()
    closing.join(0.5)
    for thread in monitor.threads:
        thread.join(0.1)
    monitor.stop_looking()


class _End:
    """A server that stands still must not keep us: after a while the process ends, and says what may be left."""

    def __init__(self, monitor: Monitor, logbook: Logbook) -> None:
        self._monitor = monitor
        self._logbook = logbook
        self._timer: threading.Timer | None = None

    def begin(self, code: ExitCode) -> None:
        """A signal came: it ends in time from here on."""
        self._timer = threading.Timer(ENDS_WITHIN_S, self._end, (code,))
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """All is put back."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, code: ExitCode) -> None:
        left = self._monitor.in_flight
        after = f": canary {left} may be left there" if left else ""
        words = f"the server did not answer in time{after}"
        self._logbook.tell(Happening("ended", words, {"exit_code": int(code), "left": left}))
        os._exit(int(code))


def _check_call(telling: Telling) -> None:
    named = {"--junit": telling.junit, "--html": telling.html, "--markdown": telling.markdown}
    wrong = [option for option, path in named.items() if path is not None] + (["--json"] if telling.as_json else [])
    if wrong:
        raise UsageError(
            f"{wrong[0]} tells how a check came out, and --watch does not end",
            "Leave one of them out; --log-json has what happens as lines of JSON.",
        )
