"""Workloads of the plan, made ready to be sent thousands of times, and the one whose turn it is."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from comfysoak_core.comfyui.expected import sampled_outputs
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.comfyui.variation import Draw, Variation
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.routing import models_of, varies_models
from comfysoak_core.scenario.workload import Workload
from comfysoak_load.prompts.intent import Intent, Intents
from comfysoak_load.prompts.outputs import Asked
from comfysoak_load.prompts.uploads import Uploads

_INDEXES_A_PROCESS = 1_000_000  # `seed: increment` counts in each process from another million on


class PreparedWorkload:
    """`workload` with its graph checked, its variation compiled and its shape known."""

    def __init__(self, workload: Workload, process_index: int = 0) -> None:
        self.expected = Outcome(workload.expected)
        self.uploads = Uploads(workload) if workload.uploads else None
        graph = self.uploads.marked(workload.graph) if self.uploads else workload.graph
        workflow = Workflow.from_graph(graph, name=workload.name, wrong=self.expected is Outcome.REJECTED)
        self.name = workload.name
        self.weight = workload.weight
        self.deadline_s = workload.deadline_s
        self.think_s = workload.think_s
        self._intents = Intents.of(workload)
        self._fetch = workload.fetch
        self._kinds = None if workload.fetch.kinds is None else frozenset(workload.fetch.kinds)
        self.shape: GraphShape = workflow.shape
        self._noise = sampled_outputs(workflow.graph)
        self._graph = workload.graph
        self._variation = Variation(workflow, workload.vary)
        fixed = models_of(workload.graph, workload.name)
        self._needs = fixed if not varies_models(workload.graph, self._variation.paths) else None
        self._indexes = itertools.count(process_index * _INDEXES_A_PROCESS)

    def draw(self, numbers: random.Random, inputs: Mapping[str, Any] | None = None) -> Draw:
        """The next prompt of this workload; `inputs` (`3.seed` -> value) are put in over what varies."""
        drawn = self._variation.draw(numbers, next(self._indexes))
        return drawn if inputs is None else self._variation.with_inputs(drawn, inputs)

    def intent(self, numbers: random.Random) -> Intent | None:
        """What is out of the ordinary with the next prompt; None: nothing."""
        return None if self._intents is None else self._intents.draw(numbers)

    def fetches(self, numbers: random.Random) -> bool:
        """Whether the outputs of the next prompt are fetched."""
        return self._fetch.drawn(numbers)

    def asked(self, drawn: Draw) -> Asked:
        """What a prompt must give back."""
        return Asked(drawn.expected, self._noise, self._kinds)

    def needs(self, drawn: Draw) -> str:
        """The models a prompt needs, as one name: what a route by affinity goes by."""
        return models_of(self._graph, self.name, drawn.values) if self._needs is None else self._needs


class _Named(Protocol):
    name: str
    weight: float


N = TypeVar("N", bound=_Named)


def chosen(workloads: Sequence[N], name: str | None, numbers: random.Random) -> N:
    """The workload of this name; for None one of the mix, by weight. ValueError when there is none."""
    if name is None:
        return numbers.choices(workloads, [workload.weight for workload in workloads])[0]
    for workload in workloads:
        if workload.name == name:
            return workload
    known = ", ".join(workload.name for workload in workloads)
    raise ValueError(f"no workload is called {name!r}; there are: {known}")
