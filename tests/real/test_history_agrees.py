"""Against a real ComfyUI, whatever server COMFYUI_BASE_URL names: the recording and the server's history tell the same.

    COMFYUI_BASE_URL=http://127.0.0.1:8188 make test TESTS='-m real tests'

Workflows whose nodes or models the server does not have are left out; one that needs no model is always there.
COMFYSOAK_REAL_SECONDS sets how long the load lasts (default: 60).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.cli.runs import ROOT, comfysoak, only_run

from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.errors import ExitCode
from comfysoak_core.recording.recording import Recording

pytestmark = pytest.mark.real

RECORDED = ROOT / "tests" / "data" / "recordings" / "workflows"
CANDIDATES = {
    ROOT / "scenarios" / "workflows" / "no-model.json": "{inputs: {1.color: {from: 0, to: 16777215}}}",
    RECORDED / "ksampler_tiny.json": "{seed: random}",
    RECORDED / "vae_load_decode.json": "{inputs: {2.width: {from: 64, to: 512}, 2.height: {from: 64, to: 512}}}",
    RECORDED / "steps_20.json": "{inputs: {1.tag: {from: 0, to: 1000000000}, 1.seconds_per_step: [0.01, 0.02]}}",
}
OUTCOMES = {True: {"success", "cached"}, False: {"failed", "oom", "interrupted"}}  # by what history says
HISTORY_MOST = 10_000


def knows(client: ComfyClient, workflow: Workflow) -> bool:
    """Whether the server has every node class and every model file a workflow names."""
    for node in workflow.graph.values():
        info = client.object_info(node["class_type"])
        if info is None:
            return False
        for name, spec in info["input"].get("required", {}).items():
            value = node["inputs"].get(name)
            if name.endswith("_name") and isinstance(spec[0], list) and isinstance(value, str) and value not in spec[0]:
                return False
    return True


def scenario(folder: Path, url: str, seconds: float) -> Path:
    """Ten users, and all candidates the server can run."""
    with ComfyClient(url) as client:
        usable = {path: vary for path, vary in CANDIDATES.items() if knows(client, Workflow.load(path))}
    workload = "\n".join(
        f"  - {{workflow: {path}, deadline: 2m, vary: {vary}, think: 0.1s..1s}}" for path, vary in usable.items()
    )
    path = folder / "real.yaml"
    path.write_text(
        f"name: real\ntarget: {{comfyui: {url}}}\nworkload:\n{workload}\n"
        f"load:\n  - {{users: {{from: 1, to: 10}}, for: {seconds / 4}s}}\n  - {{users: 10, for: {seconds * 3 / 4}s}}\n"
        "sessions: {watchers: 5}\non_undecided: pass\n",
        encoding="utf-8",
    )
    return path


def test_table_and_history_agree(tmp_path: Path) -> None:
    """Every accepted prompt is in the history with the same outcome, and none there is missing in the table."""
    url = os.environ["COMFYUI_BASE_URL"].rstrip("/")
    seconds = float(os.environ.get("COMFYSOAK_REAL_SECONDS", "60"))
    with ComfyClient(url, timeout_s=60) as client:
        compare(client, url, seconds, tmp_path)


def compare(client: ComfyClient, url: str, seconds: float, tmp_path: Path) -> None:
    """Run, then hold table and history against each other."""
    before = {entry.prompt_id for entry in client.history_page(HISTORY_MOST)}
    scenario(tmp_path, url, seconds)
    done = comfysoak("run", "real.yaml", cwd=tmp_path, timeout=seconds + 240)
    assert done.returncode == ExitCode.OK, done.stderr + done.stdout
    history = {entry.prompt_id: entry for entry in client.history_page(HISTORY_MOST) if entry.prompt_id not in before}
    rows = {row["id"]: row for row in Recording.open(only_run(tmp_path)).table("prompts").to_pylist()}
    accepted = {
        prompt_id for prompt_id, row in rows.items() if row["accepted_ns"] is not None and row["http_status"] == 200
    }
    print(f"{len(rows)} prompts, {len(accepted)} accepted, {len(history)} in the server's history")
    assert accepted
    assert accepted - set(history) == set()
    assert set(history) - set(rows) == set()
    for prompt_id, entry in history.items():
        assert entry.succeeded is not None
        assert rows[prompt_id]["outcome"] in OUTCOMES[entry.succeeded], rows[prompt_id]
