"""Workloads of a gateway, made ready to be sent thousands of times."""

from __future__ import annotations

import random

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
        self._fetch = workload.fetch

    def draw(self, numbers: random.Random) -> Wish:
        """The next request."""
        images = self.images
        prompt = drawn_prompt(images.prompts, numbers)
        return Wish(prompt, images.n, images.size, images.steps, images.negative, images.model)

    def fetches(self, numbers: random.Random) -> bool:
        """Whether the pictures of the next answer are fetched."""
        return self._fetch.drawn(numbers)


def variation_of(wish: Wish) -> str:
    """What a row keeps of it: with the workload all it takes to send it again."""
    return orjson.dumps({"prompt": wish.prompt}).decode()
