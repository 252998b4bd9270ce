"""From a scenario to a plan: every file and variable it names is read and checked, every mistake told at once."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.comfyui.variation import check_variation
from comfysoak_core.comfyui.vary import NodeMapping, Range, Vary
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.errors import ComfySoakError, Problem, ScenarioError
from comfysoak_core.gateway.api import APIS
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.address import check_url
from comfysoak_core.scenario.behaviour import cancel_of, give_up_of, mistakes_of, uploads_of
from comfysoak_core.scenario.embedded import Embedded
from comfysoak_core.scenario.gateway import Gateway
from comfysoak_core.scenario.goals import DEFAULT_GOALS, By, of_prompts, parse_goal, unknown_names
from comfysoak_core.scenario.golden import canary_of
from comfysoak_core.scenario.model import Scenario
from comfysoak_core.scenario.plan import GpuSource, Pause, Plan, Probes
from comfysoak_core.scenario.read import Document, Path_
from comfysoak_core.scenario.stage import COLD_START, Arrivals, CapacitySearch, ColdStart, Settle, Stage
from comfysoak_core.scenario.through_gateway import misfits, workload_of
from comfysoak_core.scenario.workload import Fetch, Workload
from comfysoak_core.scenario.written.probes import GpuSourceSection
from comfysoak_core.scenario.written.search import SearchSection
from comfysoak_core.scenario.written.stages import StageSection
from comfysoak_core.scenario.written.target import Target
from comfysoak_core.scenario.written.workload import WorkloadSection
from comfysoak_core.trace.file import check_trace

T = TypeVar("T")
PROMPT_FILE_BYTES = 64 * 1024 * 1024
_MAPPINGS: TypeAdapter[tuple[NodeMapping, ...]] = TypeAdapter(tuple[NodeMapping, ...])


def resolve(scenario: Scenario, document: Document) -> Plan:
    """The plan of a scenario; relative paths are relative to its file. ScenarioError for all that is wrong."""
    resolver = _Resolver(document, Path(document.name).parent)
    plan = resolver.plan(scenario)
    if plan is None or resolver.problems:
        raise ScenarioError.of(resolver.problems)
    return plan


@dataclass(slots=True)
class _Resolver:
    """Reads what a scenario names and collects what is wrong with it."""

    document: Document
    folder: Path
    problems: list[Problem] = field(default_factory=list)

    def plan(self, scenario: Scenario) -> Plan | None:
        workloads = [self._workload(part, index) for index, part in enumerate(scenario.workload)]
        self._names_differ([workload.name for workload in workloads if workload], scenario)
        self._names_are_known([workload.name for workload in workloads if workload], scenario)
        servers = [self._try(place, lambda url=url: self._server(url))  # type: ignore[misc]  # bound now
                   for place, url in _servers_named(scenario.target)]  # fmt: skip
        gateway = self._gateway(scenario.target)
        for place, what, remedy in misfits(scenario):
            self.problems.append(Problem(what, remedy, self.document.where(place)))
        embedded = self._embedded(scenario.target.embedded)
        if self.problems:
            return None
        canary = self._try(("canary",), lambda: canary_of(scenario, self.folder))
        graphs = {workload.name: workload.graph for workload in workloads if workload}
        stages = [self._stage(part, index, graphs, scenario) for index, part in enumerate(scenario.load)]
        goals = tuple(section.goal for section in scenario.goals)
        self._filters_are_known(goals, list(graphs), [stage for stage in stages if stage], servers, embedded)
        if self.problems:
            return None
        return Plan(
            name=scenario.name or Path(self.document.name).stem,
            seed=scenario.seed,
            servers=tuple(server for server in servers if server),
            embedded=embedded,
            gateway=gateway,
            route=scenario.target.route,
            token_variable=scenario.target.token_variable,
            workloads=tuple(workload for workload in workloads if workload),
            stages=tuple(stage for stage in stages if stage),
            max_duration_s=scenario.max_duration,
            sessions=scenario.sessions.resolved(),
            canary=canary,
            probes=_probes(scenario),
            goals=goals,
            aborts=tuple(abort for section in scenario.goals if (abort := section.resolved()) is not None),
            accepted=tuple(section.resolved() for section in scenario.accept),
            on_undecided=scenario.on_undecided,
        )

    def _filters_are_known(
        self,
        goals: Sequence[str],
        workflows: Sequence[str],
        stages: Sequence[Stage],
        servers: Sequence[str | None],
        embedded: Embedded | None,
    ) -> None:
        """Names in the filters of goals are those of this scenario, as far as they are known before the run."""
        there: dict[By, Sequence[str]] = {By.WORKFLOW: workflows}
        if not any(stage.search for stage in stages):  # its levels become phases of their own
            there[By.PHASE] = [stage.phase for stage in stages]
        numbers = [str(number) for number in range(embedded.servers if embedded is not None else len(servers))]
        if numbers:
            there[By.SERVER] = [*(server for server in servers if server), *numbers]
        for index, goal in enumerate(goals):
            wrong = unknown_names(parse_goal(goal), there)
            if wrong is not None:
                self.problems.append(Problem(wrong, "", self.document.where(("goals", index))))

    def _try(self, place: Path_, read: Callable[[], T]) -> T | None:
        """What `read` gives; None, and its problems kept with their place in the scenario, when it fails."""
        try:
            return read()
        except ComfySoakError as error:
            here = self.document.where(place)
            for problem in error.problems:
                where = f"{here}: {problem.where}" if problem.where and problem.where != here else here
                self.problems.append(Problem(problem.what, problem.remedy, where))
            return None

    def _workload(self, part: WorkloadSection, index: int) -> Workload | None:
        place: Path_ = ("workload", index)
        if part.prompt is not None:
            return self._images(part, index)
        workflow = self._try((*place, "workflow"), lambda: self._workflow(part))
        vary = self._try((*place, "vary"), lambda: self._vary(part))
        if workflow is None or vary is None:
            return None
        self._try((*place, "vary"), lambda: check_variation(workflow, vary))
        uploads = self._try((*place, "upload"), lambda: uploads_of(part.upload, workflow, self.folder))
        mistakes = self._try((*place, "mistakes"), lambda: mistakes_of(part.mistakes, workflow))
        return Workload(
            name=_name_of(part),
            graph=dict(workflow.graph),
            weight=part.weight,
            deadline_s=part.deadline,
            expected=part.expect,
            vary=vary,
            fetch=Fetch(share=part.fetch.share, kinds=part.fetch.kinds),
            think_s=part.think,
            front=part.front,
            uploads=uploads or (),
            cancel=cancel_of(part.cancel),
            give_up=give_up_of(part.give_up),
            mistakes=mistakes,
        )

    def _images(self, part: WorkloadSection, index: int) -> Workload | None:
        """What is asked of a gateway."""
        written, read = part.prompt or (), self._prompts
        prompts = self._try(
            ("workload", index, "prompt"), lambda: read(written) if isinstance(written, str) else written
        )
        return workload_of(part, _name_of(part), prompts) if prompts else None

    def _gateway(self, target: Target) -> Gateway | None:
        if target.embedded is not None and target.embedded.gateway is not None:
            written = target.embedded.gateway
            return Gateway(url="", api=APIS[written.api], token_variable=written.token_variable)
        if target.gateway is None:
            return None
        section = target.gateway
        url = self._try(("target", "gateway", "url"), lambda: self._server(section.url))
        return None if url is None else section.resolved(url)

    def _workflow(self, part: WorkloadSection) -> Workflow:
        written, wrong = part.workflow or "", part.expect is Outcome.REJECTED
        if written.startswith("$"):
            return Workflow.from_text(_from_environment(written), where=written, wrong=wrong)
        return Workflow.load(self.folder / written, wrong=wrong)

    def _vary(self, workload: WorkloadSection) -> Vary:
        part, batch = workload.vary, workload.batch
        prompts = self._prompts(part.prompt) if isinstance(part.prompt, str) else part.prompt
        inputs: dict[str, tuple[Any, ...] | Range] = {
            path: values.values if values.low is None or values.high is None else Range(values.low, values.high)
            for path, values in part.inputs.items()
        }
        return Vary(
            seed=part.seed,
            prompts=prompts,
            inputs=inputs,
            nodes=self._nodes(part.nodes),
            batch=batch.sizes if batch else (),
            batch_input=batch.input if batch else None,
        )

    def _prompts(self, name: str) -> tuple[str, ...]:
        path = self.folder / name
        lines = tuple(line.strip() for line in _read(path, "the file of prompts").splitlines())
        prompts = tuple(line for line in lines if line and not line.startswith("#"))
        if not prompts:
            raise ScenarioError(f"{path} holds no prompt", "Write one prompt a line.")
        return prompts

    def _nodes(self, written: str | tuple[dict[str, Any], ...]) -> tuple[NodeMapping, ...]:
        value: Any = written
        if isinstance(written, str):
            text = (
                _from_environment(written) if written.startswith("$") else _read(self.folder / written, "the mapping")
            )
            try:
                value = json.loads(text)
            except ValueError as error:
                raise ScenarioError(f"the node mapping is not JSON: {error}", _MAPPING_REMEDY, where=written) from None
        if not isinstance(value, list | tuple):
            raise ScenarioError(f"expected a list of mappings, got {type(value).__name__}", _MAPPING_REMEDY)
        try:
            return _MAPPINGS.validate_python(tuple(value))
        except ValidationError as error:
            raise ScenarioError.of([
                Problem(f"node mapping {'.'.join(str(part) for part in item['loc'])}: {item['msg']}", _MAPPING_REMEDY)
                for item in error.errors()
            ]) from None  # fmt: skip

    def _server(self, written: str) -> str:
        if not written.startswith("$"):
            return written
        try:
            return check_url(_from_environment(written))
        except ValueError as error:
            raise ScenarioError(f"{written.removeprefix('$')}: {error}") from None

    def _embedded(self, written: Embedded | None) -> Embedded | None:
        if written is None:
            return None
        return self._try(("target", "embedded"), lambda: written.with_files_read(self.folder))

    def _stage(self, part: StageSection, index: int, graphs: Mapping[str, Graph], scenario: Scenario) -> Stage | None:
        if part.trace is None:
            return _stage(part, scenario)
        path = self.folder / part.trace
        replay = self._try(("load", index, "trace"), lambda: check_trace(path, graphs))
        if replay is None:
            return None
        replay = replay.model_copy(update={"speed": part.speed, "in_flight_most": part.in_flight_most})
        duration_s = part.duration or math.floor(replay.lasts_s / part.speed) + 1.0  # the last prompt lies within
        return Stage(duration_s=duration_s, replay=replay, settle=_settle(part), phase=part.phase)

    def _names_differ(self, names: list[str], scenario: Scenario) -> None:
        for index, part in enumerate(scenario.workload):
            name = _name_of(part)
            if name in names and names.index(name) < index and names.count(name) > 1:
                self.problems.append(
                    Problem(f"two workloads are called {name!r}", "Give each a name of its own: name: ...",
                            self.document.where(("workload", index)))
                )  # fmt: skip

    def _names_are_known(self, names: list[str], scenario: Scenario) -> None:
        """Cold starts and stalled readers name workloads there are; with broken workloads nobody knows."""
        if len(names) < len(scenario.workload):
            return
        wanted: list[tuple[Path_, str | None]] = [
            (("load", index, "cold_start", "workload"), stage.cold_start.workload)
            for index, stage in enumerate(scenario.load)
            if stage.cold_start is not None
        ]
        if scenario.sessions.stalled is not None:
            wanted.append((("sessions", "stalled", "sends"), scenario.sessions.stalled.sends))
        for place, name in wanted:
            if name is not None and name not in names:
                remedy = f"There are: {', '.join(names)}."
                self.problems.append(Problem(f"no workload is called {name!r}", remedy, self.document.where(place)))


_MAPPING_REMEDY = (
    'For example: [{"type": "prompt", "key": "text", "node_ids": ["6"]},'
    ' {"type": "seed", "key": "seed", "node_ids": ["3"]}]'
)


def _stage(part: StageSection, scenario: Scenario) -> Stage:
    if part.cold_start is not None:
        what = ColdStart(command=part.cold_start.command, workload=part.cold_start.workload)
        return Stage(duration_s=part.duration, cold_start=what, phase=COLD_START)
    if part.search is not None:
        return _searching(part, part.search, scenario)
    settle = _settle(part)
    if part.users is not None:
        curve = part.users.curve(part.duration)
        return Stage(duration_s=part.duration, users=curve, settle=settle, phase=part.phase)
    assert part.arrivals is not None  # noqa: S101  # the model has seen to one of the two
    arrivals = Arrivals(
        rate_per_s=part.arrivals.curve(part.duration), process=part.process, in_flight_most=part.in_flight_most
    )
    return Stage(duration_s=part.duration, arrivals=arrivals, settle=settle, phase=part.phase)


def _searching(part: StageSection, search: SearchSection, scenario: Scenario) -> Stage:
    between = search.users or search.arrivals
    assert between is not None  # noqa: S101  # the model has seen to one of the two
    what = CapacitySearch(
        counts_users=search.users is not None,
        low=between.start,
        high=between.end,
        hold_s=search.hold,
        hold_most_s=search.hold_most or 3 * search.hold,
        discard_s=search.hold / 4 if search.discard is None else search.discard,
        factor=search.factor,
        within=search.within,
        goals=search.goals or of_prompts(section.goal for section in scenario.goals) or of_prompts(DEFAULT_GOALS),
        process=part.process,
        in_flight_most=part.in_flight_most,
    )
    patience_s = max(workload.deadline for workload in scenario.workload)
    return Stage(duration_s=part.duration or what.longest_s(patience_s), search=what, phase=part.phase)


def _settle(part: StageSection) -> Settle | None:
    return Settle(every_s=part.settle.every, wait_s=part.settle.wait) if part.settle is not None else None


def _probes(scenario: Scenario) -> Probes:
    part = scenario.probes
    if part.gpu is not None:
        gpu = tuple(_gpu_source(source) for source in part.gpu)
    else:  # embedded servers bring exporters of their own, known when they have started
        gpu = () if scenario.target.embedded else (GpuSource(kind="nvml"),)
    pause = Pause(every_s=part.pause.every, lasts_s=part.pause.lasts) if part.pause is not None else None
    return Probes(
        gpu=gpu, every_s=part.every, host_every_s=part.host, server_every_s=part.server, log=part.log, pause=pause
    )


def _gpu_source(source: GpuSourceSection) -> GpuSource:
    if source.nvml:
        return GpuSource(kind="nvml")
    if source.dcgm is not None:
        return GpuSource(kind="dcgm", url=source.dcgm)
    return GpuSource(kind="probe", url=source.probe, token_variable=source.token_variable)


def _servers_named(target: Target) -> list[tuple[Path_, str]]:
    """Every ComfyUI a target names, with its place in the scenario."""
    if target.gateway is not None:
        return [(("target", "gateway", "comfyui"), url) for url in target.gateway.comfyui]
    return [(("target", "comfyui"), url) for url in target.comfyui or ()]


def _name_of(part: WorkloadSection) -> str:
    """Its own name, or that of the file it is in."""
    if part.name is not None:
        return part.name
    return _stem(part.workflow or (part.prompt if isinstance(part.prompt, str) else "images"))


def _stem(written: str) -> str:
    return written.removeprefix("$").lower() if written.startswith("$") else Path(written).stem


def _from_environment(written: str) -> str:
    name = written.removeprefix("$")
    value = os.environ.get(name, "")
    if not value:
        raise ScenarioError(f"{written} is to come from the environment, but {name} is not set", f"export {name}=...")
    return value


def _read(path: Path, what: str) -> str:
    try:
        if path.stat().st_size > PROMPT_FILE_BYTES:
            raise ScenarioError(f"{path} is larger than 64 MiB", f"Expected {what}; split it or name another.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ScenarioError(f"{what} {path} cannot be read: {words}", "Paths are relative to the scenario.") from None
