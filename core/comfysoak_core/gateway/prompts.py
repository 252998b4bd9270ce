"""What is asked of a gateway, prompt after prompt: drawn from the texts of a workload."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

NUMBER: Final = "{number}"
_HIGHEST: Final = 2**31 - 1


@dataclass(frozen=True)
class Images:
    """What a workload asks for: `size` as (width, height); `pictures`: how many an answer must have, None: `n`."""

    prompts: tuple[str, ...]
    n: int = 1
    size: tuple[int, int] | None = None
    steps: int | None = None
    negative: str | None = None
    model: str | None = None
    pictures: int | None = None

    @property
    def wanted(self) -> int:
        """How many pictures an answer must have."""
        return self.n if self.pictures is None else self.pictures


def drawn_prompt(prompts: tuple[str, ...], numbers: random.Random) -> str:
    """One of the texts; `{number}` in it becomes a number that hardly comes twice."""
    text = numbers.choice(prompts)
    return text.replace(NUMBER, str(numbers.randint(0, _HIGHEST))) if NUMBER in text else text


def warnings_for(images: Images) -> tuple[str, ...]:
    """What will make the figures mean less than they seem."""
    if any(NUMBER in text for text in images.prompts):
        return ()
    count = len(images.prompts)
    texts = "the same prompt" if count == 1 else f"the same {count} prompts"
    drawn = "{number} in a prompt becomes another number each time"
    return (f"{texts} again and again: unless the gateway draws a seed for each, ComfyUI uses its cache. {drawn}",)
