"""Values that are made by the hundred thousand: frozen for the type checker, and cheap to make.

A dataclass that is frozen at run time sets each field by a detour that makes it four times as slow to construct; one
is made for each message of each socket. So `@value` is frozen where it costs nothing: mypy refuses the assignment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(*, kw_only: bool = False, repr: bool = True) -> Callable[[type[T]], type[T]]:  # noqa: A002  # as dataclass has it
    """A dataclass with slots, compared and hashed by its fields, that nobody changes."""

    def make(cls: type[T]) -> type[T]:
        return dataclass(slots=True, unsafe_hash=True, kw_only=kw_only, repr=repr)(cls)

    return make
