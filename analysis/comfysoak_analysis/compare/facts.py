"""What must be alike for two runs to be compared, and what may differ but is told.

The question is about the server: so another workflow, mix, load, number of servers, GPU or power limit is refused;
other versions, drivers and command lines are what people compare, and are only told.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from comfysoak_analysis.frames import Run
from comfysoak_analysis.measures import gpus
from comfysoak_analysis.text import bounded
from comfysoak_core.comfyui.variation import Variation
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.errors import ComfySoakError
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.quantities import format_duration, format_size
from comfysoak_core.scenario.workload import Workload

_MOST = 6  # of a kind in words


@dataclass(frozen=True, slots=True)
class Named:
    """A thing with the hash of all that matters of it: two are the same by that, however a version words them."""

    name: str = field(compare=False)
    hash: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one run; empty where the recording does not tell."""

    workflows: tuple[Named, ...] = ()  # `hash`: of the graph without its varied inputs
    mix: tuple[Named, ...] = ()  # of weight, deadline, pauses and what varies
    load: Named | None = None  # its name is the load in words
    target: str = ""  # `2 servers, round-robin`
    gpus: tuple[str, ...] = ()  # `NVIDIA H100 80GB HBM3, 79.6 GiB`, one a GPU
    power_limits_watts: tuple[int, ...] = ()
    drivers: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()  # of ComfyUI and what it runs on
    argv: tuple[str, ...] = ()
    harness: str = ""
    seed: int | None = None
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not alike; `refuses`: it may not be compared unless told to."""

    what: str
    baseline: str
    new: str
    refuses: bool

    def in_words(self, sides: tuple[str, str] = ("baseline", "new")) -> str:
        """`GPU: 1 x L4 (baseline), 1 x H100 (new)`."""
        return f"{self.what}: {self.baseline} ({sides[0]}), {self.new} ({sides[1]})"


def facts_of(run: Run) -> Facts:
    """The facts of one run."""
    told, plan = run.recording.run, run.plan
    names, limits = _gpus(run)
    versions = {
        f"ComfyUI {server.comfyui_version or '?'}, Python {server.python_version or '?'},"
        f" PyTorch {server.pytorch_version or '?'}"
        for server in told.servers
        if server.comfyui_version or server.pytorch_version
    }
    return Facts(
        workflows=tuple(_workflow(one) for one in plan.workloads) if plan else (),
        mix=tuple(_mix(one) for one in plan.workloads) if plan else (),
        load=_load(plan) if plan else None,
        target=_target(plan) if plan else "",
        gpus=names,
        power_limits_watts=limits,
        drivers=tuple(sorted({gpu.driver for gpu in told.gpus if gpu.driver})),
        versions=tuple(sorted(bounded(version, 120) for version in versions)),
        argv=tuple(sorted({bounded(" ".join(server.argv[1:]), 200) for server in told.servers if server.argv})),
        harness=told.harness_version,
        seed=plan.seed if plan else None,
        hosts=tuple(sorted({bounded(host.name, 80) for host in told.hosts})),
    )


def _gpus(run: Run) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """As run.json has them, else as they were sampled."""
    told = run.recording.run.gpus
    if told:
        sizes = [(gpu.name or "GPU", float(gpu.memory_total_bytes or math.nan)) for gpu in told]
        watts = [gpu.power_limit_watts for gpu in told if gpu.power_limit_watts]
    else:
        sizes = [(gpu.name or "GPU", gpu.memory_total_bytes) for gpu in gpus(run)]
        tracks = run.tracks("gpu_slow", ("power_limit_watts",)) if sizes else {}
        means = (columns["power_limit_watts"].mean for columns in tracks.values())
        watts = [float(np.nanmedian(mean)) for mean in means if not np.isnan(mean).all()]
    names = (f"{bounded(name, 80)}{f', {format_size(size)}' if size == size else ''}" for name, size in sizes)
    return tuple(sorted(names)), tuple(sorted(round(one) for one in watts))


def _workflow(workload: Workload) -> Named:
    return Named(bounded(workload.name, 120), _hash(_graph_without_varied(workload)))


def _graph_without_varied(workload: Workload) -> Any:  # JSON of any shape
    if workload.images is not None:
        return asdict(workload.images)
    try:
        wrong = workload.expected is Outcome.REJECTED
        workflow = Workflow.from_graph(workload.graph, name=workload.name, wrong=wrong)
        varied = frozenset(Variation(workflow, workload.vary).paths)
    except ComfySoakError:  # of another version: compared as it is written
        varied = frozenset()
    return {node_id: _node(node_id, node, varied) for node_id, node in workload.graph.items()}


def _node(node_id: str, node: Mapping[str, Any], varied: frozenset[str]) -> dict[str, Any]:
    inputs = node.get("inputs") or {}
    return {
        "class": node.get("class_type"),
        "inputs": {key: "varied" if f"{node_id}.{key}" in varied else value for key, value in inputs.items()},
    }


def _mix(workload: Workload) -> Named:
    """Everything but the graph, the seed and the texts of prompts: neither says how much work it is."""
    told = workload.model_dump(mode="json", exclude={"graph", "images", "vary"}, exclude_defaults=True)
    vary = workload.vary
    told["inputs"] = {path: repr(values) for path, values in sorted(vary.inputs.items())}
    told["batch"] = list(vary.batch)
    return Named(f"{bounded(workload.name, 80)} x {workload.weight:g}", _hash(told))


def _load(plan: Plan) -> Named:
    # Without defaults: a later version that knows more of a stage does not make it another load.
    stages = [stage.model_dump(mode="json", exclude_defaults=True) for stage in plan.stages]
    words = [f"{stage.load_in_words} for {format_duration(stage.duration_s)}" for stage in plan.stages]
    watchers = f", {plan.sessions.watchers:,} watchers" if plan.sessions.watchers else ""
    more = f", and {len(words) - _MOST} more" if len(words) > _MOST else ""
    text = f"{', then '.join(words[:_MOST])}{more}{watchers}"
    return Named(bounded(text, 400), _hash([stages, plan.sessions.model_dump(mode="json", exclude_defaults=True)]))


def _target(plan: Plan) -> str:
    through = "a gateway, " if plan.gateway is not None else ""
    count = plan.servers_count
    return f"{through}1 server" if count == 1 else f"{through}{count} servers, {plan.route}"


def _hash(value: Any) -> str:  # JSON of any shape
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def differences(baseline: Sequence[Facts], new: Sequence[Facts]) -> tuple[Difference, ...]:
    """All that is not alike, what refuses first."""
    found = [*_all_differences(baseline, new)]
    return tuple(sorted(found, key=lambda one: not one.refuses))


_Read = Callable[[Facts], object]
_KINDS: tuple[tuple[str, _Read, bool], ...] = (
    ("workflow", lambda facts: facts.workflows, True),
    ("mix", lambda facts: facts.mix, True),
    ("load", lambda facts: facts.load, True),
    ("target", lambda facts: facts.target, True),
    ("GPU", lambda facts: facts.gpus, True),
    ("power limit", lambda facts: facts.power_limits_watts, True),
    ("driver", lambda facts: facts.drivers, False),
    ("versions", lambda facts: facts.versions, False),
    ("command line", lambda facts: facts.argv, False),
    ("ComfySoak", lambda facts: facts.harness, False),
    ("seed", lambda facts: facts.seed, False),
    ("machine", lambda facts: facts.hosts, False),
)


def _all_differences(baseline: Sequence[Facts], new: Sequence[Facts]) -> Iterator[Difference]:
    for what, read, refuses in _KINDS:
        sides = [_distinct([read(facts) for facts in side]) for side in (baseline, new)]
        known = {value for side in sides for value in side if value not in ((), "", None)}
        silent = any(value in ((), "", None) for side in sides for value in side)
        if len(known) > 1 or (known and silent):
            texts = [_side_in_words(what, side, sides[1 - index]) for index, side in enumerate(sides)]
            yield Difference(what, texts[0], texts[1], refuses and len(known) > 1)


def _distinct(values: Sequence[object]) -> tuple[object, ...]:
    return tuple(dict.fromkeys(values))


def _side_in_words(what: str, values: Sequence[object], others: Sequence[object]) -> str:
    """The values of one side; named things only as far as they are not on the other side as well."""
    return bounded(" or ".join(_in_words(what, value, others) for value in values[:_MOST]), 600)


def _in_words(what: str, value: object, others: Sequence[object]) -> str:
    if value in ((), "", None):
        return "not told"
    if isinstance(value, Named):
        alike = any(isinstance(other, Named) and other.name == value.name != "" and other != value for other in others)
        return f"{value.name} [{value.hash[:6]}]" if alike else value.name
    if not isinstance(value, tuple):
        return str(value)
    if value and isinstance(value[0], Named):
        elsewhere = {one for other in others if isinstance(other, tuple) for one in other}
        own = [one for one in value if one not in elsewhere] if len(others) == 1 else list(value)
        return ", ".join(f"{one.name} [{one.hash[:6]}]" for one in own[:_MOST]) or "none of these"
    counts = {one: value.count(one) for one in dict.fromkeys(value)}
    unit = " W" if what == "power limit" else ""
    return ", ".join(f"{count} x {one}{unit}" if what in {"GPU", "power limit"} else f"{one}"
                     for one, count in counts.items())  # fmt: skip
