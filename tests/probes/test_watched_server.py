"""The whole sampler beside a whole server: the simulator in both versions, and a real ComfyUI where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfysoak_probes.fetch import Fetcher
from comfysoak_probes.server.history_length import HistoryLength
from tests.probes.answering import free_port
from tests.probes.conftest import Sample
from tests.probes.sampling import at_least, has

WORKFLOWS = Path(__file__).parents[1] / "data" / "recordings" / "workflows"
Serve = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts simulators that listen when it returns, and ends them with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int, version: str = "0.33.0") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "comfysoak", "sim", "--port", str(port), "--version", version]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"servers"')
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def submit(url: str, graph: dict[str, Any]) -> str:
    body = json.dumps({"prompt": graph}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/prompt", data=body), timeout=20) as answer:
        return str(json.load(answer)["prompt_id"])


def recorded(name: str) -> dict[str, Any]:
    graph = json.loads((WORKFLOWS / f"{name}.json").read_bytes())
    assert isinstance(graph, dict)
    return graph


@pytest.mark.parametrize("version", ["0.3.64", "0.33.0"])
def test_a_server_of_either_version_is_watched_whole(sample: Sample, serve: Serve, version: str) -> None:
    """Its GPU by DCGM text, its queue, its process, and by its log each prompt and each load of a model."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = serve(port, version)
    run = sample(gpu=[{"kind": "dcgm", "url": f"{url}/metrics"}], servers=[url], server_every_s=0.2, host_every_s=0.2)
    assert run.event("log_source")["detail"] == "log lines come by socket"
    submit(url, recorded("ksampler_tiny"))
    kept = run.wait_for("server_log", has(kind="prompt_executed"))
    assert [row["text"] for row in kept if row["kind"] == "setting"][1:2] == ["Set vram state to: NORMAL_VRAM"]
    lines = [row for row in kept if row["kind"] != "setting"]  # those it printed before we came
    assert [row["kind"] for row in lines] == [
        "prompt_got", "model_read", "model_requested", "model_loaded", "prompt_executed",
    ]  # fmt: skip
    assert lines[2]["model"]
    assert lines[3]["loaded_bytes"] > 0
    assert [row["at_ns"] for row in lines] == sorted(row["at_ns"] for row in lines)
    gpu = run.wait_for("gpu", lambda rows: any((row["memory_used_bytes"] or 0) > 0 for row in rows))[-1]
    assert (gpu["source"], gpu["missing"]) == ("dcgm", None)
    run.wait_for("server", has(highest_number=None, queue_running=0))
    run.wait_for("processes", has(role="server", pid=server.pid, server=url))


def test_a_restart_is_noticed_and_the_log_is_read_on(sample: Sample, serve: Serve) -> None:
    """Killed and started again: down, found, restarted, and the lines of the new one, its first ones included."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = serve(port)
    run = sample(gpu=[], servers=[url], server_every_s=0.2)
    run.event("log_source")
    run.wait_for("server", at_least(1))
    server.kill()
    assert run.event("server_down")["code"] == "SERVER_DOWN"
    serve(port)
    assert run.event("server_restarted")["code"] == "SERVER_RESTARTED"
    run.wait_for("events", has(kind="source_found", subject="log"))
    submit(url, recorded("basic_image"))
    kinds = [row["kind"] for row in run.wait_for("server_log", has(kind="prompt_executed"))]
    assert kinds == [*["setting"] * 8, "cache_emptied", "ready", "prompt_got", "prompt_executed"]  # settings of both


def test_canary_history_and_folders_are_watched_by_the_sampler(sample: Sample, serve: Serve) -> None:
    """Canary and history length in the rows of the server; a reason in those of folders, which the simulator lacks."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    serve(port)
    run = sample(gpu=[], servers=[url], server_every_s=0.2, log="off")
    run.wait_for("server", lambda rows: any(row["canary_answer_ns"] and row["history_length"] == 0 for row in rows))
    folders = run.wait_for("folders", at_least(2))
    assert {(row["kind"], row["missing"]) for row in folders} == {
        (kind, "all: its command line names neither its folders nor main.py") for kind in ("output", "temp")
    }


@pytest.mark.parametrize("version", ["0.3.64", "0.33.0"])
def test_the_length_of_a_simulators_history_is_that_of_its_history(serve: Serve, version: str) -> None:
    """Asked entry by entry it is as long as when it is fetched whole: empty, after some prompts, and cleared."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    serve(port, version)
    length = HistoryLength(Fetcher(url))
    assert length.read() == 0
    for number in range(5):
        submit(url, recorded("basic_image"))
        wait_for_history(url, number + 1)
    assert length.read() == 5
    clear = urllib.request.Request(f"{url}/history", data=b'{"clear": true}')
    urllib.request.urlopen(clear, timeout=20).close()
    assert length.read() == 0
    length.close()


def wait_for_history(url: str, count: int) -> None:
    """Until so many entries are there when it is fetched whole."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        with urllib.request.urlopen(f"{url}/history", timeout=20) as answer:
            if len(json.load(answer)) == count:
                return
    raise AssertionError(f"history has not {count} entries")


@pytest.mark.real
def test_a_real_server_is_watched(sample: Sample) -> None:
    """A ComfyUI that is really there: queue, memory and log lines of a prompt, by the socket."""
    url = os.environ["COMFYUI_BASE_URL"].rstrip("/")
    run = sample(servers=[url], server_every_s=0.2)
    run.event("log_source")
    image = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": os.getpid()}}
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "comfysoak-probe"}}
    submit(url, {"1": image, "2": save})
    rows = run.wait_for("server_log", has(kind="prompt_executed"))
    assert [row["kind"] for row in rows][-2:] == ["prompt_got", "prompt_executed"]
    row = next(row for row in run.wait_for("server", at_least(2)) if row["ram_total_bytes"])
    assert (row["queue_pending"], row["missing"]) == (0, None)
