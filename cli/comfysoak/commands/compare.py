"""`comfysoak compare`: is it worse? Runs against runs, against a baseline file, or the two sides of `run --ab`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

EPILOG = """\b
Examples:
  comfysoak compare runs/new-* --baseline runs/old-*             five or more a side find a slowdown of 10 %
  comfysoak compare runs/tonight --baseline history.json --save-baseline history.json
                                                                 one night against the nights before, which it joins
  comfysoak compare runs/old-* --save-baseline main.json         only make a baseline file
  comfysoak compare runs/20261122-101500-ab                      the two sides of comfysoak run --ab
  comfysoak compare runs/new-* --baseline main.json --gate prompts.latency.p95=10% --markdown compare.md
Exit codes: 0 no regression, 1 a regression, 2 wrong call, 3 too few runs to tell, not valid, or not comparable."""


class _Command(click.Command):
    """`--baseline` takes all names up to the next option, so that a shell may expand them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, with the name of the option before each of its values."""
        return super().parse_args(ctx, _spread(args))


def _spread(arguments: list[str]) -> list[str]:
    spread: list[str] = []
    after_baseline = has_value = False
    for argument in arguments:
        if argument.startswith("-"):
            if argument != "--baseline" or not after_baseline or has_value:
                spread.append(argument)
            after_baseline, has_value = argument == "--baseline", False
        else:
            spread += ["--baseline", argument] if after_baseline and has_value else [argument]
            has_value = True
    return spread


@click.command(cls=_Command, epilog=EPILOG)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--baseline", multiple=True, type=click.Path(path_type=Path, exists=True), metavar="RUN...|FILE.json",
    help="What to compare with: runs, or files of --save-baseline.",
)  # fmt: skip
@click.option(
    "--gate", "gates", multiple=True, metavar="MEASURE[=CHANGE]",
    help="What decides, and how much worse matters (5%). Without: prompts.failed, prompts.latency.p95,"
    " prompts.typical_service.",
)  # fmt: skip
@click.option("--anyway", is_flag=True, help="Compare what differs in workflow, load or GPU, and runs not valid.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="A table for a pull request.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="A test case a gate.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="A page: one side over the other.")
@click.option(
    "--save-baseline", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Keep both sides in a file of at most 1 MB; without the new one if it is worse.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The comparison as JSON on stdout.")
def command(
    runs: tuple[Path, ...],
    baseline: tuple[Path, ...],
    gates: tuple[str, ...],
    markdown: Path | None,
    junit: Path | None,
    html: Path | None,
    save_baseline: Path | None,
    *,
    anyway: bool,
    as_json: bool,
) -> int:
    """Say whether RUN... are worse than the baseline. Runs are the cases, never prompts.

    Name the new runs first, then --baseline with the old ones. Runs of another workflow, load, GPU or power limit are
    refused.
    """
    from comfysoak.comparing import compare_in_process
    from comfysoak.telling_comparison import tell_comparison

    call: dict[str, Any] = {
        "new": [str(path) for path in runs],
        "baseline": [str(path) for path in baseline],
        "gates": list(gates),
        "anyway": anyway,
        "markdown": _text(markdown),
        "junit": _text(junit),
        "html": _text(html),
        "save_baseline": _text(save_baseline),
    }
    code, told = compare_in_process(call)
    if told is None:
        return code
    if told["comparison"] is None:
        click.echo(f"saved {save_baseline}", err=True)
    elif as_json:
        click.echo(json.dumps(told["comparison"], indent=2))
    else:
        tell_comparison(told["comparison"], told["shown"])
    return code


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
