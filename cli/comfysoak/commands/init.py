"""`comfysoak init`: a scenario for a workflow, ready to run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
import yaml

from comfysoak.commands.options import as_url
from comfysoak_core.comfyui.workflow import Workflow

_SCENARIO = """\
# Made by `comfysoak init`. Run it: comfysoak run {file}
name: {name}
target:
  comfyui: {target}
workload:
  - workflow: {workflow}
    deadline: 10m              # a prompt that takes longer has failed
    vary: {{seed: random}}       # without variation the server answers from its cache and does no work
load:
  - {{users: 1, for: 1m, phase: warmup}}           # recorded, left out of the goals
  - {{users: {{from: 1, to: 8}}, for: 5m}}
  - {{users: 8, for: 10m}}
probes:
  gpu: [nvml]                  # on another machine: {{dcgm: http://gpu-1:9400/metrics}}
goals:
  - prompts.failed < 1%
  - prompts.latency.p95 < 2m
  - findings.critical = 0
"""


@click.command(epilog="Example: comfysoak init my-workflow-api.json > soak.yaml && comfysoak run soak.yaml")
@click.argument("workflow", type=click.Path(path_type=Path))
@click.option("--target", default="http://127.0.0.1:8188", show_default=True, help="Address of your ComfyUI.")
@click.option("--name", help="Name of the scenario; default: the workflow's.")
def command(workflow: Path, target: str, name: str | None) -> None:
    """Print a scenario for WORKFLOW (API format) that ramps up to eight users, with a comment on every choice."""
    Workflow.load(workflow)
    title = name or workflow.stem
    click.echo(
        _SCENARIO.format(
            file=shlex.quote(" ".join(f"{title}.yaml".split())),
            name=_as_yaml(title),
            target=_as_yaml(as_url(target, "--target")),
            workflow=_as_yaml(workflow.as_posix()),
        ),
        nl=False,
    )


def _as_yaml(text: str) -> str:
    """`text` as a value of YAML: bare where that reads as the same text, else in quotes."""
    try:
        is_bare = yaml.safe_load(f"key: {text}") == {"key": text}
    except yaml.YAMLError:
        is_bare = False
    return text if is_bare else json.dumps(text, ensure_ascii=False)
