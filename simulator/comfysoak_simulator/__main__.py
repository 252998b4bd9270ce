"""`python -m comfysoak_simulator`: what a run starts for an embedded target. People call `comfysoak sim`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from comfysoak_core.errors import ComfySoakError, ExitCode, Problem, ScenarioError
from comfysoak_core.scenario.embedded import Embedded
from comfysoak_core.scenario.yaml_text import load_yaml
from comfysoak_simulator.simulator import run, run_directory_from_environment


def main(call: Sequence[str] | None = None) -> int:
    """Serve; the exit code. One JSON line on standard output says where, once all servers answer."""
    arguments = _arguments(call)
    try:
        embedded = _embedded(arguments.config) if arguments.config is not None else Embedded()
        run(
            embedded,
            host=arguments.listen,
            ports=[arguments.port],
            run_directory=run_directory_from_environment(),
        )
    except ComfySoakError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return ExitCode.OK


def _arguments(call: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m comfysoak_simulator", description=__doc__)
    parser.add_argument("--config", type=Path, help="JSON or YAML: what stands under `target.embedded`")
    parser.add_argument("--listen", default="127.0.0.1", metavar="HOST")
    parser.add_argument("--port", type=int, default=8188, help="of the first server; the others follow; 0: free ones")
    return parser.parse_args(call)


def _embedded(path: Path) -> Embedded:
    try:
        return Embedded.model_validate(_settings(path)).with_files_read(path.parent)
    except ValidationError as error:
        problems = [
            Problem(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}", "", str(path))
            for item in error.errors()
        ]
        raise ScenarioError.of(problems) from error


def _settings(path: Path) -> dict[str, Any]:
    try:
        _, settings = load_yaml(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ScenarioError(f"cannot read {path}: {error}", "Name a JSON or YAML file.", where=str(path)) from error
    if not isinstance(settings, dict):
        raise ScenarioError("expected an object of settings", "Write e.g. `servers: 2`.", where=str(path))
    return settings


if __name__ == "__main__":
    sys.exit(main())
