"""What came of one prompt of a check: its row, all that was heard, and what it has put out. Values, and no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from comfysoak.check.conversation.ear import End, Told
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Queue, SystemStats
from comfysoak_core.comfyui.ending import WENT_WELL
from comfysoak_core.comfyui.expected import ExpectedFiles
from comfysoak_core.comfyui.history import OutputFile
from comfysoak_core.comfyui.messages import PreviewImage, PreviewWithMetadata, Progress
from comfysoak_core.comfyui.shape import Graph, GraphShape
from comfysoak_core.rows import NodeRun, Outcome, Prompt
from comfysoak_probes.log.lines import LogKind, LogLine


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt that is going to be sent."""

    name: str  # "first run"
    graph: Graph
    shape: GraphShape
    expected: Mapping[str, ExpectedFiles]
    noise: frozenset[str] = frozenset()  # nodes that put out what a sampler made
    seeds: Mapping[str, int | float] | None = None  # path -> what was varied


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file or picture that it has put out, after it was fetched. `missing`: why it could not be."""

    name: str
    node_id: str
    size_bytes: int
    file: OutputFile | None  # None: it came as a message
    missing: str | None = None
    wrong: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One prompt, from before it was sent until it was forgotten."""

    asked: Asked
    row: Prompt
    told: Sequence[Told] = ()  # on its own socket
    elsewhere: Sequence[Told] = ()  # on another socket, with an id of its own, that was open as long
    nodes: Sequence[NodeRun] = ()
    cached: frozenset[str] = frozenset()
    outputs: Sequence[Fetched] = ()
    count_problem: str | None = None  # more or fewer files than the workflow saves
    log: Sequence[LogLine] | None = None  # what the server printed meanwhile; None: not to be had
    before: SystemStats | None = None
    after: SystemStats | None = None
    queue_before: Queue | None = None
    queue_at_deadline: Queue | None = None  # where it had one
    history_problem: str | None = None  # why GET /history/{id} did not have its entry, when it was asked last
    worker_died: str | None = None
    no_socket: str | None = None  # why there was none
    socket_end: End | None = None
    reopened: str | None = None  # after a cut: why no new socket opened; empty: one did
    is_stuck: bool = False  # it was taken back and is still there
    is_forgotten: bool = True  # its entry in history is gone

    @property
    def went_well(self) -> bool:
        """Whether all its nodes ran (or came from the cache)."""
        return self.row.outcome in WENT_WELL

    @property
    def executed_s(self) -> float | None:
        """How long the server worked on it: by its own clock, else by the messages."""
        row = self.row
        if row.started_server_ns is not None and row.ended_server_ns is not None:
            return (row.ended_server_ns - row.started_server_ns) / NS_PER_S
        if row.start_received_ns is not None and row.end_received_ns is not None:
            return (row.end_received_ns - row.start_received_ns) / NS_PER_S
        return None

    @property
    def has_begun(self) -> bool:
        """Whether the server is known to have worked on it."""
        row = self.row
        queue = self.queue_at_deadline
        return row.start_received_ns is not None or bool(queue and row.id in queue.running) or self.is_stuck

    @property
    def fell_silent(self) -> bool:
        """Whether the server answered nothing any more when it should have ended."""
        return self.queue_at_deadline is None and self.after is None and self.row.outcome == Outcome.TIMEOUT

    @property
    def waited_in_vain(self) -> bool:
        """Whether others were before it until its deadline."""
        return self.row.outcome == Outcome.TIMEOUT and not self.has_begun

    @property
    def own(self) -> list[Told]:
        """The messages that name it."""
        return [told for told in self.told if told.message.prompt_id == self.row.id]

    @property
    def models_requested(self) -> list[str]:
        """The models whose loading the log tells of."""
        lines = self.log or ()
        return [line.model or "" for line in lines if line.kind is LogKind.MODEL_REQUESTED]

    @property
    def degraded(self) -> list[str]:
        """Lines that tell of a model that fits only in part, or of work done in tiles for want of memory."""
        return [line.text for line in self.log or () if _is_degraded(line)]

    @property
    def files_of_code(self) -> dict[Code, list[Fetched]]:
        """What is wrong with its files, by code."""
        missing = [one for one in self.outputs if one.missing is not None]
        wrong = [one for one in self.outputs if one.wrong is not None]
        return {code: found for code, found in ((Code.OUTPUT_MISSING, missing), (Code.OUTPUT_WRONG, wrong)) if found}


def _is_degraded(line: LogLine) -> bool:
    in_part = line.kind is LogKind.MODEL_LOADED and "partially" in line.text
    return in_part or line.kind is LogKind.VAE_TILED


def heard_pictures(run_told: Sequence[Told], nodes: frozenset[str]) -> Iterator[tuple[str, bytes]]:
    """Node id and bytes of each picture that one of `nodes` has sent as a message.

    A frame of type 1 names no node: it belongs to the `progress` before it.
    """
    last: str | None = None
    for told in run_told:
        message = told.message
        if isinstance(message, Progress):
            last = message.node
        elif isinstance(message, PreviewWithMetadata) and message.node_id in nodes:
            yield str(message.node_id), message.image
        elif isinstance(message, PreviewImage) and last in nodes:
            yield str(last), message.image
