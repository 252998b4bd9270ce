"""A check that is ended half-way takes back what it has on the server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from comfysoak_core.comfyui.client import ComfyClient
from tests.check.stand import served, sound_workflow
from tests.cli.runs import eventually


@pytest.mark.parametrize(("number", "is_pending"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_nothing_of_it_is_left(tmp_path: Path, number: signal.Signals, is_pending: bool) -> None:
    """Its own prompt is interrupted or deleted and forgotten; that of somebody else goes on."""
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(sound_workflow()), encoding="utf-8")
    costs = {"KSampler": {"steps": 1000, "seconds_per_step": "10s"}}
    with served(costs=costs) as stand, ComfyClient(stand.url) as client:
        others = _somebody_elses(client) if is_pending else set()
        process = _started(stand.url, path)
        try:
            eventually(lambda: client.queue_remaining() == 1 + len(others), "a prompt of the check on the server")
            if not is_pending:
                eventually(lambda: len(client.queue().running) == 1, "the prompt running")
            process.send_signal(number)
            process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
        queue = client.queue()
        assert {*queue.running, *queue.pending} == others
        assert client.history_page(10) == ()


def _somebody_elses(client: ComfyClient) -> set[str]:
    answer = client.post_prompt(json.dumps({"prompt": sound_workflow(), "client_id": "another"}).encode())
    return {str(getattr(answer, "prompt_id", None))}


def _started(url: str, workflow: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "comfysoak", "check", url, "--workflow", str(workflow)],
        cwd=workflow.parent,
        env={**os.environ, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
