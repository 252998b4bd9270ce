"""The token of a target: sent to it, and in no file of the run nor on the terminal, whatever the target says of it."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.utils import accept_key

from comfysoak_core.errors import ExitCode
from comfysoak_core.recording.recording import Recording
from tests.cli.runs import ROOT, comfysoak, only_run

TOKEN = "Zq7xVw9Kt3Lm5Np8Rs2T"
SCENARIO = f"""\
name: token
target: {{comfyui: URL, token_variable: SOAK_TOKEN}}
workload: [{{workflow: {ROOT}/scenarios/workflows/no-model.json}}]
load: [{{users: 1, for: 2s}}]
"""


class _Talkative(http.server.BaseHTTPRequestHandler):
    """Knows all nodes, takes no prompt, and repeats the token it was sent wherever it can."""

    protocol_version = "HTTP/1.1"
    ready = True
    came: list[str]

    def do_GET(self) -> None:
        if self.path == "/system_stats" and self.ready:
            argv = ["main.py", "--who", TOKEN, f"asked by {TOKEN}"]
            self._answer(200, {"system": {"comfyui_version": "0.33.0", "argv": argv}, "devices": []})
        elif self.path.startswith("/ws") and self.ready:
            self._upgrade()
        elif self.path.startswith("/object_info/"):
            self._answer(200, {self.path.rsplit("/", 1)[-1]: {"input": {}}})
        else:
            self._refuse()

    def _upgrade(self) -> None:
        """A WebSocket that ends as soon as it is open."""
        self.came.append(self.headers.get("Authorization", ""))
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(self.headers["Sec-WebSocket-Key"]))
        self.end_headers()
        self.close_connection = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._refuse()

    def _refuse(self) -> None:
        self.came.append(self.headers.get("Authorization", ""))
        self._answer(401, {"error": {"type": TOKEN, "message": f"no entry for {TOKEN}", "details": "x" * 40 + TOKEN}})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def talkative() -> Iterator[tuple[str, type[_Talkative]]]:
    """Its address, and its handler."""
    handler = type("Handler", (_Talkative,), {"came": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def texts(directory: Path) -> Iterator[str]:
    """All that stands in a run directory: its files, and the cells of its tables."""
    for path in directory.rglob("*"):
        if path.is_file() and path.suffix != ".parquet":
            yield path.read_text(encoding="utf-8", errors="replace")
    recording = Recording.open(directory)
    for folder in (directory / "tables").iterdir():
        if folder.is_dir():
            yield json.dumps(recording.table(folder.name).to_pylist())


def test_a_token_is_in_no_file_of_the_run(tmp_path: Path, talkative: tuple[str, type[_Talkative]]) -> None:
    """Neither the token nor a telling part of it is kept, though the server says it in each answer."""
    url, handler = talkative
    (tmp_path / "soak.yaml").write_text(SCENARIO.replace("URL", url), encoding="utf-8")
    done = comfysoak("run", "soak.yaml", cwd=tmp_path, SOAK_TOKEN=TOKEN)
    assert f"Bearer {TOKEN}" in handler.came
    found = list(texts(only_run(tmp_path)))
    assert any("no entry for [redacted]" in text for text in found), done.stderr
    assert not [text for text in [*found, done.stdout, done.stderr] if TOKEN[:8] in text]


def test_a_target_that_refuses_the_token(tmp_path: Path, talkative: tuple[str, type[_Talkative]]) -> None:
    """The error says that a token is wanted, and does not repeat it."""
    url, handler = talkative
    handler.ready = False
    (tmp_path / "soak.yaml").write_text(SCENARIO.replace("URL", url), encoding="utf-8")
    done = comfysoak("run", "soak.yaml", cwd=tmp_path, SOAK_TOKEN=TOKEN)
    assert done.returncode == ExitCode.TARGET_NOT_READY
    assert "401" in done.stderr
    assert "token_variable" in done.stderr
    assert TOKEN[:8] not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_token_that_cannot_be_one(tmp_path: Path) -> None:
    """A line break or a quote in a token is told before anything is sent."""
    (tmp_path / "soak.yaml").write_text(SCENARIO.replace("URL", "http://127.0.0.1:9"), encoding="utf-8")
    for token in (f'"{TOKEN}"', f"{TOKEN}\n"):
        done = comfysoak("run", "soak.yaml", cwd=tmp_path, SOAK_TOKEN=token)
        assert done.returncode == ExitCode.WRONG_CALL
        assert "SOAK_TOKEN holds characters that no token has" in done.stderr
        assert TOKEN[:8] not in done.stderr


def test_a_probe_whose_token_is_not_set(tmp_path: Path) -> None:
    """It is told before anything is sent, with the variable's name."""
    probe = "probes: {gpu: [{probe: 'http://127.0.0.1:9', token_variable: PROBE_SECRET}]}\n"
    (tmp_path / "soak.yaml").write_text(SCENARIO.replace("URL", "http://127.0.0.1:9") + probe, encoding="utf-8")
    done = comfysoak("run", "soak.yaml", cwd=tmp_path, SOAK_TOKEN=TOKEN)
    assert done.returncode == ExitCode.WRONG_CALL
    assert "token_variable names PROBE_SECRET, which is not set" in done.stderr
