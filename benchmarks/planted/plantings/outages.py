"""A server that goes away and comes back, with all that sampler and load tell of it."""

from __future__ import annotations

from benchmarks.planted.world import Outage, Told, World


def away(world: World, server: int, from_s: float, back_s: float | None) -> None:
    """It refuses connections from one moment to the other (None: for good)."""
    world.script.outages.append(Outage(server, from_s, back_s))
    told = world.script.told
    told.append(Told(from_s + 0.02, "sampler", "log_missing", server, "log", None, "no log lines: the socket was closed, code 1006"))  # fmt: skip
    told.append(Told(from_s + 0.4, "sampler", "server_down", server, "queue", "SERVER_DOWN", "connection refused"))
    told.append(Told(from_s + 0.5, "load-0", "server_down", server, None, "SERVER_DOWN", "connection refused"))
    if back_s is None:
        return
    lasts = back_s - from_s
    told.append(Told(back_s + 0.3, "load-0", "restart", server, None, "SERVER_RESTARTED", "queue numbers began again"))
    told.append(Told(back_s + 0.4, "load-0", "server_up", server, None, None, "it answers again; before it was down"))
    told.append(Told(back_s + 0.4, "sampler", "source_found", server, "queue", None, f"the server answers again after {lasts:.1f} s"))  # fmt: skip
    why = "it refused connections and then answered again"
    told.append(Told(back_s + 0.4, "sampler", "server_restarted", server, None, "SERVER_RESTARTED", why))
    told.append(Told(back_s + 0.6, "sampler", "source_found", server, "log", None, f"log lines come again after {lasts:.1f} s"))  # fmt: skip
