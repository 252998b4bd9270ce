"""A workload of the plan, made ready to be sent thousands of times."""

from __future__ import annotations

import itertools
import random

from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.comfyui.variation import Draw, Variation
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.workload import Workload

_INDEXES_A_PROCESS = 1_000_000  # `seed: increment` counts in each process from another million on


class PreparedWorkload:
    """`workload` with its graph checked, its variation compiled and its shape known."""

    def __init__(self, workload: Workload, process_index: int = 0) -> None:
        workflow = Workflow.from_graph(workload.graph, name=workload.name)
        self.name = workload.name
        self.weight = workload.weight
        self.deadline_s = workload.deadline_s
        self.think_s = workload.think_s
        self.expected = Outcome(workload.expected)
        self.fetch = workload.fetch
        self.shape: GraphShape = workflow.shape
        self.noise = _samples(workload)
        self._variation = Variation(workflow, workload.vary)
        self._indexes = itertools.count(process_index * _INDEXES_A_PROCESS)

    def draw(self, numbers: random.Random) -> Draw:
        """The next prompt of this workload."""
        return self._variation.draw(numbers, next(self._indexes))


def _samples(workload: Workload) -> bool:
    """Whether its pictures come from a sampler: then one of a single colour is a failure, not an artist's choice."""
    return any("sampler_name" in node.get("inputs", {}) for node in workload.graph.values())
