"""What a monitor has to tell: one thing that happened, in words and in fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Happening:
    """`event` names its kind for ever; `words` are for people, `fields` for machines. `is_routine`: all went well."""

    event: str
    words: str
    fields: dict[str, Any] = field(default_factory=dict)
    is_routine: bool = False


Tell = Callable[[Happening], None]
