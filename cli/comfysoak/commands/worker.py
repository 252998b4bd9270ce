"""`comfysoak worker`: load from this machine, for a run that a master on another machine watches and records."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from comfysoak.commands.options import as_seconds

EPILOG = """\b
Examples:
  comfysoak run soak.yaml --master --workers 2 --bind 10.0.0.5:5557     on the first machine
  comfysoak worker --master-host 10.0.0.5                               on the others
  comfysoak worker --master-host 10.0.0.5 --processes 4                 one process a core is most
It needs nothing but this package: the master hands it the scenario and takes its recording. Tokens come from this
machine's own environment. Exit codes: 0 done, 2 refused, 3 something could not be delivered, 4 no master."""


@click.command(epilog=EPILOG)
@click.option("--master-host", required=True, metavar="HOST", help="Where `comfysoak run --master` runs.")
@click.option("--master-port", default=5557, show_default=True, help="Of its --bind; the next one is used too.")
@click.option("--processes", type=click.IntRange(1, 1024), default=1, show_default=True, help="Load processes here.")
@click.option("--patience", default="1m", show_default=True, help="Try to reach a master that is not there so long.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Where the journal lies until it is delivered.")
def command(master_host: str, master_port: int, processes: int, patience: str, folder: Path | None) -> int:
    """Make load on this machine for the run of a master."""
    import os
    from importlib.metadata import version

    from comfysoak.machines.roll import KEY_VARIABLE
    from comfysoak.machines.worker import Call, Worker
    from comfysoak.supervisor import signals_remembered
    from comfysoak_core.recording.redaction import hide_value_of

    hide_value_of(KEY_VARIABLE)
    call = Call(
        host=master_host,
        port=master_port,
        processes=processes,
        folder=folder,
        patience_s=as_seconds(patience, "--patience"),
        key=os.environ.get(KEY_VARIABLE, ""),
        version=version("comfysoak"),
    )
    with signals_remembered() as interruption:
        return Worker(call, _say, lambda: interruption.end is not None).run()


def _say(words: str) -> None:
    from comfysoak_core.terminal import printable

    for line in words.splitlines():
        print(printable(line), file=sys.stderr, flush=True)
