"""Waiting in a test whose greenlets go on meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import gevent


def until(ready: Callable[[], object], within_s: float = 20.0) -> None:
    """Let the loop run until it is so."""
    with gevent.Timeout(within_s):
        while not ready():
            gevent.sleep(0.001)
