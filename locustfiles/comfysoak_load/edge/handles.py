"""File handles: every socket is one, and running out of them in mid run ruins it. So they are counted before.

Imports neither gevent nor Locust: `comfysoak run` asks this in its preflight.
"""

from __future__ import annotations

import sys

from comfysoak_core.errors import UsageError

OWN_HANDLES = 128  # files, pipes, libraries, Locust's own sockets


def handle_limit() -> int | None:
    """How many handles this process may have open now; None where the system sets no limit we can read."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def check_handles(sockets: int, requests: int = 0) -> None:
    """Raise this process's soft limit so that `sockets` WebSockets and `requests` HTTP requests fit at once.

    Child processes inherit the raised limit. Raises UsageError, naming the limit and how to raise it, when even the
    hard limit is too low.
    """
    if sys.platform == "win32":
        return
    import resource

    needed = sockets + requests + OWN_HANDLES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else hard, hard))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (OSError, ValueError):
        hard = soft  # macOS refuses what its own hard limit promises
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise _too_few(sockets, requests, needed, hard)


def _too_few(sockets: int, requests: int, needed: int, limit: int) -> UsageError:
    asked = f"{sockets} sockets" + (f" and {requests} requests at once" if requests else "")
    return UsageError(
        f"{asked} need {needed} file handles, this process may open {limit}",
        f"Raise the limit for this shell (`ulimit -n {needed}`; lastingly: nofile in /etc/security/limits.conf or "
        "LimitNOFILE of the systemd unit), ask for fewer users and watchers, or spread them over several processes "
        "(--processes).",
    )
