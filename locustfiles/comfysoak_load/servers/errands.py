"""What the errands of a course have in common: they go to every server at once, and one that fails stops no other."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_load.process.load_process import LoadProcess
from comfysoak_load.servers.target import Target


def on_each_server(process: LoadProcess, act: Callable[[Target], None]) -> None:
    """Do it to all servers side by side, until the last has been dealt with; those that go on end with the caller."""

    def guarded(target: Target) -> None:
        try:
            act(target)
        except Exception as error:  # noqa: BLE001  # whatever it is, the other servers are dealt with
            process.own_error(error)

    going = [gevent.spawn(guarded, target) for target in process.targets]
    try:
        gevent.joinall(going)
    finally:
        gevent.killall(going, block=False)


class Patience:
    """So many seconds from now."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._until_ns = clock.now_ns() + round(seconds * NS_PER_S)

    @property
    def left_s(self) -> float:
        """What is left of them, at least 0."""
        return max(self._until_ns - self._clock.now_ns(), 0) / NS_PER_S

    @property
    def is_over(self) -> bool:
        """Whether none is left."""
        return self.left_s == 0.0
