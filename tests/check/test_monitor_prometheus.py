"""A real Prometheus scrapes the monitor, and answers the queries that docs/check.md names."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml

from tests.check.stand import Stand, served
from tests.check.test_monitor import others
from tests.check.test_monitor_command import asked, watching
from tests.cli.runs import ROOT, eventually

pytestmark = pytest.mark.prometheus

EXAMPLES = ROOT / "scenarios" / "monitoring"


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """One that scrapes `target` twice a second, with the alert rules that are shipped; where it listens."""
    shutil.copy(EXAMPLES / "alerts.yml", folder / "alerts.yml")
    written = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text(encoding="utf-8"))
    written["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    written["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    written.pop("alerting", None)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(written), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        at = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "prometheus.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={at}"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield at
        finally:
            process.kill()
            process.wait()


def query(at: str, text: str) -> dict[tuple[str, ...], float]:
    """The answer to a query: values by those labels that are not Prometheus's own; empty while there is none."""
    try:
        with urlopen(f"http://{at}/api/v1/query?query={quote(text)}", timeout=10) as answer:
            document: dict[str, Any] = json.load(answer)
    except OSError:
        return {}
    ours = ("__name__", "instance", "job")
    return {
        tuple(value for name, value in sorted(one["metric"].items()) if name not in ours): float(one["value"][1])
        for one in document["data"]["result"]
    }


def holds(at: str, text: str, *values: float) -> None:
    """Wait until a query has exactly these values."""
    eventually(lambda: sorted(query(at, text).values()) == sorted(values), f"{text} is {values}")


def test_prometheus_understands_all_of_it(tmp_path: Path) -> None:
    """What goes well, then somebody's failure, then a restart: as queries see them."""
    with served() as stand, watching(stand.url, tmp_path, "--canary-every", "1s") as (_, target):
        checked = subprocess.run(
            ["promtool", "check", "metrics"],
            input=asked(target, "/metrics")[1],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
        with prometheus(tmp_path, target) as at:
            holds(at, "comfysoak_comfyui_up", 1)
            holds(at, "comfysoak_websocket_healthy", 1)
            holds(at, "sum(comfysoak_canary_results_total{result='success'}) > bool 1", 1)
            holds(at, "histogram_quantile(0.9, rate(comfysoak_canary_duration_seconds_bucket[10s])) > bool 0", 1)
            holds(at, "time() - comfysoak_monitor_last_look_timestamp_seconds < bool 10", 1)
            holds(at, "count(comfysoak_configuration_info)", 1)
            _failure(stand, at)
            _restart(stand, at)


def _failure(stand: Stand, at: str) -> None:
    graph = {
        "1": {"class_type": "HarnessFail", "inputs": {"message": "on purpose"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    others(stand, graph)
    holds(at, "comfysoak_generations_total{result='failure',code='NODE_ERROR'}", 1)


def _restart(stand: Stand, at: str) -> None:
    stand.do(stand.server.kill())
    holds(at, "comfysoak_comfyui_up", 0)
    holds(at, "comfysoak_fault{code='SERVER_DOWN'}", 1)
    eventually(lambda: _states(at, "ComfyUIDown") == ("pending",), "the alert has begun")
    stand.do(stand.server.begin())
    holds(at, "comfysoak_comfyui_up", 1)
    holds(at, "comfysoak_comfyui_restarts_total", 1)
    holds(at, "comfysoak_websocket_closes_total{code='1006'}", 2)


def _states(at: str, alert: str) -> tuple[str, ...]:
    with urlopen(f"http://{at}/api/v1/alerts", timeout=10) as answer:
        alerts = json.load(answer)["data"]["alerts"]
    return tuple(one["state"] for one in alerts if one["labels"]["alertname"] == alert)


def test_the_examples_are_ones_that_prometheus_takes() -> None:
    """Its own tool finds no mistake in them, and each rule names a metric that is there."""
    checked = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=EXAMPLES, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = subprocess.run(
        ["promtool", "test", "rules", "alerts-test.yml"], cwd=EXAMPLES, capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
