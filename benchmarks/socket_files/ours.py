"""Our side: `python ours.py hold|listen|users PORT NUMBER SECONDS`."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from types import SimpleNamespace  # noqa: E402

import gevent  # noqa: E402
from locust.env import Environment  # noqa: E402

from benchmarks.socket_files import gauge  # noqa: E402
from comfysoak_core.clock import Anchor, AnchoredClock  # noqa: E402
from comfysoak_core.comfyui.vary import Range, Vary  # noqa: E402
from comfysoak_core.recording.layout import Layout  # noqa: E402
from comfysoak_core.scenario.plan import Plan  # noqa: E402
from comfysoak_core.scenario.workload import Workload  # noqa: E402
from comfysoak_load.process.built_in import GRAPH  # noqa: E402
from comfysoak_load.process.load_process import LoadProcess, new_journal  # noqa: E402
from comfysoak_load.sockets.connection import Connection  # noqa: E402
from comfysoak_load.users import ComfyUser  # noqa: E402

STEP = 50  # at once on their way to be open


def process_for(port: int, folder: Path) -> LoadProcess:
    """A load process as under a test, with its journal."""
    workload = Workload(name="picture", graph=GRAPH, vary=Vary(inputs={"1.color": Range(0, 0xFFFFFF)}), deadline_s=600)
    plan = Plan(name="sockets", servers=(f"http://127.0.0.1:{port}",), workloads=(workload,), stages=())
    Layout(folder).journal.mkdir()
    clock = AnchoredClock(Anchor.take())
    process = LoadProcess(plan, new_journal(folder, clock, "load-0"), clock)
    process.start()
    process.sockets.patient.opener.per_s = None  # the benchmark's server bears it
    return process


def open_sockets(process: LoadProcess, number: int) -> list[Connection]:
    """Watchers, all open."""
    opened: list[Connection] = []
    while len(opened) < number:
        some = [process.watch() for _ in range(min(STEP, number - len(opened)))]
        for connection in some:
            connection.connect()
        for connection in some:
            connection.is_open.wait()
        opened += some
    return opened


def hold(process: LoadProcess, number: int) -> None:
    """Memory per socket that is held."""
    kept = open_sockets(process, gauge.FIRST)
    before = gauge.rss_bytes()
    kept += open_sockets(process, number)
    gevent.sleep(0.5)
    open_now = sum(connection.is_open.is_set() for connection in kept)
    gauge.tell(bytes=(gauge.rss_bytes() - before) / number, held=open_now - gauge.FIRST)


def listen(process: LoadProcess, number: int, seconds: float) -> None:
    """Messages per CPU-second."""
    kept = open_sockets(process, number)
    gevent.sleep(1.0)

    def count() -> int:
        return sum(connection.messages for connection in kept)

    measured = gauge.Messages(count())
    gevent.sleep(seconds)
    measured.tell(count())


def users(process: LoadProcess, number: int) -> None:
    """Memory per user of Locust with a prompt on its way: greenlet, client, socket, the prompt's life."""
    environment = Environment(user_classes=[ComfyUser])
    environment.comfysoak = SimpleNamespace(process=process)
    group = environment.create_local_runner().user_greenlets

    def some(count: int) -> None:
        for _ in range(count):
            ComfyUser(environment).start(group)
            gevent.sleep(0.01)
        gevent.sleep(1.0)

    some(gauge.FIRST)
    before = gauge.rss_bytes()
    some(number)
    gauge.tell(bytes=(gauge.rss_bytes() - before) / number, held=process.in_flight - gauge.FIRST)


def main() -> None:
    """Do what the command line says."""
    what, port, number, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    gauge.allow_handles()
    with tempfile.TemporaryDirectory() as folder:
        process = process_for(port, Path(folder))
        if what == "listen":
            listen(process, number, seconds)
        elif what == "hold":
            hold(process, number)
        else:
            users(process, number)


if __name__ == "__main__":
    main()
