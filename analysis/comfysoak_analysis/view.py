"""What the page shows, as plain values in the order it shows them; the template only lays them out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from comfysoak_analysis import measures, watched
from comfysoak_analysis.cards import Card, Mark, Rule, card_of, marks_of, rules_of
from comfysoak_analysis.correlation import Statement, statements, steps
from comfysoak_analysis.economy import economy
from comfysoak_analysis.exporters import refreshes
from comfysoak_analysis.figures import gpu_states, gpus, hosts, incidents, machines, prompts
from comfysoak_analysis.figures.chart import Chart
from comfysoak_analysis.figures.picture import Picture, picture
from comfysoak_analysis.findings.told import named_sockets
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.health import configuration, health
from comfysoak_analysis.levels import Levels, levels_of
from comfysoak_analysis.measures import FailureRow, GpuFigures, Group
from comfysoak_analysis.model_loads.log_reading import told_by
from comfysoak_analysis.model_loads.table import LoadFigures, figures_by_model
from comfysoak_analysis.model_states import groups_by_model_state
from comfysoak_analysis.node_times import node_times
from comfysoak_analysis.prompts import NOT_MEASURED_PHASES
from comfysoak_analysis.resend import call
from comfysoak_analysis.saturation import Saturation, saturation
from comfysoak_analysis.subjects import Subject, subjects_of
from comfysoak_analysis.text import bounded
from comfysoak_analysis.tiles import Tile, number_text, tiles
from comfysoak_analysis.verdict import Conclusion, Doubt, GoalResult, Verdict
from comfysoak_analysis.watched import ContainerFigures, Happened, HostFigures, ProcessFigures
from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.recording.redaction import redact_json
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.quantities import format_duration
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Workload

LONGEST_PLAN = 200_000
MOST_MODELS = 40
_HEADLINES = {
    Conclusion.PASSED: ("Passed", "✓"),
    Conclusion.FAILED: ("Failed", "✕"),
    Conclusion.UNDECIDED: ("Undecided", "?"),
    Conclusion.NOT_VALID: ("Not valid", "!"),
    Conclusion.WATCHED: ("Watched", "●"),
}
_SECTIONS = (
    ("goals", "Goals"),
    ("findings", "Findings"),
    ("timeline", "Timeline"),
    ("failures", "Failures"),
    ("times", "Figures"),
    ("configuration", "Configuration"),
    ("health", "Health"),
)


@dataclass(frozen=True, slots=True)
class FailureView:
    """One line of the table of failures, with the call that sends its first example again."""

    code: str
    outcome: str
    outcome_role: str
    count: int
    share: float
    workflows: tuple[str, ...]
    messages: tuple[str, ...]
    examples: tuple[str, ...]
    call: str | None


@dataclass(frozen=True, slots=True)
class NodeView:
    """One class of node, with its share of all node time."""

    name: str
    count: int
    median_s: float
    p95_s: float
    max_s: float
    total_s: float
    share: float


@dataclass(frozen=True, slots=True)
class PhaseView:
    """A phase, in milliseconds after the start; `quiet` is shaded, since it is in no figure."""

    label: str
    from_ms: int
    to_ms: int
    quiet: bool


@dataclass(frozen=True, slots=True)
class View:
    """The whole page."""

    run: str
    conclusion: str
    headline: str
    mark: str
    sentence: str
    story: str
    live: bool
    version: str
    lasting: str
    start_ms: float
    end_ms: float
    sections: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    tiles: tuple[Tile, ...]
    goals: tuple[GoalResult, ...]
    searches: tuple[Levels, ...]
    doubts: tuple[Doubt, ...]
    findings: tuple[Card, ...]
    charts: tuple[Chart, ...]
    phases: tuple[PhaseView, ...]
    marks: tuple[Mark, ...]
    subjects: tuple[Subject, ...]  # what can be selected
    picture: Picture | None
    machine_charts: tuple[Chart, ...]  # of a run: hosts, processes, containers, folded
    failures: tuple[FailureView, ...]
    statements: tuple[Statement, ...]
    steady_words: str  # empty: nowhere was the load constant for long enough to tell
    saturation: Saturation | None
    groups: tuple[tuple[str, tuple[Group, ...]], ...]
    economy: tuple[tuple[str, str], ...]
    nodes: tuple[NodeView, ...]
    loads: tuple[LoadFigures, ...]
    loads_words: tuple[str, ...]
    gpus: tuple[GpuFigures, ...]
    gpu_words: tuple[str, ...]  # how fresh the values of exporters are
    hosts: tuple[HostFigures, ...]
    processes: tuple[ProcessFigures, ...]
    containers: tuple[ContainerFigures, ...]
    events: tuple[Happened, ...]  # of a recording of watching
    events_words: str
    sockets_words: str  # empty: nobody was to open one
    configuration: tuple[tuple[str, str], ...]
    workloads: tuple[Workload, ...]
    stages: tuple[Stage, ...]
    plan_text: str
    health: tuple[tuple[str, str], ...]
    rules: tuple[Rule, ...]


def view_of(run: Run, verdict: Verdict, states: GpuStates, charts: tuple[Chart, ...], *, live: bool) -> View:
    """Everything the page says about `run`; `charts`: see `charts_of`."""
    headline, mark = _HEADLINES[verdict.conclusion]
    headline = watched.headline(run) if run.is_watching else headline
    plan = run.plan
    end_ns = max(run.end_ns or 0, (run.start_ns or 0) + NS_PER_S)
    machines_of_a_run = () if run.is_watching else charts_of_machines(run)
    return View(
        run=bounded(verdict.run, 120),
        conclusion=verdict.conclusion.value,
        headline=f"{headline} so far" if live else headline,
        mark=mark,
        sentence=watched.said(run, verdict.findings) if run.is_watching else verdict.sentence,
        story=verdict.story,
        live=live,
        version=run.recording.run.harness_version,
        lasting=format_duration(round(run.duration_s, 1)),
        start_ms=(run.start_ns or 0) / NS_PER_MS,
        end_ms=end_ns / NS_PER_MS,
        sections=tuple(_sections(run, verdict, charts)),
        facts=tuple(_facts(run, verdict)),
        tiles=tuple(tiles(run)),
        goals=verdict.goals,
        searches=levels_of(run),
        doubts=verdict.doubts,
        findings=tuple(card_of(run, finding, charts + machines_of_a_run) for finding in verdict.findings),
        charts=charts,
        phases=tuple(_phases(run)),
        marks=marks_of(run, verdict.findings),
        subjects=subjects_of(run),
        picture=picture(charts, run.duration_s),
        machine_charts=machines_of_a_run,
        failures=tuple(_failure(run, row) for row in measures.failures(run)),
        statements=() if run.is_watching else (*statements(run), *steps(run, states)),
        steady_words=run.steady_state.words if run.steady_state is not None else "",
        saturation=None if run.is_watching else saturation(run),
        groups=tuple(_groups(run)),
        economy=() if run.is_watching else economy(run, verdict.findings, states),
        nodes=tuple(_nodes(run)),
        loads=figures_by_model(states.loads)[:MOST_MODELS],
        loads_words=told_by(run, states.loads),
        gpus=measures.gpus(run),
        gpu_words=tuple(refresh.in_words() for refresh in refreshes(run)),
        hosts=watched.hosts(run),
        processes=watched.processes(run),
        containers=watched.containers(run),
        events=watched.happened(run) if run.is_watching else (),
        events_words=watched.events_words(run) if run.is_watching else "",
        sockets_words="" if run.is_watching else _sockets(run),
        configuration=configuration(run),
        workloads=plan.workloads if plan is not None else (),
        stages=plan.stages if plan is not None else (),
        plan_text=_plan_text(run),
        health=health(run),
        rules=rules_of(verdict.findings),
    )


def _sections(run: Run, verdict: Verdict, charts: tuple[Chart, ...]) -> Iterator[tuple[str, str]]:
    """Key and name of each; of a recording of watching those that have something in them."""
    if not run.is_watching:
        yield from _SECTIONS
        return
    if verdict.doubts:
        yield "goals", "Doubts"
    if verdict.findings:
        yield "findings", "Findings"
    if charts:
        yield "timeline", "Timeline"
    if watched.what_was_watched(run) or not run.processes.empty or not run.server_log.empty:
        yield "times", "Figures"
    if watched.happened(run):
        yield "events", "Events"
    yield from _SECTIONS[-2:]


def charts_of(run: Run, verdict: Verdict, states: GpuStates) -> tuple[Chart, ...]:
    """All charts, in the order they are shown; those few runs have anything for only where they do."""
    if run.is_watching:
        return _charts_of_watching(run, verdict, states)
    charts = (
        prompts.per_minute(run),
        incidents.incidents(run, states, verdict.findings),
        prompts.latency(run),
        prompts.service(run),
        machines.queue(run),
        gpus.memory(run),
        machines.loads(run, states.loads),
        gpus.utilisation(run),
        gpus.activity(run),
        gpu_states.states(run),
    )
    return tuple(chart for chart in charts if chart is not None)


def _charts_of_watching(run: Run, verdict: Verdict, states: GpuStates) -> tuple[Chart, ...]:
    """Those with something in them."""
    charts = (
        incidents.incidents(run, states, verdict.findings),
        gpus.memory(run),
        gpus.utilisation(run),
        gpus.activity(run),
        gpu_states.states(run),
        machines.loads(run, states.loads),
        machines.queue(run),
        *charts_of_machines(run),
    )
    return tuple(chart for chart in charts if chart is not None and not chart.empty)


def charts_of_machines(run: Run) -> tuple[Chart, ...]:
    """Hosts, the processes of servers and their containers, where they were watched."""
    charts = (hosts.cpu(run), hosts.memory(run), hosts.processes(run), hosts.containers(run))
    return tuple(chart for chart in charts if chart is not None)


def _facts(run: Run, verdict: Verdict) -> Iterator[tuple[str, str]]:
    if run.start_ns is not None:
        started = datetime.fromtimestamp(run.start_ns / NS_PER_S, UTC)
        yield "Started", f"{started:%d %b %Y, %H:%M:%S} UTC"
    yield "Lasted", format_duration(round(run.duration_s, 1))
    if verdict.ended_how != "finished":
        yield "Ended", verdict.ended_how
    servers = [server.url for server in run.recording.run.servers] or (list(run.plan.servers) if run.plan else [])
    if run.is_watching:
        servers = sorted({str(server) for server in run.server["server"]})
    if servers:
        yield "Server" if run.is_watching else "Target", bounded(", ".join(servers), 160)
    versions = sorted({server.comfyui_version for server in run.recording.run.servers if server.comfyui_version})
    if versions:
        yield "ComfyUI", bounded(", ".join(versions), 80)
    if run.plan is not None:
        yield "Seed", str(run.plan.seed)


def _phases(run: Run) -> Iterator[PhaseView]:
    steady = run.steady_state
    warm_ns = (steady.measured_from_ns if steady is not None else None) or 0
    if steady is not None and warm_ns:
        yield _phase(run, "warm-up (detected)", steady.began_ns, warm_ns, quiet=True)
    for phase in run.phases:
        cut = steady is not None and steady.began_ns <= phase.started_ns < warm_ns
        first_ns = warm_ns if cut else phase.started_ns
        if not cut or first_ns < phase.ended_ns:
            label = {"warmup": "warm-up"}.get(phase.name, bounded(phase.name, 20))
            yield _phase(run, label, first_ns, phase.ended_ns, quiet=phase.name in NOT_MEASURED_PHASES)


def _phase(run: Run, label: str, started_ns: int, ended_ns: int, *, quiet: bool) -> PhaseView:
    start_ns = run.start_ns or 0
    return PhaseView(label, (started_ns - start_ns) // NS_PER_MS, (ended_ns - start_ns) // NS_PER_MS, quiet)


def _failure(run: Run, row: FailureRow) -> FailureView:
    known = {outcome.value for outcome in Outcome}
    prompt = run.prompts_named(row.examples[:1]).iloc[0]
    return FailureView(
        code=row.code,
        outcome=row.outcome,
        outcome_role=row.outcome if row.outcome in known else "quiet",
        count=row.count,
        share=row.share,
        workflows=row.workflows,
        messages=row.messages,
        examples=row.examples,
        call=call(run.plan, str(prompt["server"]), str(prompt["workflow"]), str(prompt["variation"])),
    )


def _groups(run: Run) -> Iterator[tuple[str, tuple[Group, ...]]]:
    for column in ("workflow", "phase", "server"):
        groups = measures.groups_by(run, column)
        if groups and (len(groups) > 1 or column == "workflow"):
            yield f"By {column}", groups[:50]
    by_state = groups_by_model_state(run)
    if by_state:
        yield "By model state", by_state


def _nodes(run: Run) -> Iterator[NodeView]:
    times = node_times(run)
    total = sum(node.total_s for node in times) or 1.0
    for node in times[:40]:
        yield NodeView(
            node.node_class, node.count, node.median_s, node.p95_s, node.max_s, node.total_s, node.total_s / total
        )


def _sockets(run: Run) -> str:
    found = measures.sockets_of(named_sockets(run))
    if not found.count:
        return "No socket was opened."
    minutes = number_text(found.socket_hours * 60)
    said = f"{found.opened:,} of {found.count:,} sockets opened, {minutes} socket-minutes in all."
    if not found.dropped:
        return said + " No socket was dropped."
    codes = ", ".join(f"{code} {count:,}" for code, count in found.by_code)
    return f"{said} {found.dropped:,} dropped ({codes}): {number_text(found.drops_per_hour)} an hour and socket."


def _plan_text(run: Run) -> str:
    stored = run.recording.run.plan
    if not stored:
        return ""
    text = json.dumps(redact_json(stored), indent=1, ensure_ascii=False)  # a workflow may hold a key of an API
    return text if len(text) <= LONGEST_PLAN else text[:LONGEST_PLAN] + "\n…"
