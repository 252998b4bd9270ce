"""`comfysoak report`: report, summary, JUnit and verdict again, from the run directory alone."""

from __future__ import annotations

import json
from pathlib import Path

import click

EPILOG = """\b
Examples:
  comfysoak report runs/20261122-101500-soak
  comfysoak report --live runs/20261122-101500-soak    of a run in progress, in the browser
Exit codes: 0 goals met, 1 a goal missed, 3 not valid, cannot tell, or no recording; with --live 0."""


@click.command(epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--merge", "folders", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
    help="First add what a worker could not deliver: the folder it named.",
)  # fmt: skip
@click.option("--live", is_flag=True, help="Serve the report of a run in progress on this machine, renewed as it goes.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port for --live; by default a free one.")
@click.option("--json", "as_json", is_flag=True, help="The verdict as JSON on stdout.")
def command(run: Path, folders: tuple[Path, ...], *, live: bool, port: int | None, as_json: bool) -> int:
    """Make report.html, summary.md, junit.xml and verdict.json of RUN again.

    A run whose processes were all killed is sealed first; one that is still going on is reported as it stands. With
    --live the page is served and renews itself until the run ends; nothing is written.
    """
    from comfysoak.reporting import ReportProcess
    from comfysoak.telling import tell_verdict
    from comfysoak_core.recording.merging import merge
    from comfysoak_core.recording.recording import Recording

    if live:
        if folders or as_json:
            raise click.UsageError("--live only serves the page: leave --merge and --json out")
        from comfysoak.live_report import serve

        serve(Recording.open(run).path, port or 0)
        return 0
    if port is not None:
        raise click.UsageError("--port is where --live serves the page: say --live, too")
    for folder in folders:
        click.echo(f"{merge(run, folder)} files of {folder} were new to the recording", err=True)
    recording = Recording.open(run)
    process = ReportProcess(recording.path)
    if not recording.is_running():
        recording.seal_if_cut_off()
    verdict = process.make()
    if as_json:
        click.echo(json.dumps(verdict, indent=2))
    else:
        tell_verdict(verdict, recording.path)
    return int(str(verdict["exit_code"]))
