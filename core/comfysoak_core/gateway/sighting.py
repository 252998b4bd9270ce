"""What the ComfyUI servers behind a gateway say of one request: values, and how several servers' words are one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from comfysoak_core.gateway.traces import Trace


class Whereabouts(StrEnum):
    """Where the prompt of a request is."""

    ENDED = "ended"  # in a server's history
    RUNS = "runs"
    WAITS = "waits"
    GONE = "gone"  # was in the queue, and is in neither queue nor history now
    UNKNOWN = "unknown"  # no server has it, as far as they answer


@dataclass(frozen=True, slots=True)
class Sighting:
    """`trace` is None for GONE and UNKNOWN; `down` refuse connections, `silent` give no answer in time."""

    whereabouts: Whereabouts = Whereabouts.UNKNOWN
    server: str | None = None
    trace: Trace | None = None
    down: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether a server still has it to do."""
        return self.whereabouts in {Whereabouts.RUNS, Whereabouts.WAITS}


def sighting_of(server: str, trace: Trace | None, *, gone: bool) -> Sighting:
    """What one server that answers says."""
    if trace is None:
        return Sighting(Whereabouts.GONE, server) if gone else Sighting()
    if trace.entry is not None:
        return Sighting(Whereabouts.ENDED, server, trace)
    return Sighting(Whereabouts.RUNS if trace.runs else Whereabouts.WAITS, server, trace)
