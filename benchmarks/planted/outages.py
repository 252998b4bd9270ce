"""A server that goes away and comes back, with all that sampler and load tell of it."""

from __future__ import annotations

from benchmarks.planted.world import Outage, Told, World


def away(world: World, server: int, from_s: float, back_s: float | None) -> Outage:
    """It refuses connections from one moment to the other (None: for good)."""

    def tell(at_s: float, source: str, kind: str, subject: str | None, code: str | None, detail: str) -> None:
        world.script.told.append(Told(at_s, source, kind, server, subject, code, detail))

    outage = Outage(server, from_s, back_s)
    world.script.outages.append(outage)
    tell(from_s + 0.02, "sampler", "log_missing", "log", None, "no log lines: the socket was closed, code 1006")
    tell(from_s + 0.4, "sampler", "server_down", "queue", "SERVER_DOWN", "connection refused")
    tell(from_s + 0.5, "load-0", "server_down", None, "SERVER_DOWN", "connection refused")
    if back_s is None:
        return outage
    after = f"again after {back_s - from_s:.1f} s"
    tell(back_s + 0.3, "load-0", "restart", None, "SERVER_RESTARTED", "queue numbers began again")
    tell(back_s + 0.4, "load-0", "server_up", None, None, "it answers again; before it was down")
    tell(back_s + 0.4, "sampler", "source_found", "queue", None, f"the server answers {after}")
    why = "it refused connections and then answered again"
    tell(back_s + 0.4, "sampler", "server_restarted", None, "SERVER_RESTARTED", why)
    tell(back_s + 0.6, "sampler", "source_found", "log", None, f"log lines come {after}")
    return outage
