"""One node about to give its result, what comes of it, and how its inputs are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfysoak_simulator.cache import Result
from comfysoak_simulator.graph import Node
from comfysoak_simulator.models import Model
from comfysoak_simulator.values import Images, Value

Json = Any


@dataclass(frozen=True, slots=True)
class Task:
    """One node about to give its result: `inputs` are resolved, `digest` is what it does."""

    node: Node
    inputs: Mapping[str, Value]
    digest: bytes
    prompt: dict[str, Json]
    extra_data: dict[str, Json]

    def number(self, name: str, default: float = 0) -> float:
        """The number at an input."""
        value = self.inputs.get(name)
        return value if isinstance(value, int | float) else default

    def images(self, name: str = "image") -> Images:
        """The images at an input; TypeError where there are none."""
        value = self.inputs.get(name)
        if isinstance(value, Images):
            return value
        raise TypeError(f"expected images at {name}, got {type(value).__name__}")

    def passed_on(self, value: Value) -> tuple[Value, ...]:
        """`value` as the node's output, if it has one."""
        return (value,) if self.node.node_class.outputs else ()


class NodeRaisedError(Exception):
    """A node raises; `type_name` is the full name of what real ones raise."""

    def __init__(self, message: str, type_name: str) -> None:
        super().__init__(message)
        self.type_name = type_name


@dataclass(frozen=True, slots=True)
class Expansion:
    """Nodes a node becomes at run time: id -> (class, inputs), and the links that give its outputs."""

    nodes: dict[str, tuple[str, dict[str, Json]]]
    outputs: tuple[list[Json], ...]


@dataclass(frozen=True, slots=True)
class Gift:
    """What came of a task, with what is sent on the way."""

    result: Result
    expansion: Expansion | None = None
    text: str | None = None  # a progress text to all
    websocket_images: Images | None = None
    read_models: tuple[tuple[Model, str], ...] = field(default=())  # files a loader has read, and as what


def gives(*outputs: Value) -> Gift:
    """Outputs, and nothing to show."""
    return Gift(Result(outputs, None))
