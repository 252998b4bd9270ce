"""A process that sends requests through gateways without Locust: plans on standard input, rows on standard output.

Gevent patches the whole process, so it cannot be done in that of the tests.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402  # after the patch
import sys  # noqa: E402
import tempfile  # noqa: E402
from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from comfysoak_core.clock import Anchor, AnchoredClock  # noqa: E402
from comfysoak_core.scenario.plan import Plan  # noqa: E402
from comfysoak_load.gateway.client import GatewayClient  # noqa: E402
from comfysoak_load.process.load_process import LoadProcess, new_journal  # noqa: E402


def rows_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """One request of each workload of a plan, at the same time."""
    clock = AnchoredClock(Anchor.take())
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "journal").mkdir()
        process = LoadProcess(Plan.model_validate(plan), new_journal(Path(folder), clock, "load-0"), clock)
        process.start()
        clients = [GatewayClient(process, lambda *_: None) for _ in process.plan.workloads]
        sent = [
            gevent.spawn(client.generate, workload.name)
            for client, workload in zip(clients, process.plan.workloads, strict=True)
        ]
        gevent.joinall(sent, timeout=30)
        process.stop(0.0)
        return [asdict(found.get(block=False)) for found in sent]


if __name__ == "__main__":
    plans = json.load(sys.stdin)
    doing = [gevent.spawn(rows_of, plan) for plan in plans]
    gevent.joinall(doing, timeout=40)
    json.dump([found.get(block=False) for found in doing], sys.stdout)
