"""Which process listens on a port of this host: seen directly, behind a proxy, or in a container's network.

On Linux the kernel lists listening sockets to everybody, with their user; who holds one shows in its open files, to
the same user and to root only. Elsewhere psutil tells what the system lets it.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from comfysoak_probes.host.kernel import PROC

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # nothing is bound: these are compared with
RIGHTS = "run the probe as that user or as root (CAP_SYS_PTRACE), in a container with `pid: host` as well"

# What listens in the place of a server and passes connections on: the name of its process, in lower case.
PROXIES = frozenset({
    "docker-proxy", "com.docker.backend", "com.docker.vpnkit", "vpnkit", "rootlessport", "rootlesskit", "slirp4netns",
    "pasta", "conmon", "wslrelay", "svchost", "nginx", "haproxy", "caddy", "traefik", "envoy", "httpd", "apache2",
    "socat", "ssh", "sshd", "kubectl", "systemd", "cloudflared", "tailscaled",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server of this host is reached."""

    port: int
    addresses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Held:
    """Who holds a place; nobody: neither `pids` nor `hidden`."""

    pids: tuple[int, ...] = ()  # that listen, the one that started first in front
    proxy: int | None = None  # the process that listens in place of the server
    contained: bool = False  # in the network namespace of a container
    hidden: str | None = None  # somebody listens: why we cannot tell who, and what would help


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """One line of /proc/net/tcp."""

    address: str
    port: int
    uid: int
    inode: int


def place_of(url: str, own_addresses: Callable[[], Iterable[str]]) -> Place | None:
    """Where the server of this URL listens; None when it is on another host. Raises OSError for an unknown name."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = frozenset(str(info[4][0]).split("%")[0] for info in found)
    own = {address for address in addresses if address.startswith("127.")} or addresses & set(own_addresses())
    return Place(port, addresses) if own else None


def own_addresses() -> set[str]:
    """Every address of this host."""
    addresses = {"::1"}
    for interface in psutil.net_if_addrs().values():
        addresses |= {address.address.split("%")[0] for address in interface}
    return addresses


def holders(places: Sequence[Place]) -> dict[Place, Held]:
    """Who holds each of these places; a look at the open files of all processes only where somebody listens."""
    return _linux_holders(places) if psutil.LINUX else _other_holders(places)


def is_proxy(name: str) -> bool:
    """Whether a process of this name passes connections on rather than being the server."""
    return name.lower().removesuffix(".exe") in PROXIES


def _linux_holders(places: Sequence[Place]) -> dict[Place, Held]:
    listening = {
        place: best_matches(listening_sockets(PROC / "self/net", [place.port]), place.addresses) for place in places
    }
    pids = _pids_of({one.inode for found in listening.values() for one in found}) if any(listening.values()) else {}
    return {place: _linux_holder(place, sockets, pids) for place, sockets in listening.items()}


def _linux_holder(place: Place, sockets: list[ListeningSocket], pids: dict[int, set[int]]) -> Held:
    if not sockets:
        behind = _contained(place.port, None)
        return Held(behind, contained=True) if behind else Held()
    held_by = oldest_first({pid for one in sockets for pid in pids.get(one.inode, ())})
    if not held_by:
        who = f"port {place.port} is held by a process of {_user(sockets[0].uid)} that cannot be seen from here"
        return Held(hidden=f"{who}: {RIGHTS}")
    return _behind(held_by, place.port)


def _behind(pids: tuple[int, ...], port: int) -> Held:
    """The listener itself; where that is a proxy, the server behind it if it can be told."""
    try:
        process = psutil.Process(pids[0])
        if not is_proxy(process.name()):
            return Held(pids)
        behind = _contained(*_target(process.cmdline(), port)) if psutil.LINUX else ()
    except psutil.Error:
        return Held(pids)
    return Held(behind, proxy=pids[0], contained=bool(behind))


def _target(command: Sequence[str], port: int) -> tuple[int, str | None]:
    """Where docker-proxy leads: port and address in the container; the same port somewhere for any other proxy."""
    options = dict(pairwise(command))
    try:
        return int(options["-container-port"]), options["-container-ip"]
    except (KeyError, ValueError):
        return port, None


def listening_sockets(net: Path, ports: Iterable[int]) -> list[ListeningSocket]:
    """What listens on these ports in the network namespace whose files these are; nothing where they are not to be had.

    The files may be megabytes long: a pattern finds the few lines in a fraction of the time that splitting takes.
    """
    found = []
    wanted = b"|".join(b"%04X" % port for port in ports)
    pattern = re.compile(rb": ([0-9A-F]+):(" + wanted + rb") [0-9A-F]+:0000 0A \S+ \S+ \S+ +(\d+) +\d+ (\d+)")
    for name in ("tcp", "tcp6"):
        for match in pattern.finditer(_read(net / name)):
            address, port, uid, inode = match.groups()
            found.append(ListeningSocket(_address(address), int(port, 16), int(uid), int(inode)))
    return found


def best_matches(sockets: Iterable[ListeningSocket], addresses: frozenset[str]) -> list[ListeningSocket]:
    """Those bound to one of `addresses`, else those bound to all addresses: as the kernel chooses."""
    kept = list(sockets)
    exact = [one for one in kept if one.address.removeprefix("::ffff:") in addresses]
    return exact or [one for one in kept if one.address in WILDCARDS]


def _address(hexadecimal: bytes) -> str:
    words = [int(hexadecimal[at : at + 8], 16) for at in range(0, len(hexadecimal), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _pids_of(inodes: set[int]) -> dict[int, set[int]]:
    """The processes that have these sockets open, as far as we may see it."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, set[int]] = {}
    for pid in psutil.pids():
        for link in _links(f"{PROC}/{pid}/fd"):
            if link in wanted:
                found.setdefault(wanted[link], set()).add(pid)
    return found


def _links(folder: str) -> Iterator[str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208  # thousands of them: a Path each costs three times as much
    except OSError:  # it has ended, or it is another user's
        return
    for name in names:
        try:
            yield os.readlink(f"{folder}/{name}")  # noqa: PTH115  # as above
        except OSError:
            continue


def _contained(port: int, address: str | None) -> tuple[int, ...]:
    """Who listens on this port in another network namespace (and has this address there); nobody when several do."""
    found: list[tuple[int, ...]] = []
    for witness in _other_namespaces():
        net = PROC / str(witness) / "net"
        sockets = listening_sockets(net, [port])
        if sockets and (address is None or _has_address(net, address)):
            pids = _pids_of({one.inode for one in sockets})
            found.append(oldest_first({pid for holders in pids.values() for pid in holders}))
    return found[0] if len(found) == 1 else ()


def _other_namespaces() -> list[int]:
    """A process in each network namespace but ours, as far as we may see them."""
    found: dict[str, int] = {}
    for pid in psutil.pids():
        try:
            found.setdefault(str((PROC / str(pid) / "ns/net").readlink()), pid)
        except OSError:
            continue
    found.pop(str((PROC / "self/ns/net").readlink()), None)
    return list(found.values())


def _has_address(net: Path, address: str) -> bool:
    pattern = rb"\|-- " + re.escape(address.encode()) + rb"\n +/32 host LOCAL"
    return re.search(pattern, _read(net / "fib_trie")) is not None or ":" in address


def _user(uid: int) -> str:
    try:
        import pwd  # there is none on Windows

        return f"user {pwd.getpwuid(uid).pw_name}"
    except (ImportError, KeyError):
        return f"user {uid}"


def oldest_first(pids: Iterable[int]) -> tuple[int, ...]:
    """By their start time; without those that have ended."""
    started = []
    for pid in pids:
        try:
            started.append((psutil.Process(pid).create_time(), pid))
        except psutil.Error:
            continue
    return tuple(pid for _, pid in sorted(started))


def _other_holders(places: Sequence[Place]) -> dict[Place, Held]:
    """By psutil: all processes at once where the system tells that, else each that we may ask."""
    try:
        rows = list(_listening(psutil.net_connections("tcp")))
    except psutil.AccessDenied:
        rows = list(_listening_of_each())
    found = {}
    for place in places:
        sockets = [one for one in rows if one.port == place.port]
        pids = oldest_first({one.inode for one in best_matches(sockets, place.addresses) if one.inode})
        hidden = f"port {place.port} is held by a process that cannot be seen from here: run the probe with its rights"
        found[place] = _behind(pids, place.port) if pids else Held(hidden=hidden if sockets else None)
    return found


def _listening_of_each() -> Iterator[ListeningSocket]:
    for process in psutil.process_iter():
        try:
            found = process.net_connections("tcp")
        except psutil.Error:
            continue
        for one in _listening(found):
            yield replace(one, inode=process.pid)


def _listening(connections: Iterable[Any]) -> Iterator[ListeningSocket]:  # named tuples of two kinds
    """Those that listen, with the process's id in place of the inode (0: it is not told)."""
    for one in connections:
        if one.status == psutil.CONN_LISTEN and one.laddr:
            yield ListeningSocket(str(one.laddr.ip), int(one.laddr.port), 0, getattr(one, "pid", None) or 0)
