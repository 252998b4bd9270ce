"""The simulator as a process: its start and end, and real clients that know nothing of us."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
import websocket
from PIL import Image

from comfysoak_core.recording.journal import read_batches, stretches
from comfysoak_simulator.__main__ import main
from tests.simulator.driving import picture_graph, steps_graph

Json = Any
MODULE = [sys.executable, "-m", "comfysoak_simulator"]


@contextmanager
def process(
    settings: Json = None, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A simulator process with these settings that answers, and its base URLs."""
    with NamedTemporaryFile("w", suffix=".json") as config:
        json.dump(settings or {}, config)
        config.flush()
        started = subprocess.Popen(
            [*MODULE, "--port", "0", "--config", config.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        assert started.stdout is not None
        ready = started.stdout.readline()
    try:
        yield started, json.loads(ready)["servers"]
    finally:
        started.kill()
        started.wait()
        for pipe in (started.stdin, started.stdout):
            if pipe is not None:
                pipe.close()


def ask(url: str, body: Json = None) -> Json:
    """The JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=10) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("version", ["0.3.64", "0.33.0"])
def test_the_pattern_of_the_websocket_api_example_works(version: str) -> None:
    """Connect, queue, wait for executing null, fetch history, view: as ComfyUI's public example does."""
    with process({"version": version}) as (_, servers):
        address = servers[0].removeprefix("http://")
        client_id = str(uuid.uuid4())
        connection = websocket.WebSocket()
        connection.connect(f"ws://{address}/ws?clientId={client_id}")
        prompt_id = ask(f"{servers[0]}/prompt", {"prompt": picture_graph(side=48), "client_id": client_id})["prompt_id"]
        while True:
            received = connection.recv()
            if isinstance(received, str):
                message = json.loads(received)
                data = message["data"]
                if message["type"] == "executing" and data["node"] is None and data["prompt_id"] == prompt_id:
                    break
        connection.close()
        outputs = ask(f"{servers[0]}/history/{prompt_id}")[prompt_id]["outputs"]
        query = urllib.parse.urlencode(outputs["2"]["images"][0])
        with urllib.request.urlopen(f"{servers[0]}/view?{query}", timeout=10) as answer:
            assert Image.open(BytesIO(answer.read())).size == (48, 48)


def test_comfy_cli_runs_a_workflow(tmp_path: Path) -> None:
    """comfy-cli, told to send no telemetry, runs a workflow to its end and names its output."""
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(steps_graph(3, 0.01)))
    comfy = Path(sys.executable).parent / "comfy"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DO_NOT_TRACK": "1", "COMFY_NO_TELEMETRY": "1"}
    with process() as (_, servers):
        host, port = servers[0].removeprefix("http://").split(":")
        command = [comfy, "--skip-prompt", "--no-enable-telemetry", "run", "--workflow", workflow, "--host", host]
        done = subprocess.run(
            [*map(str, command), "--port", port, "--wait", "--timeout", "30"],
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["data"]["status"] == "completed"
    assert answer["data"]["executed_node_ids"] == ["1", "2"]
    assert "steps_00001_.png" in answer["data"]["outputs"][0]


def test_each_server_has_a_port_and_a_gpu_of_its_own() -> None:
    """Two servers: two addresses, two GPUs by UUID, and a prompt of one is unknown to the other."""
    with process({"servers": 2}) as (_, servers):
        prompt_id = ask(f"{servers[0]}/prompt", {"prompt": picture_graph()})["prompt_id"]
        assert prompt_id not in ask(f"{servers[1]}/history")
        texts = [urllib.request.urlopen(f"{server}/metrics", timeout=10).read().decode() for server in servers]
        assert len({text[text.index("UUID=") :][:48] for text in texts}) == 2


def test_an_address_of_ipv6_is_told_as_a_url() -> None:
    """What it prints can be asked as it stands."""
    started = subprocess.Popen([*MODULE, "--port", "0", "--listen", "::1"], stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        (url,) = json.loads(started.stdout.readline())["servers"]
        assert url.startswith("http://[::1]:")
        with urllib.request.urlopen(f"{url}/system_stats") as answer:
            assert json.load(answer)["system"]["comfyui_version"]
    finally:
        started.kill()
        started.communicate()


def test_sigterm_ends_it_without_close_frames() -> None:
    """As of a real server: sockets see the end of the stream, and the process is gone with exit code 0."""
    with process() as (started, servers):
        connection = websocket.WebSocket()
        connection.connect(f"ws://{servers[0].removeprefix('http://')}/ws?clientId=me")
        connection.recv()
        started.send_signal(signal.SIGTERM)
        with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
            connection.recv()
        assert started.wait(timeout=10) == 0


def test_it_ends_with_its_supervisor() -> None:
    """When the supervisor's end of the pipe closes the process ends by itself."""
    with process(environment={"COMFYSOAK_LIFELINE": "1"}) as (started, _):
        assert started.stdin is not None
        started.stdin.close()
        assert started.wait(timeout=10) is not None


def test_faults_are_journalled_in_the_run(tmp_path: Path) -> None:
    """Each fault that strikes is a row of events: code, server, kind, and what it was."""
    settings = {"faults": [{"kind": "node-error", "times": 1, "message": "told to"}]}
    with process(settings, environment={"COMFYSOAK_RUN_DIR": str(tmp_path)}) as (_, servers):
        prompt_id = ask(f"{servers[0]}/prompt", {"prompt": picture_graph()})["prompt_id"]
        while prompt_id not in ask(f"{servers[0]}/history"):
            pass
    (stretch,) = [found for found in stretches(tmp_path / "journal") if found.table == "events"]
    (batch,) = read_batches(stretch.path)
    (row,) = (dict(zip(batch.columns, values, strict=True)) for values in batch.rows)
    assert (row["source"], row["kind"], row["code"], row["server"]) == ("simulator", "fault", "NODE_ERROR", servers[0])
    assert json.loads(row["detail"])["message"] == "told to"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('{"servers": 0}', "servers"),
        ('{"faults": [{"kind": "no-such"}]}', "no-such"),
        ('{"costs": {"KSampler": {"seconds": "{steps} ** 2"}}}', "expected arithmetic"),
        ('{"costs": "absent.yaml"}', "absent.yaml"),
        ('{"log": "absent/server.log"}', "absent/server.log cannot be written"),
        ("[1, 2]", "expected an object"),
        ("{broken", "cannot read"),
    ],
)
def test_a_wrong_configuration_is_told_in_one_piece(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, said: str
) -> None:
    """Exit code 2, what is wrong, no traceback."""
    path = tmp_path / "embedded.json"
    path.write_text(config)
    assert main(["--config", str(path)]) == 2
    out, told = capsys.readouterr()
    assert said in told
    assert "Traceback" not in told
    assert out == ""


def test_a_taken_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A port somebody else listens on: exit code 2 and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["--port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen" in capsys.readouterr().err


def test_a_port_beyond_the_last_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Also the second server's, which follows the first's."""
    assert main(["--port", "70000"]) == 2
    assert "cannot listen on 127.0.0.1:70000" in capsys.readouterr().err
