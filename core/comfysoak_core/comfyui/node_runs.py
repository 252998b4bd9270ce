"""When each node of one prompt ran, by the messages about it.

Times come from `progress_state` (running .. finished), not from one `executing` to the next: coroutine nodes overlap.
Where the socket was away, a start or an end is only a bound, and the row says so (`in_gap`).
"""

from __future__ import annotations

from typing import Final

from comfysoak_core.comfyui.json_text import MAX_ID, bounded
from comfysoak_core.comfyui.messages import Progress, ProgressState
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.rows import NodeRun, Prompt

MAX_EXPANDED: Final = 4096  # nodes beyond those of the graph that are kept apart; a hostile server gets no more
_FINISHED: Final = "finished"
_RUNNING: Final = "running"


class _Run:
    """A node that runs, or has run since its row was last taken: what its row will say."""

    __slots__ = ("display_node_id", "ended_ns", "first_progress_ns", "in_gap", "started_ns", "steps")

    def __init__(self, started_ns: int, display_node_id: str | None, *, in_gap: bool) -> None:
        self.started_ns = started_ns
        self.display_node_id = display_node_id
        self.in_gap = in_gap
        self.first_progress_ns: int | None = None
        self.ended_ns: int | None = None
        self.steps: float | None = None


class NodeRuns:
    """The nodes of one prompt; times are UTC ns of the run's clock."""

    __slots__ = ("_after_gap", "_changed", "_done", "_limit", "_prompt", "_runs", "_shape")

    def __init__(self, prompt: Prompt, shape: GraphShape) -> None:
        self._prompt = prompt
        self._shape = shape
        self._limit = len(shape.classes) + MAX_EXPANDED
        self._runs: dict[str, _Run] = {}  # those running now
        self._done: dict[str, bool] = {}  # node id -> whether it did anything, as against coming from the cache
        self._changed: dict[str, _Run] = {}  # those whose rows were not taken since they began or ended
        self._after_gap = False

    @property
    def executed(self) -> set[str]:
        """Nodes of the graph that ran, or whose expansion did; ids the graph has not are left out."""
        ids = [*self._runs, *(node_id for node_id, ran in self._done.items() if ran)]
        return {origin for origin in map(self._shape.origin, ids) if origin is not None}

    @property
    def running(self) -> str | None:
        """A node that runs now."""
        return next(iter(self._runs), None)

    def started(self, node_id: str, at_ns: int, display_node_id: str | None = None) -> None:
        """`executing` named it."""
        if node_id in self._runs or node_id in self._done or not self._has_room_for(node_id):
            return
        if display_node_id is not None and len(display_node_id) > MAX_ID:
            display_node_id = bounded(display_node_id, MAX_ID)
        run = _Run(at_ns, display_node_id, in_gap=self._after_gap)
        self._runs[node_id] = self._changed[node_id] = run

    def state(self, message: ProgressState, at_ns: int, cached: frozenset[str]) -> None:
        """Look at the nodes of a `progress_state` that are not done yet."""
        for node_id in message.nodes:
            if node_id in self._done:
                continue
            node = message.node(node_id)
            if node is None:
                continue
            if node.state == _RUNNING:
                self.started(node_id, at_ns, node.display_node_id)
                if node.maximum != 1.0:
                    self._steps(node_id, node.value, node.maximum, at_ns)
            elif node.state == _FINISHED:
                self._finished(node_id, at_ns, node.maximum, cached)
        self._after_gap = False

    def progress(self, message: Progress, at_ns: int) -> None:
        """A `progress` message."""
        if message.node is not None and message.maximum is not None:
            self._steps(message.node, message.value or 0.0, message.maximum, at_ns)

    def gap(self) -> None:
        """The socket is gone: what runs now may end unseen, what comes next may have begun unseen."""
        self._after_gap = True
        for run in self._runs.values():
            run.in_gap = True

    def close(self, at_ns: int) -> None:
        """The prompt has ended: so have its nodes."""
        for node_id in list(self._runs):
            self._end(node_id, at_ns)

    def take(self) -> list[NodeRun]:
        """Rows that are new or have ended since the last call; a later row of the same id replaces an earlier one."""
        changed, self._changed = self._changed, {}
        return [self._row(node_id, run) for node_id, run in changed.items()]

    def _row(self, node_id: str, run: _Run) -> NodeRun:
        prompt = self._prompt
        return NodeRun(
            id=f"{prompt.id}/{node_id}",
            prompt_id=prompt.id,
            node_id=node_id,
            display_node_id=run.display_node_id,
            node_class=self._class_of(node_id),
            server=prompt.server,
            workflow=prompt.workflow,
            started_ns=run.started_ns,
            first_progress_ns=run.first_progress_ns,
            ended_ns=run.ended_ns,
            steps=run.steps,
            in_gap=run.in_gap,
        )

    def _has_room_for(self, node_id: str) -> bool:
        return len(self._runs) + len(self._done) < self._limit and len(node_id) <= MAX_ID

    def _class_of(self, node_id: str) -> str | None:
        """Its class; for a node made by expansion, whose class is not told, None."""
        return self._shape.classes.get(node_id)

    def _steps(self, node_id: str, value: float, maximum: float, at_ns: int) -> None:
        run = self._runs.get(node_id)
        if run is None:
            return
        run.steps = maximum
        if run.first_progress_ns is None and value > 0:
            run.first_progress_ns = at_ns

    def _finished(self, node_id: str, at_ns: int, maximum: float, cached: frozenset[str]) -> None:
        run = self._runs.get(node_id)
        if run is None:  # from the cache, or begun and ended while nobody listened
            if self._has_room_for(node_id):
                self._done[node_id] = node_id not in cached
            return
        if maximum != 1.0:
            run.steps = maximum
        self._end(node_id, at_ns)

    def _end(self, node_id: str, at_ns: int) -> None:
        run = self._runs.pop(node_id)
        run.ended_ns = at_ns
        self._done[node_id] = True
        self._changed[node_id] = run
