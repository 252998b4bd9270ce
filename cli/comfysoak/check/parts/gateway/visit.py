"""One visit to a gateway: what is asked of it in which order, what is learned, and what is tidied up behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Final, Self

from comfysoak.check.checking import Checking
from comfysoak.check.parts.gateway.arrival import Arrival, Way, arrivals, seed_arrival
from comfysoak.check.parts.gateway.behind import Behind, behind_of
from comfysoak.check.parts.gateway.change import different, put_back_of_earlier
from comfysoak.check.parts.gateway.door import Door, Silence, Who, status_of
from comfysoak.check.parts.gateway.generation import Generation, generated
from comfysoak.check.parts.gateway.layout import Configuration, layout_of
from comfysoak.check.parts.gateway.pictures import ids_of
from comfysoak.check.parts.gateway.wishes import (
    PROMPT,
    Range,
    input_names,
    range_in,
    refused_wish,
    telling_wish,
)
from comfysoak.check.settings import GatewayAccess
from comfysoak_core.comfyui.json_text import text_or_none
from comfysoak_core.comfyui.shape import Graph, graph_or_none
from comfysoak_core.comfyui.transport import Answer
from comfysoak_core.comfyui.vary import NodeMapping
from comfysoak_core.gateway.api import Wish

PROMPTS_MOST: Final = 4
_WITHOUT_COMFYUI_S: Final = 20.0  # a gateway waits without limit for one that is frozen


@dataclass
class Left:
    """How the gateway was left: what is not as it was found, in words each. `pictures`: how many were taken away."""

    problems: list[str] = field(default_factory=list)
    pictures: int = 0
    prompts: int = 0


class Visit:
    """Whatever a part of the check does at a gateway; at the end of the block all of ours is taken away there."""

    def __init__(self, checking: Checking, access: GatewayAccess, prompts_most: int = PROMPTS_MOST) -> None:
        self.checking = checking
        self._prompts_most = prompts_most
        self.layout = layout_of(access.api_name)
        self.door = Door(access)
        self.behind: Behind | None = None
        self.config: Configuration | None = None  # None: not read, for what `config_answer` says
        self.config_answer: Mapping[str, Any] | Answer | Silence | None = None
        self.well: Answer | Silence | None = None
        self.first: Generation | None = None
        self.second: Generation | None = None
        self.unknown = 0  # requests with pictures whose prompt was not found in the ComfyUI that was named
        self.hung = 0  # requests that the gateway holds still
        self._sent = 0
        self._before: dict[str, Mapping[str, Any]] = {}  # by route, as an administrator read it
        self._pictures: list[str] = []  # ids of ours at the gateway
        self._classes: dict[str, Mapping[str, Any] | None] = {}
        self._left: Left | None = None

    def __enter__(self) -> Self:
        """With the ComfyUI behind it, where that answers."""
        self.behind = behind_of(self.checking)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take away what is ours, however the block was left."""
        try:
            self.tidy()
        finally:
            if self.behind is not None:
                self.behind.close()

    # --- what it is like ----------------------------------------------------------------------------------------

    def ask_health(self) -> Answer | Silence | None:
        """Its health route; None: its API has none."""
        route = self.door.access.api.health
        self.well = None if route is None else self.door.ask(Who.NOBODY, "GET", route)
        return self.well

    @property
    def is_well(self) -> bool | None:
        """Whether its health route answers; None: it has none."""
        route = self.door.access.api.health
        return None if route is None else status_of(self.door.ask(Who.NOBODY, "GET", route)) == 200

    def version(self) -> str:
        """What it says it is; empty: it does not say."""
        route = self.layout.version
        found = self.door.read(Who.NOBODY, route) if route is not None else None
        return text_or_none(found.get("version"), 40) or "" if isinstance(found, Mapping) else ""

    def ask_entry(self) -> Answer | Silence:
        """A request that is none: it makes no picture, and shows whether the token is known and the route is there."""
        return self.door.ask(Who.USER, "POST", self.door.access.api.path, {})

    def read_config(self) -> str:
        """Learn its configuration; what an earlier check had left changed is put back first, and told."""
        route = self.layout.config
        if route is None or not self.door.has(Who.ADMIN):
            return ""
        earlier = put_back_of_earlier(self.door)
        self.config_answer = self.door.read(Who.ADMIN, route)
        if isinstance(self.config_answer, Mapping):
            self._before[route] = self.config_answer
            self.config = Configuration.of(self.config_answer)
            self.checking.known.gateway_config = self.config_answer
        if self.config is not None and self.layout.steps is not None and self.layout.steps != route:
            steps = self.door.read(Who.ADMIN, self.layout.steps)
            if isinstance(steps, Mapping):
                self._before[self.layout.steps] = steps
        return f" {earlier}." if earlier else ""

    @property
    def model(self) -> str:
        """The model it is set to."""
        found = (document.get(key) for document in self._before.values() for key in ("IMAGE_GENERATION_MODEL", "MODEL"))
        return next((value for value in found if isinstance(value, str)), "")

    @property
    def default_size(self) -> str:
        """Its IMAGE_SIZE; empty: not known."""
        found = (document.get("IMAGE_SIZE") for document in self._before.values())
        return next((value for value in found if isinstance(value, str)), "")

    @property
    def graph(self) -> Graph | None:
        """The workflow it is set to, as far as is known."""
        if self.config is not None:
            return self.config.graph
        workflow = self.checking.known.workflow
        return workflow.graph if workflow is not None else None

    @property
    def mappings(self) -> tuple[NodeMapping, ...] | None:
        """What it maps; None: its configuration was not read."""
        return self.config.mappings if self.config is not None else None

    # --- pictures -----------------------------------------------------------------------------------------------

    def generate(self, wish: Wish, who: Who = Who.USER, within_s: float | None = None) -> Generation:
        """One request; its prompt and its pictures are remembered, to be taken away. `within_s`: else the deadline."""
        if self._sent >= self._prompts_most:
            raise RuntimeError(f"more than {self._prompts_most} prompts through the gateway")
        self._sent += 1
        self.checking.prompts_sent += 1
        self._left = None
        known = self.checking.known
        deadline_s = self.checking.settings.deadline_s if within_s is None else within_s
        if known.base_url is not None and not known.answers:
            deadline_s = min(deadline_s, _WITHOUT_COMFYUI_S)
        earlier = self.behind.ids() if self.behind is not None else frozenset()
        done = generated(self.door, who, wish, self.behind, deadline_s, self.checking.steady_ns)
        if self.behind is not None and done.trace is None and done.count:
            adopted = self.behind.adopt(lambda graph: self._is_like(wish, graph), earlier)
            done = replace(done, sighting=adopted)
            self.unknown += adopted.trace is None
        if isinstance(done.answer, Answer):
            self._pictures += ids_of(done.answer.body)
        self.hung += done.hangs
        return done

    def _is_like(self, wish: Wish, graph: Mapping[str, Any]) -> bool:
        """Whether all but the prompt stands in a graph: nobody else asks for that size and number just then."""
        found = arrivals(wish, graph, self.mappings, self.inputs_of)
        ways = [one.way for one in found if one.field != "prompt"]
        return bool(ways) and set(ways) == {Way.ARRIVED}

    def generate_twice(self) -> Generation:
        """A telling request, and where it succeeds another one that leaves the number of pictures out."""
        wish = telling_wish(
            self.door.access.api, self.graph, self.mappings, self.range_of, ignores_size=self.layout.ignores_size
        )
        self.first = self.generate(wish)
        if self.first.count:
            self.second = self.generate(Wish(PROMPT, size=wish.size))
        return self.first

    def generate_refused(self) -> Generation | None:
        """A request that ComfyUI refuses, so that nothing runs; None: none is known that it would refuse."""
        wish = self._refused()
        return None if wish is None else self.generate(wish)

    def generate_forbidden(self, who: Who) -> Generation:
        """A request of somebody who may not; one that would not run anyway, where there is such a one."""
        return self.generate(self._refused() or Wish(PROMPT), who)

    def _refused(self) -> Wish | None:
        graph = self.first_graph
        return None if graph is None else refused_wish(graph, self.arrived(), self.range_of)

    @property
    def first_graph(self) -> Graph | None:
        """The graph that ComfyUI got of the first request."""
        trace = self.first.trace if self.first is not None else None
        return None if trace is None else graph_or_none(dict(trace.graph))

    def arrived(self) -> list[Arrival]:
        """What became of each field of the first request; nothing where ComfyUI does not know it."""
        if self.first is None or self.first.trace is None:
            return []
        graph = self.first.trace.graph
        second = self.second.trace.graph if self.second is not None and self.second.trace is not None else None
        found = list(arrivals(self.first.wish, graph, self.mappings, self.inputs_of))
        return [*found, seed_arrival(graph, second, self.mappings, self.inputs_of)]

    def told_elsewhere(self) -> frozenset[str]:
        """Fields that rows of the mapping complain about: a wrong key that the environment has too, no seed."""
        own = self.checking.known.mappings
        if own is None:
            return frozenset()  # and nothing was said of a seed either
        theirs = self.mappings if self.mappings is not None else own
        same = {mapping.type or "" for mapping in own if mapping in theirs}
        wrong = {one.field for one in self.arrived() if one.way is Way.NO_INPUT}
        mapped = {mapping.type for mapping in (*own, *theirs)}
        return (frozenset({"seed", "prompt"}) - mapped) | (wrong & same)

    # --- what ComfyUI knows of its classes ----------------------------------------------------------------------

    def described(self, node_class: str) -> Mapping[str, Any] | None:
        """A node class as /object_info has it."""
        if node_class not in self._classes:
            known = self.checking.known.object_info.get(node_class)
            asked = self.behind.inputs_of(node_class) if known is None and self.behind is not None else None
            self._classes[node_class] = known if known is not None else asked
        return self._classes[node_class]

    def inputs_of(self, node_class: str) -> frozenset[str] | None:
        """The inputs of a class; None: not known."""
        described = self.described(node_class)
        return None if described is None else input_names(described)

    def range_of(self, node_class: str, name: str) -> Range:
        """Least and greatest value of an input."""
        return range_in(self.described(node_class) or {}, name)

    # --- how it is left -----------------------------------------------------------------------------------------

    def tidy(self) -> Left:
        """Take away what is ours, and compare; what was done once is not done again."""
        if self._left is None:
            self._left = Left()
            self._take_pictures_away(self._left)
            self._take_prompts_away(self._left)
            self._compare_configuration(self._left)
        return self._left

    def _take_pictures_away(self, left: Left) -> None:
        if self.layout.picture is None:
            left.pictures = 0
            return
        still: list[str] = []
        for picture in self._pictures:
            route = self.layout.picture.format(id=picture)
            self.door.ask(Who.USER, "DELETE", route)
            if status_of(self.door.ask(Who.USER, "GET", route)) == 200:
                still.append(picture)
        left.pictures = len(self._pictures) - len(still)
        if still:
            left.problems.append(f"{len(still)} pictures of ours are still there: {', '.join(still)}")

    def _take_prompts_away(self, left: Left) -> None:
        if self.hung:
            left.problems.append(f"{self.hung} request(s) that the gateway never answered hang there still")
        if self.behind is None:
            return
        self.behind.stop_ours()
        still = self.behind.forget_ours()
        left.prompts = len(self.behind.ours) - len(still)
        if still:
            left.problems.append(f"{len(still)} prompts of ours are still at {self.behind.url}: {', '.join(still)}")

    def _compare_configuration(self, left: Left) -> None:
        for route, before in self._before.items():
            after = self.door.read(Who.ADMIN, route)
            if not isinstance(after, Mapping):
                left.problems.append(f"{route} cannot be read any more")
            elif differing := different(before, after):
                left.problems.append(f"of its configuration {', '.join(differing)} is not as it was")

    @property
    def has_read_config(self) -> bool:
        """Whether there is something to compare it with."""
        return bool(self._before)

    @property
    def pictures_made(self) -> int:
        """How many came of our requests."""
        return sum(one.count for one in (self.first, self.second) if one is not None)
