"""Wrong calls and wrong targets: one clear error, the right exit code, no traceback, no half-made run directory."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from comfysoak_core.errors import ExitCode
from tests.cli import runs

comfysoak = partial(runs.comfysoak, timeout=60)
WORKFLOWS = runs.ROOT / "scenarios" / "workflows"
SCENARIO = """\
name: bad-input
target: {{comfyui: {target}}}
workload:
  - {{workflow: {workflow}, vary: {vary}}}
load:
  - {{users: 1, for: 2s}}
"""


def run_scenario(
    folder: Path,
    *,
    target: str = "http://127.0.0.1:9",
    workflow: str = str(WORKFLOWS / "sdxl.json"),
    vary: str = "{}",
    arguments: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a scenario of one workload in `folder`."""
    (folder / "soak.yaml").write_text(SCENARIO.format(target=target, workflow=workflow, vary=vary), encoding="utf-8")
    return comfysoak("run", "soak.yaml", *arguments, cwd=folder)


def refused(done: subprocess.CompletedProcess[str], folder: Path, code: ExitCode, *words: str) -> None:
    """It said what is wrong in words, with the code, and left nothing behind."""
    assert done.returncode == code, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stdout == ""
    assert not (folder / "runs").exists()


@contextmanager
def serving(body: bytes, content_type: str = "text/html", status: int = 200) -> Iterator[str]:
    """A web server that answers everything with the same body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_no_such_scenario(tmp_path: Path) -> None:
    """A scenario that is not there."""
    refused(
        comfysoak("run", "absent.yaml", cwd=tmp_path), tmp_path, ExitCode.WRONG_CALL, "there is no scenario absent.yaml"
    )


def test_no_such_supplied_scenario(tmp_path: Path) -> None:
    """A bare name that is no supplied scenario: those there are are named."""
    refused(
        comfysoak("run", "dmeo", cwd=tmp_path), tmp_path, ExitCode.WRONG_CALL, "there is no scenario 'dmeo'", "demo"
    )


def test_broken_yaml_and_unknown_keys(tmp_path: Path) -> None:
    """Mistakes of a file are told with their line."""
    (tmp_path / "soak.yaml").write_text("name: [", encoding="utf-8")
    refused(comfysoak("run", "soak.yaml", cwd=tmp_path), tmp_path, ExitCode.WRONG_CALL, "soak.yaml:1", "not YAML")
    (tmp_path / "soak.yaml").write_text("nmae: x\n", encoding="utf-8")
    refused(comfysoak("run", "soak.yaml", cwd=tmp_path), tmp_path, ExitCode.WRONG_CALL, "unknown key 'nmae'", "'name'")


def test_a_workflow_in_the_editors_format(tmp_path: Path) -> None:
    """A workflow saved by the editor is refused with the menu entry that saves the right format."""
    editor = {"last_node_id": 9, "nodes": [{"id": 3, "type": "KSampler"}], "links": [], "version": 0.4}
    (tmp_path / "w.json").write_text(json.dumps(editor), encoding="utf-8")
    refused(run_scenario(tmp_path, workflow="w.json"), tmp_path, ExitCode.WRONG_CALL, "w.json", "Export (API)")


def test_a_workflow_that_is_not_json(tmp_path: Path) -> None:
    """A broken workflow is refused with the place where it breaks."""
    (tmp_path / "w.json").write_text('{"1": {"class_type": ', encoding="utf-8")
    refused(run_scenario(tmp_path, workflow="w.json"), tmp_path, ExitCode.WRONG_CALL, "w.json:1:22")


def test_a_workflow_that_is_not_there(tmp_path: Path) -> None:
    """A workflow file that is not there is refused by its name, with the line that names it."""
    refused(run_scenario(tmp_path, workflow="no.json"), tmp_path, ExitCode.WRONG_CALL, "no.json", "soak.yaml:4")


def test_a_variation_that_names_no_input(tmp_path: Path) -> None:
    """A path that leads to no input is refused with the nearest that does."""
    done = run_scenario(tmp_path, vary="{inputs: {3.setps: [10, 20]}}")
    refused(done, tmp_path, ExitCode.WRONG_CALL, "3.setps", "3.steps")


def test_a_target_that_refuses(tmp_path: Path) -> None:
    """A target nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = run_scenario(tmp_path, target=f"http://127.0.0.1:{port}")
    refused(done, tmp_path, ExitCode.TARGET_NOT_READY, f"127.0.0.1:{port}", "refuses connections")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<!DOCTYPE html><html><title>Login</title></html>", "text/html"),
        (b'{"hello": "world"}', "application/json"),
        (b"[1, 2", "application/json"),
        (b"", "text/plain"),
    ],
)
def test_a_target_that_is_no_comfyui(tmp_path: Path, body: bytes, content_type: str) -> None:
    """A web server of another kind is not taken for a ComfyUI."""
    with serving(body, content_type) as target:
        refused(run_scenario(tmp_path, target=target), tmp_path, ExitCode.TARGET_NOT_READY, target, "ComfyUI")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where the folder of runs should be."""
    (tmp_path / "taken").write_text("", encoding="utf-8")
    done = comfysoak("run", "--out", "taken/runs", cwd=tmp_path)
    refused(done, tmp_path, ExitCode.WRONG_CALL, "taken", "--out")


def test_too_few_file_handles(tmp_path: Path) -> None:
    """More sockets than the system allows handles for: said before the start, with the limit."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256));"
        "from comfysoak.main import main; main(['run', '--set', 'sessions.watchers=5000'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    refused(done, tmp_path, ExitCode.WRONG_CALL, "256", "ulimit -n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--target", "gpu-1:8188"),
        ("run", "--duration", "soon"),
        ("run", "--users", "0"),
        ("run", "--colour"),
        ("rnu",),
    ],
)
def test_wrong_calls(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A call that is wrong says so and has exit code 2."""
    refused(comfysoak(*arguments, cwd=tmp_path), tmp_path, ExitCode.WRONG_CALL, "Error:")


def test_a_report_of_nothing(tmp_path: Path) -> None:
    """A folder that is no run is refused in one sentence."""
    done = comfysoak("report", str(tmp_path), cwd=tmp_path)
    refused(done, tmp_path, ExitCode.NOT_VALID, "is no run directory")


def test_a_token_variable_that_is_not_set(tmp_path: Path) -> None:
    """A token that is to come from the environment and does not is missed before the start."""
    done = run_scenario(tmp_path, arguments=("--set", "target.token_variable=NO_SUCH_TOKEN"))
    refused(done, tmp_path, ExitCode.WRONG_CALL, "NO_SUCH_TOKEN", "export")
