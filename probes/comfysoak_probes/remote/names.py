"""Whose server is it: one that a probe watches on its own machine has another name in the run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

_LOOPBACK = frozenset({"localhost", "::1", "0.0.0.0", "::"})  # noqa: S104  # names in addresses, nothing listens there
NAMES_MOST = 1_000


@dataclass(slots=True)
class ServerNames:
    """The run's names of servers, for those of a probe: `probe_url` is how the run reaches it, `host` its own name."""

    probe_url: str
    servers: Iterable[str]
    host: str = ""
    _known: dict[str, str] = field(default_factory=dict)

    def of(self, server: str) -> str:
        """What the run calls this server; its own name where the run does not know it."""
        name = self._known.get(server)
        if name is None:
            name = self._find(server)
            if len(self._known) < NAMES_MOST:
                self._known[server] = name
        return name

    def _find(self, server: str) -> str:
        theirs = _parts(server)
        if theirs is None:
            return server
        machine = {_short(self.host), _short(_host(urlsplit(self.probe_url)))}
        here = {_short(_host(theirs))} if not _is_loopback(_host(theirs)) else machine
        for ours in self.servers:
            parts = _parts(ours)
            if parts is None or _port(parts) != _port(theirs) or parts.path.rstrip("/") != theirs.path.rstrip("/"):
                continue
            if _short(_host(parts)) in here or (_is_loopback(_host(parts)) and any(map(_is_loopback, here))):
                return ours
        return server


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading it checks it
    except ValueError:
        return None
    return parts if parts.hostname else None


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").lower()


def _short(host: str) -> str:
    """The name without its domain; an address as it is."""
    return host.lower() if ":" in host or host.replace(".", "").isdigit() else host.lower().partition(".")[0]


def _is_loopback(host: str) -> bool:
    return host in _LOOPBACK or host.startswith("127.")


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
