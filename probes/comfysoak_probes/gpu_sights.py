"""One GPU that two sources see: its rows are in the recording twice, and a sum over rows counts it twice."""

from __future__ import annotations

from collections.abc import Iterator

from comfysoak_core.rows import Event
from comfysoak_probes.source import SAMPLER, Tick

GPUS_MOST = 1_024


def unseen(uuid: str, by: str) -> None:
    """For a source that is alone."""


class GpuSights:
    """Which source sees which GPU. As a source it tells, once, of each GPU that several see; safe from all threads."""

    name = "gpu sights"
    every_s = 5.0
    patience_s = 1.0

    def __init__(self) -> None:
        self._by: dict[str, str] = {}
        self._twice: dict[str, str] = {}  # who else sees it
        self._told: set[str] = set()

    def see(self, uuid: str, by: str) -> None:
        """A source sees this GPU; cheap enough for each row."""
        first = self._by.get(uuid)
        if first is None and len(self._by) < GPUS_MOST:
            self._by[uuid] = by
        elif first is not None and first != by:
            self._twice.setdefault(uuid, by)

    def read(self, tick: Tick) -> Iterator[Event]:
        """What was not told yet."""
        for uuid, by in list(self._twice.items()):
            if uuid not in self._told:
                self._told.add(uuid)
                detail = f"seen by {self._by[uuid]} and by {by}: its rows are there twice, leave one of the two out"
                yield Event(at_ns=tick.began_ns, source=SAMPLER, kind="gpu_twice", subject=uuid, detail=detail)

    def close(self) -> None:
        """Nothing to let go of."""
