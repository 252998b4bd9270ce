"""`comfysoak plan`: how many GPUs for this demand at this goal, from what was measured."""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfysoak_core.errors import RecordingError, UsageError
from comfysoak_core.scenario.units import parse_ratio
from comfysoak_core.terminal import printable

if TYPE_CHECKING:
    from comfysoak_analysis.frames import Run
    from comfysoak_analysis.planning.measured import Measured
    from comfysoak_analysis.planning.wish import Wish
    from comfysoak_core.scenario.routing import Route

PAGE = "plan.html"
QUIET_S = 2.0
MOST_GROWTH = 100.0  # of the demand: a hundred times as much again
EPILOG = """\b
Examples:
  comfysoak plan runs/20261122-101500-soak --demand 30/min --goal "prompts.latency.p95 < 30s"
  comfysoak plan runs/... --demand 5/min..60/min --demand-percentile 95 --growth 20% --price 2.10/h
  comfysoak plan runs/... --demand trace.jsonl --route affinity --markdown > plan.md
  comfysoak plan runs/one-gpu --demand 2/s --mix sdxl=3,flux=1 --check runs/four-gpus
Demands: 30/min (a rate), 5/min..60/min (a day from its lowest to its highest and back), 5/min,40/min,20/min (a day in
equal parts), or a trace as `comfysoak trace` makes it. Of a day or a trace, one stretch is planned for: that at
--demand-percentile of the busy ones."""


@click.command(epilog=EPILOG)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--demand", required=True, help="A rate, the shape of a day, or the file of a trace.")
@click.option("--goal", help="Of latency or queue wait; default: the first such goal of the runs' scenario.")
@click.option("--route", type=click.Choice(["shortest-queue", "round-robin", "affinity"]),
              help="Where prompts go; default: as in a run of several servers, else shortest-queue.")  # fmt: skip
@click.option(
    "--mix", default="", help="Shares such as sdxl=3,flux=1; default: as measured, or as the trace names them."
)
@click.option("--growth", default="0%", show_default=True, help="More demand than that, such as 20%.")
@click.option("--demand-percentile", "percentile", type=click.FloatRange(0, 100, min_open=True), default=95.0,
              show_default=True, help="Of the busy stretches of a day or a trace.")  # fmt: skip
@click.option("--price", help="Of one GPU, such as 2.10/h: what 1,000 pictures cost.")
@click.option("--check", "against", multiple=True, type=click.Path(path_type=Path), metavar="RUN",
              help="Hold the model against this run, too.")  # fmt: skip
@click.option("--anyway", is_flag=True, help="Plan from runs that are not valid.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all that is drawn.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help=f"The memo; default: {PAGE} in the first RUN."
)
@click.option("--markdown", "as_markdown", is_flag=True, help="The memo as markdown on stdout.")
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON on stdout.")
def command(
    runs: tuple[Path, ...],
    demand: str,
    goal: str | None,
    route: Route | None,
    mix: str,
    growth: str,
    percentile: float,
    price: str | None,
    against: tuple[Path, ...],
    seed: int,
    out: Path | None,
    *,
    anyway: bool,
    as_markdown: bool,
    as_json: bool,
) -> int:
    """How many GPUs a demand needs, simulated from the service and load times that were measured in RUN...

    Exit code 0: an answer; 1: no number of GPUs meets the goal; 3: too little was measured, or a run is not valid.
    """
    shares, more = _mix(mix), _growth(growth)
    from comfysoak_analysis.planning.answer import Question, answer
    from comfysoak_analysis.planning.demand import read_demand
    from comfysoak_analysis.planning.measured import measure
    from comfysoak_analysis.planning.memo import document, markdown, memo_of, page, text
    from comfysoak_analysis.planning.price import read_price

    asked, cost = read_demand(demand, percentile), read_price(price) if price is not None else None
    progress = _Progress()
    opened, doubted = _open(runs, anyway=anyway, progress=progress)
    checked, _ = _open(against, anyway=True, progress=progress)
    measured = measure(opened)
    question = Question(
        _wish(goal, measured), asked, _route(route, opened), shares, more, percentile, cost, seed
    )  # fmt: skip
    found = answer(measured, question, checked, doubted, progress)
    memo = memo_of(found, shlex.join(["comfysoak", *sys.argv[1:]]))
    path = out or runs[0] / PAGE
    if as_json:
        sys.stdout.buffer.write(document(memo, found))
    elif as_markdown:
        click.echo(markdown(memo, found), nl=False)
    else:
        for line in text(memo, found):
            click.echo(printable(line))
    _write(path, page(memo))  # last: a full disk takes nobody the answer
    click.echo(f"memo  {printable(str(path))}", err=as_json or as_markdown)
    return int(found.exit_code)


class _Progress:
    """Tells what is being done, once it takes long."""

    def __init__(self) -> None:
        self._told_s = time.monotonic()

    def __call__(self, words: str) -> None:
        if time.monotonic() - self._told_s >= QUIET_S:
            self._told_s = time.monotonic()
            click.echo(words, err=True)


def _open(paths: tuple[Path, ...], *, anyway: bool, progress: Callable[[str], None]) -> tuple[list[Run], list[str]]:
    """The runs, and what is said against them; RecordingError for one that is not valid, unless `anyway`."""
    from comfysoak_analysis import open_run
    from comfysoak_analysis.validity import doubts
    from comfysoak_analysis.verdict import Weight

    runs, said = [], []
    for path in paths:
        progress(f"reading {path}")
        run = open_run(path)
        against = [doubt for doubt in doubts(run) if doubt.weight is Weight.INVALID]
        if against and not anyway:
            raise RecordingError(
                f"{path} is not valid: {against[0].what}",
                f"{against[0].remedy} To plan from it all the same: --anyway".strip(),
            )
        runs.append(run)
        said += [f"{path.name} is not valid: {doubt.what}" for doubt in against]
    return runs, said


def _wish(goal: str | None, measured: Measured) -> Wish:
    """The goal of the plan: as named, or the first of the runs' own that a plan can be made for."""
    from comfysoak_analysis.planning.wish import is_wish, read_wish

    plans = [source.run.plan for source in measured.sources]
    own = [one for plan in plans if plan is not None for one in plan.goals if is_wish(one)]
    text = goal if goal is not None else next(iter(own), None)
    if text is None:
        raise UsageError(
            "the runs have no goal of latency or queue wait to plan for", 'Name one: --goal "prompts.latency.p95 < 30s"'
        )
    return read_wish(text, measured.names)


def _route(route: Route | None, runs: list[Run]) -> Route:
    fleets: list[Route] = [run.plan.route for run in runs if run.plan is not None and run.plan.servers_count > 1]
    return route or (fleets[0] if fleets else "shortest-queue")


def _growth(text: str) -> float:
    try:
        growth = parse_ratio(text) if "%" not in text else float(text.strip().removesuffix("%")) / 100
    except ValueError:
        growth = math.nan
    if not -1 < growth <= MOST_GROWTH:
        what = f"expected growth such as 20%, above -100% and up to {MOST_GROWTH:.0%}, got {text!r}"
        raise click.BadParameter(what, param_hint="--growth")
    return growth


def _mix(text: str) -> Mapping[str, float]:
    """Shares by workflow: `sdxl=3,flux=1`."""
    shares = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, share = part.rpartition("=")
        try:
            shares[name.strip()] = float(share.strip().removesuffix("%"))
        except ValueError:
            shares[""] = -1.0
        if not name.strip() or not all(0 <= share < math.inf for share in shares.values()):
            what = f"expected shares such as sdxl=3,flux=1, got {text!r}"
            raise click.BadParameter(what, param_hint="--mix")
    return shares


def _write(path: Path, content: str) -> None:
    from comfysoak_analysis.report import replace_file

    try:
        replace_file(path, content.encode())
    except RecordingError as error:
        raise UsageError(error.problems[0].what, "Name a file with --out.") from error
