"""What the parts of a check share: how it was called, and what they have learned so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comfysoak.check.row import Row, State
from comfysoak.check.rows import KINDS
from comfysoak.check.settings import Settings
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.vary import NodeMapping
from comfysoak_core.comfyui.workflow import Workflow

if TYPE_CHECKING:
    from comfysoak.check.conversation.runs import Runs

PROMPTS_MOST = 10  # that a check without --errors and --hold sends, gateway's included


@dataclass(slots=True)
class Known:
    """What has been learned; None: not known, and the row that would tell has said why."""

    base_url: str | None = None  # as it is asked: without a slash at its end; set when it has the form of one
    answers: bool = False  # a ComfyUI answered by HTTP
    has_socket: bool = False  # and took a WebSocket
    version: str | None = None
    object_info: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of the classes of the workflow
    workflow: Workflow | None = None
    mappings: tuple[NodeMapping, ...] | None = None
    is_sendable: bool = False  # nothing that was seen of the workflow would make the server refuse it
    drops_outputs: bool = False  # the server would take it and leave out an output: a row has said so
    runs: Runs | None = None  # of the workflow: made by the first part that needs one, and shared
    gateway_config: Mapping[str, Any] | None = None  # as its administrator reads it, secrets and all: never shown


@dataclass(slots=True)
class Checking:
    """One check. `say` tells a person what is being done now; `steady_ns` is a clock that never jumps."""

    settings: Settings
    say: Callable[[str], None]
    steady_ns: Callable[[], int]
    known: Known = field(default_factory=Known)
    prompts_sent: int = 0


def row(id_: str, state: State, seen: str, remedy: str = "", *, code: Code | None = None) -> Row:
    """A row of the table by its id."""
    return Row(KINDS[id_], state, seen, remedy, code)


def ok(id_: str, seen: str) -> Row:
    """All is well."""
    return row(id_, State.OK, seen)


def warning(id_: str, seen: str, remedy: str, *, code: Code | None = None) -> Row:
    """It works, and will hurt."""
    return row(id_, State.WARNING, seen, remedy, code=code)


def failed(id_: str, seen: str, remedy: str, *, code: Code | None = None) -> Row:
    """It does not work."""
    return row(id_, State.FAILED, seen, remedy, code=code)


def skipped(id_: str, why: str) -> Row:
    """Not looked at."""
    return row(id_, State.SKIPPED, why)
