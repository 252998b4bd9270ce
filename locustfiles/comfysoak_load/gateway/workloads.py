"""Workloads of a gateway, made ready to be sent thousands of times."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

import orjson

from comfysoak_core.gateway.api import Wish
from comfysoak_core.gateway.prompts import Images, drawn_prompt
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.workload import Workload


class PreparedImages:
    """`workload`, of which `images` says what is asked for."""

    def __init__(self, workload: Workload, images: Images) -> None:
        self.name = workload.name
        self.weight = workload.weight
        self.deadline_s = workload.deadline_s
        self.think_s = workload.think_s
        self.expected = Outcome(workload.expected)
        self.images = images
        self._fetch = workload.fetch.share

    def draw(self, numbers: random.Random) -> Wish:
        """The next request."""
        images = self.images
        prompt = drawn_prompt(images.prompts, numbers)
        return Wish(prompt, images.n, images.size, images.steps, images.negative, images.model)

    def fetches(self, numbers: random.Random) -> bool:
        """Whether the pictures of the next answer are fetched."""
        return self._fetch >= 1 or (self._fetch > 0 and numbers.random() < self._fetch)


def variation_of(wish: Wish) -> str:
    """What a row keeps of it: with the workload all it takes to send it again."""
    return orjson.dumps({"prompt": wish.prompt}).decode()


class _Named(Protocol):
    name: str
    weight: float


N = TypeVar("N", bound=_Named)


def chosen(workloads: Sequence[N], name: str | None, numbers: random.Random) -> N:
    """The workload of this name; for None one of the mix, by weight. ValueError when there is none."""
    if name is None:
        return numbers.choices(workloads, [workload.weight for workload in workloads])[0]
    for workload in workloads:
        if workload.name == name:
            return workload
    known = ", ".join(workload.name for workload in workloads)
    raise ValueError(f"no workload is called {name!r}; there are: {known}")
