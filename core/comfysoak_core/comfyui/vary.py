"""What changes from one prompt of a workload to the next, as plain values: what a scenario's `vary` says.

Without variation a ComfyUI does the work once and answers from its cache ever after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SeedMode = Literal["random", "increment", "fixed"]


@dataclass(frozen=True)
class Range:
    """Values drawn evenly from `low` to `high`, both included; whole numbers where the input holds one."""

    low: int | float
    high: int | float


@dataclass(frozen=True)
class NodeMapping:
    """One entry of COMFYUI_WORKFLOW_NODES, read as the platform reads it.

    A `key` that is absent is "text", whatever the type; one that is empty or null is the type's own.
    """

    type: str | None = None
    key: str | None = "text"
    node_ids: tuple[str, ...] = ()
    value: str | None = None


@dataclass(frozen=True)
class Vary:
    """All that varies. `seed` is a mode, or one number for all seeds; `inputs` goes by `node.input`.

    `batch` has sizes of a batch, put into `batch_input` or, where that is None, into the nodes that make it.
    """

    seed: SeedMode | int = "random"
    prompts: tuple[str, ...] = ()
    inputs: Mapping[str, tuple[Any, ...] | Range] = field(default_factory=dict)
    nodes: tuple[NodeMapping, ...] = ()
    batch: tuple[int, ...] = ()
    batch_input: str | None = None
