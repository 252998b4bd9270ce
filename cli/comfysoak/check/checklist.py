"""The checklist a platform team works through by hand (ComfyUI integration, phase 2), each line answered by rows.

A line is ticked when every row it needs was looked at and none failed. Rows in `also` are told of, and fail the line
when they fail; skipping them does not keep it from being ticked. A line over others stands for all below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from comfysoak.check.row import Row, State


@dataclass(frozen=True, slots=True)
class Line:
    """One line to tick. `below` are the lines under it; only lines without any name rows."""

    text: str
    needs: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    below: tuple[Line, ...] = ()

    def all_needs(self) -> tuple[str, ...]:
        """Ids of the rows it needs, its own and those of the lines below."""
        return tuple(dict.fromkeys((*self.needs, *(id_ for line in self.below for id_ in line.all_needs()))))

    def all_rows(self) -> tuple[str, ...]:
        """Ids of all its rows."""
        ids = (*self.needs, *self.also, *(id_ for line in self.below for id_ in line.all_rows()))
        return tuple(dict.fromkeys(ids))


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its lines."""

    heading: str
    lines: tuple[Line, ...]


class Tick(StrEnum):
    """What stands before a line."""

    TICKED = "ticked"
    FAILED = "failed"
    SKIPPED = "skipped"


def tick_of(line: Line, rows: Mapping[str, Row]) -> Tick:
    """How a line comes out; a row that was never decided counts as skipped."""
    if any(rows[id_].state is State.FAILED for id_ in line.all_rows() if id_ in rows):
        return Tick.FAILED
    if all(id_ in rows and rows[id_].state is not State.SKIPPED for id_ in line.all_needs()):
        return Tick.TICKED
    return Tick.SKIPPED


def walk(lines: Sequence[Line], depth: int = 0) -> Iterator[tuple[int, Line]]:
    """Each line with how deep it lies, in the order of the checklist."""
    for line in lines:
        yield depth, line
        yield from walk(line.below, depth + 1)


def _leaf(text: str, *needs: str, also: tuple[str, ...] = ()) -> Line:
    return Line(text, needs, also)


def _over(text: str, *below: Line) -> Line:
    return Line(text, below=below)


_CONFIGURATION: Final = Section(
    "1. Verify Phase 1 Configuration",
    (
        _over(
            "Confirm environment variables are properly loaded",
            _leaf(
                "Verify COMFYUI_BASE_URL is accessible",
                *("variables.set", "url.form", "url.name", "url.tcp", "url.http", "url.websocket"),
                also=("variables.values", "variables.known"),
            ),
            _leaf(
                "Check COMFYUI_WORKFLOW is properly formatted",
                *("workflow.json", "workflow.format", "workflow.classes", "workflow.inputs", "workflow.links"),
                *("workflow.values", "workflow.output"),
            ),
            _leaf(
                "Validate COMFYUI_WORKFLOW_NODES structure",
                *("nodes.form", "nodes.ids", "nodes.keys", "nodes.prompt", "nodes.seed"),
                also=("nodes.model",),
            ),
        ),
        _over(
            "Test Docker container connectivity",
            _leaf("Verify ComfyUI service is running", "service.running"),
            _leaf(
                "Test network communication between services",
                *("service.from_here", "service.containers"),
                also=("service.from_gateway",),
            ),
            _leaf("Confirm model access and loading", "models.listed", "models.load", "models.memory"),
        ),
    ),
)
_IMPLEMENTATION: Final = Section(
    "2. Test Existing Implementation",
    (
        _over(
            "Validate WebSocket Communication",
            _leaf("Test connection to ComfyUI server", "socket.connects", "socket.client_id"),
            _leaf(
                "Verify message handling (queue_prompt, get_images)",
                *("socket.order", "socket.images", "socket.private", "socket.size"),
            ),
            _leaf("Monitor WebSocket connection stability", "socket.ping", "socket.recovery", also=("socket.hold",)),
        ),
        _over(
            "Test Current Workflow Processing",
            _leaf("Verify existing workflow execution", "run.succeeds", "run.nodes"),
            _leaf("Test image generation pipeline", "run.repeat", "run.pictures"),
            _leaf("Validate output handling and storage", "run.folders", "run.queue", "run.left"),
        ),
        _over(
            "Check Integration Points",
            _leaf(
                "Test FastAPI endpoint responses",
                *("gateway.health", "gateway.models", "gateway.unauthorised", "gateway.invalid", "gateway.failure"),
                also=("gateway.forbidden",),
            ),
            _leaf(
                "Verify configuration management",
                "gateway.config",
                also=("gateway.stored", "gateway.change", "gateway.left"),
            ),
            _leaf(
                "Validate image processing pipeline",
                *("gateway.generates", "gateway.fields", "gateway.count", "gateway.download"),
                also=("gateway.private",),
            ),
        ),
    ),
)
_ERRORS: Final = Section(
    "3. Error Handling Assessment",
    (
        _over(
            "Review Current Error Handling",
            _leaf(
                "Test connection failure scenarios",
                *("errors.unreachable", "errors.refused", "errors.server_error"),
                *("errors.frozen", "errors.cut", "errors.lost_end"),
            ),
            _leaf("Verify error message formatting", "errors.words"),
            _leaf("Check cleanup procedures", "errors.clean", "errors.serves"),
        ),
        _over(
            "Document Error Cases",
            _leaf(
                "List common failure points",
                *("errors.unreachable", "errors.refused", "errors.server_error"),
                *("errors.frozen", "errors.cut", "errors.lost_end", "errors.gives_up"),
            ),
            _leaf(
                "Document error patterns",
                *("errors.workflow", "errors.node", "errors.memory", "errors.unknown_node"),
                also=("errors.mapping",),
            ),
            _leaf("Create troubleshooting guide", "errors.words"),
        ),
    ),
)
_MONITORING: Final = Section(
    "4. Basic Monitoring Setup",
    (
        _over(
            "Implement Essential Logging",
            _leaf("Add WebSocket communication logs", "monitor.log"),
            _leaf("Track generation success/failure", "monitor.log", "monitor.processing"),
            _leaf("Log configuration status", "monitor.configuration"),
        ),
        _over(
            "Setup Basic Health Checks",
            _leaf("Monitor ComfyUI service status", "monitor.service"),
            _leaf("Track WebSocket connection health", "monitor.socket"),
            _leaf("Verify workflow processing state", "monitor.processing"),
        ),
    ),
)
CHECKLIST: Final = (_CONFIGURATION, _IMPLEMENTATION, _ERRORS, _MONITORING)
DOCUMENTED: Final = frozenset({"List common failure points", "Document error patterns", "Create troubleshooting guide"})
