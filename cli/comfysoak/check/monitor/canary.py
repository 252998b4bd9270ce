"""The canary: a prompt of ours now and then, since HTTP and WebSocket are green while nothing runs any more.

It is the workflow, as the platform sends it, with another seed and past the cache: it costs one generation. Pictures
that it would save come by the socket in place of a file, so that the server's disk does not fill up. Where there is no
workflow that can be sent, it is two stock nodes that need no model: a few ms, which prove that prompts are worked on,
and nothing of models and GPU. One at a time; it is taken out of history when it has ended.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final

from comfysoak.check.checking import Checking
from comfysoak.check.conversation.access import Access
from comfysoak.check.conversation.conversation import Conversation
from comfysoak.check.conversation.figures import seconds
from comfysoak.check.conversation.graphs import SEED_MOST, graph_as_sent, seeds_drawn
from comfysoak.check.conversation.run import Run
from comfysoak.check.conversation.runs import asked_for
from comfysoak.check.conversation.trouble import trouble_of
from comfysoak.check.row import State
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.shape import Graph, GraphShape, links_of
from comfysoak_core.comfyui.uncached import uncached
from comfysoak_core.comfyui.variation import applied
from comfysoak_core.errors import TargetError

SAVES: Final = "SaveImage"
SENDS: Final = "SaveImageWebsocket"
PREVIEWS: Final = "PreviewImage"
_SIDE: Final = 64
_WHITE: Final = 0xFFFFFF


class Kind(StrEnum):
    """What is sent."""

    WORKFLOW = "workflow"
    TINY = "tiny"


class Came(StrEnum):
    """What came of it. `waited`: others were before it until its deadline, which is no failure."""

    SUCCESS = "success"
    FAILURE = "failure"
    WAITED = "waited"


@dataclass(frozen=True, slots=True)
class Result:
    """One canary that has ended. `took_s`: from its sending to its end, waiting included."""

    prompt_id: str
    kind: Kind
    came: Came
    words: str
    code: Code | None = None
    took_s: float | None = None
    executed_s: float | None = None
    left: str = ""  # what could not be taken back


class Canary:
    """Sends them, one after the other. `in_flight` is the id of one that is on its way."""

    def __init__(self, checking: Checking, rng: Random) -> None:
        self._checking = checking
        self._rng = rng
        self.kind = Kind.WORKFLOW if checking.known.is_sendable and checking.known.workflow is not None else Kind.TINY
        self._sends = SENDS if _has(checking, SENDS) else None
        self._conversation: Conversation | None = None

    @property
    def in_flight(self) -> str | None:
        """The prompt that is on the server now, or about to be."""
        return self._conversation.prompt_id if self._conversation is not None else None

    def send(self) -> Result:
        """One, from its socket to its end; whatever ends this takes it back first."""
        graph = self._workflow() if self.kind is Kind.WORKFLOW else self._tiny()
        self._conversation = Conversation(self._checking, asked_for("canary", graph, {}))
        try:
            return result_of(self._conversation.run(), self.kind)
        finally:
            self._conversation = None

    def _workflow(self) -> Graph:
        known = self._checking.known
        graph = graph_as_sent(known, self._checking.settings.variables)
        assert graph is not None  # noqa: S101  # it has a workflow
        varied = applied(graph, seeds_drawn(graph, known, self._rng))
        varied = uncached(varied, GraphShape.of(varied), str(uuid.uuid4()))
        return without_files(varied) if self._sends is not None else varied

    def _tiny(self) -> Graph:
        return tiny_graph(self._sends or PREVIEWS, self._rng.randint(0, min(SEED_MOST, _WHITE)))


def tiny_graph(output: str, colour: int) -> Graph:
    """A picture of one colour, and a node that puts it out."""
    side = {"width": _SIDE, "height": _SIDE, "batch_size": 1, "color": colour}
    return {
        "1": {"class_type": "EmptyImage", "inputs": side},
        "2": {"class_type": output, "inputs": {"images": ["1", 0]}},
    }


def without_files(graph: Graph) -> Graph:
    """The graph with pictures sent that it would save. Nodes that others are linked to are left alone."""
    linked = {source for node in graph.values() for _, source, _ in links_of(node["inputs"])}
    return {
        node_id: {**node, "class_type": SENDS, "inputs": _images_of(node["inputs"])}
        if node["class_type"] == SAVES and node_id not in linked
        else node
        for node_id, node in graph.items()
    }


def result_of(run: Run, kind: Kind) -> Result:
    """What came of it."""
    row = run.row
    took_s = None
    if row.sent_ns is not None and row.finished_ns is not None:
        took_s = (row.finished_ns - row.sent_ns) / NS_PER_S
    is_gone = row.code == Code.SERVER_DOWN or (run.is_forgotten and not run.is_stuck)
    left = "" if is_gone else f"prompt {row.id} could not be taken back"
    came, words, code = _judged(run)
    return Result(row.id, kind, came, words, code, took_s, run.executed_s, left)


def _judged(run: Run) -> tuple[Came, str, Code | None]:
    trouble = trouble_of(run)
    if trouble is not None:
        told = trouble.row
        came = Came.FAILURE if told.state is State.FAILED else Came.WAITED
        return came, told.seen, told.code
    for code, files in run.files_of_code.items():
        return Came.FAILURE, f"{files[0].name}: {files[0].missing or files[0].wrong}", code
    if run.count_problem is not None:
        return Came.FAILURE, run.count_problem, Code.OUTPUT_MISSING
    executed = f", of which {seconds(run.executed_s)} at work" if run.executed_s is not None else ""
    return Came.SUCCESS, executed.removeprefix(", "), None


def _images_of(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name == "images"}


def _has(checking: Checking, node_class: str) -> bool:
    if not checking.known.answers:
        return False
    try:
        with Access.of(checking).client() as client:
            return client.object_info(node_class) is not None
    except TargetError:
        return False
