"""`comfysoak sim`: the embedded ComfyUI alone, for tests of one's own and to rehearse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from comfysoak_core.errors import ScenarioError

EPILOG = """\b
Examples:
  comfysoak sim                                   one ComfyUI 0.33.0 at http://127.0.0.1:8188
  comfysoak sim --port 9000 --servers 2 --version 0.3.64
  comfysoak sim --gateway open-webui              and an image gateway in front of it, on a port it prints
  comfysoak sim scenarios/demo.yaml               the embedded target of a scenario, faults included
  curl http://127.0.0.1:8188/object_info > mine.json && comfysoak sim --object-info mine.json --port 9000
It prints one line of JSON with the addresses when all answer; Ctrl-C ends it."""


@click.command(epilog=EPILOG)
@click.argument("scenario", default="")
@click.option("--listen", default="127.0.0.1", show_default=True, metavar="HOST")
@click.option("--port", default=8188, show_default=True, help="Of the first server; the others follow; 0: free ones.")
@click.option("--servers", type=click.IntRange(1, 64), help="How many.")
@click.option("--version", "comfyui_version", type=click.Choice(["0.3.64", "0.33.0"]), help="Which ComfyUI to be.")
@click.option("--gateway", type=click.Choice(["open-webui", "open-webui-old", "openai"]), help="One in front of it.")
@click.option("--speed", type=float, help="2: every node takes half its time.")
@click.option("--costs", type=click.Path(path_type=Path), help="YAML: how long nodes take and what they hold in VRAM.")
@click.option("--object-info", type=click.Path(path_type=Path), help="A dump of your server's /object_info.")
def command(
    scenario: str,
    listen: str,
    port: int,
    servers: int | None,
    comfyui_version: str | None,
    gateway: str | None,
    speed: float | None,
    costs: Path | None,
    object_info: Path | None,
) -> int:
    """Serve the embedded simulator until Ctrl-C; with SCENARIO, the one its target describes."""
    from comfysoak_simulator.simulator import run

    given = {
        "servers": servers,
        "version": comfyui_version,
        "gateway": gateway,
        "speed": speed,
        "costs": costs,
        "object_info": object_info,
    }
    options = {name: value for name, value in given.items() if value is not None}
    run(_embedded(scenario, options), host=listen, ports=[port])
    return 0


def _embedded(scenario: str, options: dict[str, Any]) -> Any:
    """The embedded target of a scenario (or the default one) with the options of the call put in."""
    from pydantic import ValidationError

    from comfysoak import places
    from comfysoak_core.scenario.embedded import Embedded
    from comfysoak_core.scenario.read import read_scenario

    embedded = Embedded()
    if scenario:
        path = places.find_scenario(scenario)
        written = read_scenario(path)[0].target.embedded
        if written is None:
            raise ScenarioError(f"{path} has no target.embedded", "Name a scenario that has one, or none at all.")
        embedded = written.with_files_read(path.parent)
    try:
        chosen = Embedded.model_validate(embedded.model_dump(by_alias=True) | options)
    except ValidationError as error:
        first = error.errors()[0]
        raise ScenarioError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return chosen.with_files_read(Path())
