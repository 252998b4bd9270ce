"""The runs that rows share: each is made once, when the first row asks for it, and serves many."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from random import SystemRandom
from typing import Any, Final

import orjson

from comfysoak.check.checking import Checking
from comfysoak.check.conversation.access import Access
from comfysoak.check.conversation.conversation import Conversation
from comfysoak.check.conversation.graphs import NOISE_CLASSES, graph_as_sent, noise_graph, seeds_drawn
from comfysoak.check.conversation.run import Asked, Run
from comfysoak_core.comfyui.answers import Queue, SystemStats
from comfysoak_core.comfyui.expected import expected_outputs, sampled_outputs
from comfysoak_core.comfyui.messages import Executing, Message
from comfysoak_core.comfyui.shape import Graph, GraphShape
from comfysoak_core.comfyui.uncached import uncached
from comfysoak_core.comfyui.variation import applied
from comfysoak_core.errors import TargetError
from comfysoak_core.rows import Outcome

_SEED_MOST: Final = 2**32 - 1


class Runs:
    """What a check has the server run. A run that is None was not made; `obstacle` or an earlier run says why."""

    def __init__(self, checking: Checking) -> None:
        self._checking = checking
        self._rng = SystemRandom()
        self._made: dict[str, Run | None] = {}
        self.queue: Queue | None = None  # as it was found
        self.stats: SystemStats | None = None
        self.was_unloaded: str | None = None  # why models were not unloaded first; empty: they were
        if checking.known.answers and checking.known.base_url is not None:
            self._look_around()

    @classmethod
    def of(cls, checking: Checking) -> Runs:
        """Those of this check."""
        if checking.known.runs is None:
            checking.known.runs = cls(checking)
        return checking.known.runs

    @property
    def obstacle(self) -> str | None:
        """Why the workflow cannot be run at all."""
        known = self._checking.known
        if not known.answers or known.base_url is None:
            return "the server does not answer"
        if known.workflow is None:
            return "there is no workflow that can be read"
        return None if known.is_sendable else "the workflow is not fit to be sent: see what failed before"

    @property
    def made(self) -> list[Run]:
        """All runs by now, in order."""
        return [run for run in self._made.values() if run is not None]

    @property
    def workflow_runs(self) -> list[Run]:
        """Those of the user's workflow."""
        return [run for name, run in self._made.items() if run is not None and name != "large"]

    def first(self) -> Run | None:
        """The workflow with new seeds: cold, if its models were not loaded."""
        return self._once("first", lambda: self._run("first run"))

    def second(self) -> Run | None:
        """With other seeds again: warm. Where nothing is a seed, the first once more: from the cache."""
        first = self.first()
        return self._after(
            first, "second", lambda: self._run("second run") if _varies(first) else self._repeated(first)
        )

    def warm(self) -> Run | None:
        """A run after the first that did its work, whether or not there are seeds."""
        second = self.second()
        if second is None or second.row.outcome != Outcome.CACHED:
            return second
        return self._after(second, "warm", lambda: self._run("run with the cache defeated", defeat=True))

    def again(self) -> Run | None:
        """The second once more, with the same seeds: from the cache."""
        second = self.second()
        if second is None or second.row.outcome == Outcome.CACHED:
            return second
        return self._after(second, "again", lambda: self._repeated(second))

    def dropped(self) -> Run | None:
        """With other seeds, and our connection cut as soon as a node runs."""
        first = self.first()
        return self._after(first, "dropped", lambda: self._run("run that is dropped", cut_at=_node_runs))

    def held(self) -> Run | None:
        """With other seeds, at the end of a long time."""
        return self._after(self.first(), "held", lambda: self._run("run after holding"))

    def large(self) -> Run | None:
        """A picture over 1 MiB that comes as a message; None also where the server lacks the nodes."""
        return self._once("large", self._run_large) if self.has_noise_nodes else None

    @property
    def has_noise_nodes(self) -> bool:
        """Whether the server has the nodes that make and send a picture which does not compress."""
        with Access.of(self._checking).client() as client:
            try:
                return all(client.object_info(name) is not None for name in NOISE_CLASSES)
            except TargetError:
                return False

    def _look_around(self) -> None:
        with Access.of(self._checking).client() as client:
            try:
                self.queue, self.stats = client.queue(), client.system_stats()
            except TargetError:
                return
            if not self._checking.settings.unload_first:
                return
            if self.queue.remaining:
                self.was_unloaded = f"{self.queue.remaining} prompts of others were in the queue"
                return
            try:
                client.free()
                self.was_unloaded = ""
            except TargetError as error:
                self.was_unloaded = error.problems[0].what

    def _once(self, name: str, make: Callable[[], Run | None]) -> Run | None:
        if name not in self._made:
            run = self._made[name] = None if self.obstacle and name != "large" else make()
            if run is not None and run.row.sent_ns is not None and run.after is None:
                self._checking.known.answers = False  # it did, before this run
        return self._made[name]

    def _after(self, before: Run | None, name: str, make: Callable[[], Run | None]) -> Run | None:
        return None if before is None or not before.went_well else self._once(name, make)

    def _run(self, name: str, cut_at: Callable[[Message], bool] | None = None, *, defeat: bool = False) -> Run | None:
        """With seeds of its own; where there are none (or with `defeat`), past the cache in another way."""
        graph = graph_as_sent(self._checking.known, self._checking.settings.variables)
        if graph is None:
            return None
        seeds = seeds_drawn(graph, self._checking.known, self._rng)
        varied = applied(graph, seeds)
        if defeat or not seeds:
            varied = uncached(varied, GraphShape.of(graph), str(uuid.uuid4()))
        asked = asked_for(name, varied, seeds)
        return Conversation(self._checking, asked, cut_at=cut_at).run()

    def _repeated(self, run: Run | None) -> Run | None:
        if run is None:
            return None
        asked = asked_for("the same again", run.asked.graph, run.asked.seeds)
        return Conversation(self._checking, asked, fetch=False).run()

    def _run_large(self) -> Run:
        asked = asked_for("large message", noise_graph(self._rng.randint(0, _SEED_MOST)), {})
        return Conversation(self._checking, asked).run()


def _varies(run: Run | None) -> bool:
    return run is not None and bool(run.asked.seeds)


def asked_for(name: str, graph: Graph, seeds: Mapping[str, Any] | None) -> Asked:
    """A graph that is to be sent, with what it will put out."""
    plain: Graph = orjson.loads(orjson.dumps(graph))
    return Asked(name, plain, GraphShape.of(plain), expected_outputs(plain), sampled_outputs(plain), seeds)


def _node_runs(message: Message) -> bool:
    return isinstance(message, Executing) and message.node is not None
