"""Which server of a fleet a prompt goes to: decided from what one process knows, without any I/O.

Each server has a `Standing`: what was last heard of it and whether it answers. A `Router` picks one of them:

    round-robin      prompt by prompt, in turn
    shortest-queue   where the fewest prompts wait or run, by the server's own word; ties go in turn
    affinity         by the models a prompt needs, so that each is loaded on one server only; they are dealt out evenly,
                     and when a server goes its models move to others, and no other model does

A server that is down, or silent, gets nothing as long as another one answers. When none does, the route goes on as if
all did: the prompt is sent, fails, and says so. Times are UTC ns of the run's clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from hashlib import blake2b
from itertools import islice, product
from typing import Any, Final, Literal

from comfysoak_core.clock import NS_PER_S

Route = Literal["round-robin", "shortest-queue", "affinity"]

POLL_EVERY_NS: Final = NS_PER_S  # a server is asked for its queue when it has told nothing for so long
FIRST_PROBE_NS: Final = NS_PER_S // 2  # one that is down is asked again after this, then twice as late each time
LONGEST_PROBE_NS: Final = 4 * NS_PER_S
MAX_REASON: Final = 200
MOST_NEEDS: Final = 1000  # of one workload that are dealt out evenly

_MODEL_FILE: Final = (".safetensors", ".ckpt", ".gguf", ".sft", ".pt", ".pth", ".bin", ".onnx")
_BASE_MODEL: Final = frozenset({"ckpt_name", "unet_name"})


class Health(IntEnum):
    """Whether a server answers; the lower the better."""

    UP = 0
    SILENT = 1  # it takes connections and does not answer, or answers rubbish
    DOWN = 2  # it refuses connections, or its host is not reachable


class Standing:
    """What one process knows of one server."""

    __slots__ = ("_probe_ns", "_unseen", "due_ns", "health", "heard_ns", "posting", "reason", "remaining", "since_ns")

    def __init__(self) -> None:
        self.health = Health.UP
        self.reason = ""  # why it is not up
        self.since_ns = 0  # of its health
        self.heard_ns = 0  # when it last told the length of its queue
        self.due_ns = 0  # when it is to be asked again
        self.posting = 0  # prompts of ours whose submission is not answered yet
        self.remaining: int | None = None  # prompts that wait or run there, as it last told
        self._probe_ns = FIRST_PROBE_NS
        self._unseen = 0  # prompts of ours it took after it last told its queue

    @property
    def waiting(self) -> int:
        """Prompts that wait or run there, of all clients, as far as known."""
        return (self.remaining or 0) + self._unseen + self.posting

    def told(self, remaining: int | None, at_ns: int) -> None:
        """It told the length of its queue, by a status message or an answer."""
        self.answered(at_ns)
        if remaining is not None:
            self.remaining = max(remaining, 0)
            self._unseen = 0
            self.heard_ns = at_ns
        self.due_ns = at_ns + POLL_EVERY_NS

    def sent(self) -> None:
        """A prompt leaves for it."""
        self.posting += 1

    def taken(self, sent_ns: int, *, accepted: bool) -> None:
        """The submission of a prompt that left at `sent_ns` has ended."""
        self.posting -= 1
        self._unseen += accepted and self.heard_ns < sent_ns

    def answered(self, at_ns: int) -> None:
        """It answered something: it is up."""
        if self.health is not Health.UP:
            self._turn(Health.UP, "", at_ns)
            self._probe_ns = FIRST_PROBE_NS

    def failed(self, health: Health, reason: str, at_ns: int) -> None:
        """It refused (DOWN), or did not answer as it should (SILENT): it is asked again later and later."""
        if self.health is not health:
            self._turn(health, reason[:MAX_REASON], at_ns)
        elif at_ns < self.due_ns:
            return  # another user met with it as well
        self.due_ns = at_ns + self._probe_ns
        self._probe_ns = min(2 * self._probe_ns, LONGEST_PROBE_NS)

    def _turn(self, health: Health, reason: str, at_ns: int) -> None:
        self.health, self.reason, self.since_ns = health, reason, at_ns
        self.remaining, self._unseen = None, 0  # of what was there before nothing is known


class Router:
    """Picks a server for each prompt. `servers` are their names; `turn` differs between processes.

    `needs` are the models that are known from the start (`models_of`), in any order.
    """

    def __init__(self, route: Route, servers: Sequence[str], turn: int = 0, needs: Iterable[str] = ()) -> None:
        self._route = route
        self._servers = tuple(servers)
        self._turn = turn
        self._orders: dict[str, tuple[int, ...]] = {}  # for each known set of models: the servers, the first its own
        for need in sorted(set(needs)):
            self._orders[need] = self._fairly(preference(need, self._servers))

    def choose(self, standings: Sequence[Standing], needs: str) -> int:
        """The index of the server for a prompt that needs the models of this name (`models_of`)."""
        if len(self._servers) == 1:
            return 0
        best = min(standing.health for standing in standings)
        usable = [index for index, standing in enumerate(standings) if standing.health is best]
        if self._route == "affinity":
            return next(index for index in self._order(needs) if index in usable)
        if self._route == "shortest-queue":
            fewest = min(standings[index].waiting for index in usable)
            usable = [index for index in usable if standings[index].waiting == fewest]
        self._turn += 1
        return usable[self._turn % len(usable)]

    def _order(self, needs: str) -> tuple[int, ...]:
        """Processes meet what was not known from the start in different orders: that goes by names alone."""
        return self._orders.get(needs) or preference(needs, self._servers)

    def _fairly(self, order: tuple[int, ...]) -> tuple[int, ...]:
        """`order`, begun by a server that has no more models of its own than any other."""
        own = Counter(others[0] for others in self._orders.values())
        fewest = min(own[index] for index in order)
        first = next(index for index in order if own[index] == fewest)
        return (first, *(index for index in order if index != first))


def preference(needs: str, servers: Sequence[str]) -> tuple[int, ...]:
    """Rendezvous hashing: all servers in an order that is the same everywhere, and another one for each of `needs`.

    So when a server goes its needs are spread over the others, and no other need moves.
    """

    def weight(index: int) -> bytes:
        return blake2b(f"{needs}\0{servers[index]}".encode(), digest_size=8).digest()

    return tuple(sorted(range(len(servers)), key=weight, reverse=True))


def models_of(graph: Mapping[str, Mapping[str, Any]], name: str, values: Mapping[str, Any] | None = None) -> str:
    """What a prompt needs to have loaded: its base models; without one all model files; without any its workflow.

    `values` are what was drawn for it (`node.input` -> value). Two workflows with one checkpoint need the same.
    """
    inputs = list(_inputs(graph, values or {}))
    found = {value for key, value in inputs if key in _BASE_MODEL} or {value for _, value in inputs}
    return " + ".join(sorted(found)) or f"workflow {name}"


def needs_of(graph: Mapping[str, Mapping[str, Any]], name: str, inputs: Mapping[str, object]) -> Iterable[str]:
    """All that prompts of a workload may need whose `inputs` vary (`node.input` -> the values of a choice)."""
    choices = {path: found for path, found in inputs.items() if isinstance(found, tuple) and any(map(_is_model, found))}
    for drawn in islice(product(*choices.values()), MOST_NEEDS):
        yield models_of(graph, name, dict(zip(choices, drawn, strict=True)))


def varies_models(graph: Mapping[str, Mapping[str, Any]], paths: Sequence[str]) -> bool:
    """Whether one of the inputs that vary holds a model file, so that prompts of one workload need different ones."""
    return any(f"{node_id}.{key}" in paths for node_id, node in graph.items() for key in node["inputs"]
               if _is_model(node["inputs"][key]))  # fmt: skip


def _is_model(value: object) -> bool:
    return isinstance(value, str) and value.lower().endswith(_MODEL_FILE)


def _inputs(graph: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Name and value of the inputs that hold a model file."""
    for node_id, node in graph.items():
        for key, written in node["inputs"].items():
            value = values.get(f"{node_id}.{key}", written)
            if _is_model(value):
                yield key, value
