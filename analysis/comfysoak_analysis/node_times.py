"""How long nodes ran, by their class: told by the pass over the nodes that looks for model loads as well."""

from __future__ import annotations

from comfysoak_analysis.frames import Run
from comfysoak_analysis.model_loads.derivation import read_nodes
from comfysoak_analysis.node_lasting import NodeTimes


def node_times(run: Run) -> tuple[NodeTimes, ...]:
    """Of each class, the one that took most of all first."""
    return read_nodes(run).times
