"""`comfysoak schema scenario`: the JSON Schema of a scenario."""

from __future__ import annotations

import json

import click

from comfysoak_core.scenario.json_schema import scenario_json_schema


@click.command(epilog="Example: comfysoak schema scenario > scenario.schema.json")
@click.argument("what", type=click.Choice(["scenario"]))
def command(what: str) -> None:  # noqa: ARG001  # there is one schema so far
    """Print the JSON Schema of a scenario, for editors that complete and check YAML."""
    click.echo(json.dumps(scenario_json_schema(), indent=2))
