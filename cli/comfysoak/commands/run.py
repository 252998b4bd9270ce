"""`comfysoak run`: from a scenario to a verdict."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfysoak import places
from comfysoak.commands.options import as_seconds, as_url
from comfysoak_core.errors import ExitCode
from comfysoak_core.scenario.plan import Plan

if TYPE_CHECKING:
    from comfysoak.machines.crew import MasterCall

EPILOG = """\b
Examples:
  comfysoak run                                        the demo; needs no ComfyUI and no GPU
  comfysoak run soak.yaml --target http://gpu-1:8188
  comfysoak run soak.yaml --duration 10m --users 8     the same shape, shorter and smaller
  comfysoak run soak.yaml --ab http://old:8188 http://new:8188   is the new one worse? both in turn, in blocks
  comfysoak run soak.yaml --set load.0.for=30s --json  verdict as JSON on stdout
  comfysoak run soak.yaml --master --workers 3 --bind 10.0.0.5:5557   load from three machines: comfysoak worker
Exit codes: 0 goals met, 1 a goal missed, 2 wrong call or scenario, 3 not valid or cannot tell, 4 target not ready,
130 interrupted (the recording is sealed and the report made all the same)."""


@click.command(epilog=EPILOG)
@click.argument("scenario", default="")
@click.option("--target", help="Load this ComfyUI instead of the scenario's target.")
@click.option(
    "--ab", nargs=2, metavar="URL_OLD URL_NEW", help="Load these two in turn, and say whether the new is worse."
)
@click.option("--ab-block", metavar="TIME", help="With --ab: how long one is loaded before the other, e.g. 60s.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of runs.")
@click.option("--duration", help="Stretch or shrink all stages to this time together, e.g. 10m.")
@click.option("--max-duration", help="End at the latest after this time, whatever stage is on, e.g. 2h.")
@click.option("--users", type=click.IntRange(min=1), help="Scale all stages to this many users at most.")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Load processes.")
@click.option("--master", is_flag=True, help="Have the load made by workers on other machines (comfysoak worker).")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="With --master: so many.")
@click.option("--bind", default="127.0.0.1:5557", show_default=True, help="With --master: listen there, and a port up.")
@click.option("--workers-within", default="5m", show_default=True, help="With --master: wait for workers so long.")
@click.option("--worker-silence", default="6s", show_default=True, help="A worker silent for so long is lost.")
@click.option("--allow-down", is_flag=True, help="Begin although servers of a fleet are down, if one answers.")
@click.option("--seed", type=click.IntRange(min=0), help="Fixes mix and variation.")
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Change the scenario: load.0.for=30s")
@click.option("--web", is_flag=True, help="Show Locust's own web page while it runs.")
@click.option("--quiet", is_flag=True, help="No progress; errors and the verdict only.")
@click.option("--json", "as_json", is_flag=True, help="The verdict as JSON on stdout.")
def command(
    scenario: str,
    target: str | None,
    ab: tuple[str, str] | None,
    ab_block: str | None,
    out: Path,
    duration: str | None,
    max_duration: str | None,
    users: int | None,
    processes: int,
    workers: int,
    bind: str,
    workers_within: str,
    worker_silence: str,
    seed: int | None,
    settings: tuple[str, ...],
    *,
    allow_down: bool,
    master: bool,
    web: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run SCENARIO: load, probes, recording, report, verdict. Without one: the demo on the embedded simulator."""
    from comfysoak_core.scenario.read import read_scenario
    from comfysoak_core.scenario.resolve import resolve

    path = places.find_scenario(scenario) if scenario else places.demo_scenario()
    sides = _sides(ab, ab_block, target)
    overrides = [*([f"target={json.dumps({'comfyui': sides})}"] if sides else []), *settings]
    if target is not None:
        overrides.append(f"target={json.dumps({'comfyui': as_url(target, '--target')})}")
    if seed is not None:
        overrides.append(f"seed={seed}")
    written, document = read_scenario(path, overrides)
    plan = resolve(written, document)
    plan = plan.model_copy(update={"allow_down": allow_down})
    if duration is not None:
        plan = plan.with_duration(as_seconds(duration, "--duration"))
    if max_duration is not None:
        plan = plan.model_copy(update={"max_duration_s": as_seconds(max_duration, "--max-duration")})
    if users is not None:
        plan = plan.with_users(users)
    if sides:
        plan = _interleaved(plan, sides, ab_block)
    call = None
    if master:
        call = _master_call(workers, bind, workers_within, worker_silence, processes)
    return _run(plan, out, call, processes=processes, web=web, quiet=quiet, as_json=as_json)


def _sides(ab: tuple[str, str] | None, block: str | None, target: str | None) -> list[str]:
    """The servers of --ab; empty without it."""
    if ab is None:
        if block is not None:
            raise click.UsageError("--ab-block says how long each server of --ab is loaded at a time: --ab OLD NEW")
        return []
    if target is not None:
        raise click.UsageError("--ab names both servers itself: leave --target out")
    return [as_url(url, "--ab") for url in ab]


def _interleaved(plan: Plan, sides: Sequence[str], block: str | None) -> Plan:
    from comfysoak_core.scenario.interleaving import interleaved

    old, new = sides
    return interleaved(plan, old, new, None if block is None else as_seconds(block, "--ab-block"))


def _master_call(workers: int, bind: str, within: str, silence: str, processes: int) -> MasterCall:
    from comfysoak.machines.crew import MasterCall

    if processes > 1:
        raise click.UsageError(
            "--master leaves all load to its workers: give --processes to them (comfysoak worker --processes N)"
        )
    within_s, silence_s = as_seconds(within, "--workers-within"), as_seconds(silence, "--worker-silence")
    return MasterCall(workers, bind, within_s, silence_s)


def _run(
    plan: Plan, out: Path, call: MasterCall | None, *, processes: int, web: bool, quiet: bool, as_json: bool
) -> int:
    from comfysoak.machines.crew import Crew
    from comfysoak.preflight import check_plan, servers_as_found
    from comfysoak.screen import Screen
    from comfysoak.supervisor import Options, Supervisor, new_clock, signals_remembered
    from comfysoak_core.recording.host_facts import this_host
    from comfysoak_core.recording.recording import Recording
    from comfysoak_core.trace.file import store_traces

    clock = new_clock()
    crew = Crew(call, clock) if call is not None else None
    for warning in check_plan(plan, None if crew is not None else processes):
        click.echo(f"warning: {warning}", err=True)
    if crew is not None and crew.warning is not None:
        click.echo(f"warning: {crew.warning}", err=True)
    found = servers_as_found(plan)
    with signals_remembered() as interruption, Screen(plan, clock, quiet=quiet) as screen:
        if crew is not None:
            crew.wait(lambda: interruption.end is not None, screen.say)
            if interruption.end is not None:
                return int(interruption.end.exit_code or ExitCode.INTERRUPTED)
        recording = Recording.create(
            out,
            plan.name,
            clock=clock,
            plan=plan.model_dump(mode="json"),
            argv=sys.argv,
            hosts=[this_host(anchor=clock.anchor)],
        )
        recording.save(recording.run.model_copy(update={"servers": found}))
        store_traces(plan.stages, recording.path)
        screen.say(f"recording to {recording.path}")
        supervisor = Supervisor(recording, plan, Options(processes, web, crew), interruption, clock, screen.show)
        end = supervisor.run()
        screen.say("making the report")
        verdict = supervisor.make_report()
    _tell(verdict, recording.path, as_json=as_json)
    return int(end.exit_code if end.exit_code is not None else ExitCode(int(str(verdict["exit_code"]))))


def _tell(verdict: dict[str, object], run_dir: Path, *, as_json: bool) -> None:
    """The verdict on stdout; the exit code says it all the same when nobody reads that any more."""
    from comfysoak.telling import leave_stdout, tell_verdict

    try:
        if as_json:
            click.echo(json.dumps(verdict, indent=2))
        else:
            tell_verdict(verdict, run_dir)
        sys.stdout.flush()
    except OSError:
        leave_stdout()
