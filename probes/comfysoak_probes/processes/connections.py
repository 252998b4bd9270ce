"""How many connections a server has open, and how many of them only the other end has closed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from comfysoak_probes.host.kernel import PROC

FILES = ("tcp", "tcp6")


@dataclass(slots=True)
class Connections:
    """One look at the connections of this host, for all servers on it.

    On Linux the kernel lists those of a whole network namespace, which takes it milliseconds (it walks a table made for
    a million of them); a look through a server's open files would take a second with ten thousand.
    """

    _texts: dict[str, bytes] = field(default_factory=dict)  # by network namespace

    def to(self, pid: int, port: int) -> tuple[int, int]:
        """Established ones to this port of this process, and those in CLOSE_WAIT. Raises OSError or psutil.Error."""
        if not psutil.LINUX:
            found = [one for one in psutil.Process(pid).net_connections("tcp") if one.laddr and one.laddr.port == port]
            states = [one.status for one in found]
            return states.count(psutil.CONN_ESTABLISHED), states.count(psutil.CONN_CLOSE_WAIT)
        codes = re.findall(rb": [0-9A-F]+:%04X [0-9A-F]+:[0-9A-F]{4} (01|08) " % port, self._text(pid))
        return codes.count(b"01"), codes.count(b"08")

    def _text(self, pid: int) -> bytes:
        try:
            namespace = str((PROC / str(pid) / "ns/net").readlink())
        except PermissionError:  # another user's: its own list may be read all the same
            namespace = str(pid)
        if namespace not in self._texts:
            self._texts[namespace] = b"".join(_read(PROC / str(pid) / "net" / name) for name in FILES)
        return self._texts[namespace]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""  # a kernel without IPv6
