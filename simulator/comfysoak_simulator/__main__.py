"""`python -m comfysoak_simulator`: serve an embedded target until told to stop."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from comfysoak_core.errors import ComfySoakError, ExitCode, Problem, ScenarioError
from comfysoak_core.scenario.embedded import Embedded
from comfysoak_simulator.simulator import run, run_directory_from_environment


def main(call: Sequence[str] | None = None) -> int:
    """Serve; the exit code. One JSON line on standard output says where, once all servers answer."""
    arguments = _arguments(call)
    try:
        embedded = _embedded(arguments)
        run(
            embedded,
            host=arguments.listen,
            ports=[arguments.port],
            run_directory=run_directory_from_environment(),
        )
    except ComfySoakError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"cannot listen on {arguments.listen}: {error}\n    Name another --port, or 0.", file=sys.stderr)
        return ExitCode.WRONG_CALL
    return ExitCode.OK


def _arguments(call: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m comfysoak_simulator", description=__doc__)
    parser.add_argument("--config", type=Path, help="JSON or YAML: what stands under `target.embedded`")
    parser.add_argument("--listen", default="127.0.0.1", metavar="HOST")
    parser.add_argument("--port", type=int, default=8188, help="of the first server; the others follow; 0: free ones")
    parser.add_argument("--servers", type=int)
    parser.add_argument("--version", choices=["0.3.64", "0.33.0"])
    parser.add_argument("--speed", type=float)
    parser.add_argument("--costs", type=Path, help="YAML that adds to the table of costs")
    parser.add_argument("--object-info", type=Path, help="a dump of your server's /object_info")
    return parser.parse_args(call)


def _embedded(arguments: argparse.Namespace) -> Embedded:
    settings = _settings(arguments.config)
    for name in ("servers", "version", "speed", "costs", "object_info"):
        value = getattr(arguments, name)
        if value is not None:
            settings[name] = value.absolute() if isinstance(value, Path) else value
    folder = arguments.config.parent if arguments.config is not None else Path()
    try:
        return Embedded.model_validate(settings).with_files_read(folder)
    except ValidationError as error:
        where = str(arguments.config or "")
        raise ScenarioError.of(
            [
                Problem(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}", "", where)
                for item in error.errors()
            ]
        ) from error


def _settings(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ScenarioError(f"cannot read {path}: {error}", "Name a JSON or YAML file.", where=str(path)) from error
    if not isinstance(settings, dict):
        raise ScenarioError("expected an object of settings", "Write e.g. `servers: 2`.", where=str(path))
    return settings


if __name__ == "__main__":
    sys.exit(main())
