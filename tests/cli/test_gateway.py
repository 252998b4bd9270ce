"""Whole runs through a gateway: rehearsed on the simulator, and at one that tells what it should keep to itself."""

from __future__ import annotations

import http.server
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from comfysoak_core.errors import ExitCode
from comfysoak_core.recording.recording import Recording
from tests.cli.runs import comfysoak, only_run

TOKEN = "sk-Zq7xVw9Kt3Lm5Np8Rs2T"  # nobody's


def test_a_run_is_rehearsed_through_a_virtual_gateway(tmp_path: Path) -> None:
    """Without anything of one's own: closed and open load, the ComfyUI behind is watched, rows and report as ever."""
    (tmp_path / "platform.yaml").write_text(
        """\
target:
  embedded:
    gateway: open-webui
    gpu: {load_bandwidth: 64 GiB}
    costs: {KSampler: {steps: "{steps}", seconds_per_step: 2ms}}
workload: [{name: cats, prompt: ["a cat {number}"], size: 64x64, n: 2, steps: 2, deadline: 30s}]
load: [{users: 2, for: 2s}, {arrivals: 4/s, process: constant, for: 2s}]
on_undecided: pass
""",
        encoding="utf-8",
    )
    done = comfysoak("run", "platform.yaml", cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stderr
    run_dir = only_run(tmp_path)
    recording = Recording.open(run_dir)
    prompts = recording.table("prompts").to_pylist()
    gateway, comfyui = recording.run.plan["gateway"]["url"], recording.run.plan["servers"][0]
    assert {(row["server"], row["outcome"], row["outputs_received"]) for row in prompts} == {(gateway, "success", 2)}
    for row in prompts:
        assert row["scheduled_ns"] <= row["sent_ns"] <= row["end_received_ns"] <= row["fetched_ns"]
        assert row["started_server_ns"] <= row["ended_server_ns"]
    assert {row["server"] for row in recording.table("server").to_pylist()} == {comfyui}
    assert f"{gateway}/api/v1/images/generations" in (run_dir / "report.html").read_text(encoding="utf-8")


class _Listening(http.server.ThreadingHTTPServer):
    daemon_threads = True
    came: list[tuple[str, str | None]]
    elsewhere = ""


class _Platform(http.server.BaseHTTPRequestHandler):
    """Lets anybody in, tells the token back in every error, and has its pictures lie elsewhere."""

    protocol_version = "HTTP/1.1"
    server: _Listening

    def do_GET(self) -> None:
        self.server.came.append((self.path, self.headers.get("Authorization")))
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "PNG")
        self._answer(200, buffer.getvalue(), "image/png")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.server.came.append((self.path, self.headers.get("Authorization")))
        if asked.get("prompt") == "good":
            said: object = {"data": [{"url": f"{self.server.elsewhere}/a.png?sig={TOKEN}"}]}
            self._answer(200, json.dumps(said).encode(), "application/json")
        else:
            said = {"error": {"type": TOKEN, "message": f"{'x' * 50} {TOKEN}"}}
            self._answer(500, json.dumps(said).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening() -> Iterator[tuple[str, _Listening]]:
    with _Listening(("127.0.0.1", 0), _Platform) as server:
        server.came = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", server
        finally:
            server.shutdown()


def test_a_token_goes_to_the_gateway_and_nowhere_else(tmp_path: Path) -> None:
    """Not to where its pictures lie, into no file of the run, not on the terminal; whatever the gateway says of it."""
    with listening() as (url, platform), listening() as (elsewhere, storage):
        platform.elsewhere = elsewhere
        (tmp_path / "platform.yaml").write_text(
            f"""\
target: {{gateway: {{url: {url}, api: openai, token_variable: PLATFORM_TOKEN}}}}
workload:
  - {{name: good, prompt: [good], size: 8x8}}
  - {{name: bad, prompt: [bad], expect: failed}}
load: [{{users: 2, for: 2s}}]
probes: {{gpu: []}}
on_undecided: pass
""",
            encoding="utf-8",
        )
        done = comfysoak("run", "platform.yaml", cwd=tmp_path, PLATFORM_TOKEN=TOKEN)
    assert done.returncode == ExitCode.OK, done.stderr
    rows = Recording.open(only_run(tmp_path)).table("prompts").to_pylist()
    assert {row["outcome"] for row in rows if row["workflow"] == "good"} == {"success"}
    assert {row["code"] for row in rows if row["workflow"] == "bad"} == {"SUBMIT_ERROR"}
    assert {told for path, told in platform.came if path.endswith("/generations")} == {f"Bearer {TOKEN}"}
    assert storage.came
    assert {told for _, told in storage.came} == {None}
    assert TOKEN not in done.stdout + done.stderr
    holding = [path for path in only_run(tmp_path).rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert not holding
