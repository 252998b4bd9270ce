"""The seeds of the planted truth, fixed before any of it was run.

A seed is a hash of a salt, a name and a number, so nobody has picked it. FINAL is the salt of the table in
`docs/planted.md`; while detectors and generators grow, REHEARSAL is used, so that nothing is fitted to the final ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

FINAL: Final = "comfysoak planted truth: the final seeds"
REHEARSAL: Final = "rehearsal"
OF_A_CODE: Final = 60
OF_PAIRS: Final = 100
OF_CLEAN: Final = 300
OF_LEAKS: Final = 60
OF_SIDES: Final = 100


def seed_of(salt: str, name: str, number: int) -> int:
    """The seed of recording `number` of `name`, 63 bits."""
    digest = hashlib.sha256(f"{salt}/{name}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seeds(salt: str, name: str, count: int) -> Iterator[int]:
    """The first `count` seeds of `name`."""
    return (seed_of(salt, name, number) for number in range(count))
