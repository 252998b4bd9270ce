"""The call that sends a failed prompt again is run by a real shell, with a stand-in for curl."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from comfysoak_analysis import Run
from comfysoak_analysis.resend import call, varied_graph
from tests.analysis.planted import graph


def test_the_graph_has_its_variation_in_it(story: Run) -> None:
    """The seed of the failed prompt, and nothing else, differs from the workflow."""
    assert story.plan is not None
    varied = varied_graph(story.plan, "portrait-sdxl", '{"3.seed": 77, "9.gone": 1, "77.seed": 1}')
    expected = graph("portrait-sdxl")
    expected["3"]["inputs"]["seed"] = 77
    expected["9"]["inputs"]["gone"] = 1
    assert varied == expected


@pytest.mark.parametrize("variation", ["", "[]", "{broken", '{"3": 1}', "null"])
def test_a_damaged_variation_leaves_the_workflow_as_it_is(story: Run, variation: str) -> None:
    """It comes from a recording, which may be damaged."""
    assert story.plan is not None
    assert varied_graph(story.plan, "portrait-sdxl", variation) == graph("portrait-sdxl")


def test_a_mistake_on_purpose_is_made_again(story: Run) -> None:
    """What was taken out is taken out, and a node that was changed is as it was sent."""
    assert story.plan is not None
    wrong = {"class_type": "NobodyHasThis", "inputs": {}}
    varied = varied_graph(story.plan, "portrait-sdxl", json.dumps({"3.seed": None, "9": None, "4": wrong}))
    expected = graph("portrait-sdxl")
    del expected["3"]["inputs"]["seed"], expected["9"]
    assert varied == {**expected, "4": wrong}


def test_a_shell_sends_what_was_sent(story: Run, tmp_path: Path) -> None:
    """Quotes, dollars, backticks and newlines in a prompt text reach the server as they were."""
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$OUT.args"\ncat > "$OUT"\n')
    curl.chmod(0o755)
    nasty = 'it\'s "$HOME" `id` \\ and\nPROMPT\nmore'
    command = call(story.plan, "http://127.0.0.1:8188/", "sketch-sd15", json.dumps({"6.text": nasty}))
    assert command is not None
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "OUT": str(tmp_path / "body")}
    subprocess.run(["/bin/sh", "-c", command], check=True, env=environment, timeout=20)
    assert json.loads((tmp_path / "body").read_text())["prompt"]["6"]["inputs"]["text"] == nasty
    assert "http://127.0.0.1:8188/prompt" in (tmp_path / "body.args").read_text().splitlines()


def test_without_a_plan_there_is_no_call() -> None:
    """Nor for a workflow the plan does not hold."""
    assert call(None, "http://h", "w", "{}") is None


def test_an_unknown_workflow_has_no_call(story: Run) -> None:
    """The plan does not hold it."""
    assert call(story.plan, "http://h", "nobody knows", "{}") is None


def test_a_key_of_an_api_in_a_workflow_is_not_shown(story: Run) -> None:
    """A report is passed on; the call in it says where the key has to be put in."""
    secret = "sk-0123456789abcdef0123"
    command = call(story.plan, "http://127.0.0.1:8188/", "sketch-sd15", json.dumps({"6.api_key": secret}))
    assert command is not None
    assert secret not in command
    assert '"api_key":"[redacted]"' in command
