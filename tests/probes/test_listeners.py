"""Who listens on a port: by the kernel's own list, and by what may be seen of processes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil
import pytest

from comfysoak_probes.processes import listeners as under_test
from comfysoak_probes.processes.listeners import (
    Held,
    ListeningSocket,
    Place,
    best_matches,
    holders,
    is_proxy,
    listening_sockets,
    own_addresses,
    place_of,
)

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = "00000000:00000000 00:00000000 00000000  1000        0"


def line(address: str, port: int, *, state: str = "0A", inode: int = 7) -> str:
    far = "0" * len(address) + (":0000" if state == "0A" else ":1234")
    return f"   0: {address}:{port:04X} {far} {state} {REST} {inode} 1 0000000000000000 100 0 0 10 0\n"


def test_listening_sockets_are_found_among_all_others(tmp_path: Path) -> None:
    """Of both families, with user and inode; neither connections to the port nor other ports."""
    (tmp_path / "tcp").write_text(
        HEAD + line("0100007F", 8188) + line("00000000", 8189) + line("0100007F", 8188, state="01", inode=9),
        encoding="ascii",
    )
    (tmp_path / "tcp6").write_text(HEAD + line("0" * 24 + "01000000", 8188, inode=8), encoding="ascii")
    assert listening_sockets(tmp_path, [8188]) == [
        ListeningSocket("127.0.0.1", 8188, 1000, 7),
        ListeningSocket("::1", 8188, 1000, 8),
    ]
    assert listening_sockets(tmp_path / "gone", [8188]) == []


@pytest.mark.parametrize(
    ("bound", "wanted", "chosen"),
    [
        (["0.0.0.0", "127.0.0.1"], "127.0.0.1", ["127.0.0.1"]),
        (["0.0.0.0", "192.0.2.7"], "127.0.0.1", ["0.0.0.0"]),
        (["::"], "127.0.0.1", ["::"]),
        (["::ffff:127.0.0.1"], "127.0.0.1", ["::ffff:127.0.0.1"]),
        (["192.0.2.7"], "127.0.0.1", []),
    ],
)
def test_the_socket_is_the_one_the_kernel_would_choose(bound: list[str], wanted: str, chosen: list[str]) -> None:
    """One bound to the address itself, else one bound to all; two servers may share a port number."""
    sockets = [ListeningSocket(address, 1, 0, 0) for address in bound]
    assert [one.address for one in best_matches(sockets, frozenset({wanted}))] == chosen


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://127.0.0.1:8188", 8188),
        ("http://localhost/x", 80),
        ("https://[::1]", 443),
        ("http://192.0.2.1:8188", None),
        ("http://x:99999", None),
        ("http://[", None),
    ],
)
def test_only_a_server_of_this_host_has_a_process_here(url: str, port: int | None) -> None:
    """Loopback and our own addresses; another host's port of the same number is not ours."""
    place = place_of(url, own_addresses)
    assert (None if place is None else place.port) == port


def test_a_name_that_nobody_knows_is_asked_for_again() -> None:
    """It is no other host's either: an error, not an answer."""
    with pytest.raises(OSError, match=r".+"):
        place_of("http://no-such-host.invalid", own_addresses)


def test_a_listener_is_found_by_its_port() -> None:
    """The process that listens, and nobody for a port without one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = Place(server.getsockname()[1], frozenset({"127.0.0.1"}))
        assert holders([place])[place].pids == (os.getpid(),)
        assert under_test._other_holders([place])[place].pids == (os.getpid(),)
    assert holders([place]) == {place: Held()}


def test_who_may_not_be_seen_is_named_by_user_with_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is there, its process is another user's: no guess, but a reason."""
    monkeypatch.setattr(under_test, "_links", lambda _: iter(()))
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = Place(server.getsockname()[1], frozenset({"127.0.0.1"}))
        (held,) = holders([place]).values()
    assert held.pids == ()
    assert held.hidden is not None
    assert held.hidden.startswith(f"port {place.port} is held by a process of user ")
    assert "CAP_SYS_PTRACE" in held.hidden


def test_where_all_sockets_may_not_be_listed_each_process_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS without root: those of our own processes are found all the same."""

    def refuse(_: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = Place(server.getsockname()[1], frozenset({"127.0.0.1"}))
        assert under_test._other_holders([place])[place].pids == (os.getpid(),)


@pytest.mark.parametrize(
    ("name", "proxy"), [("docker-proxy", True), ("com.docker.backend.exe", True), ("nginx", True), ("python3", False)]
)
def test_known_proxies_are_told_from_servers(name: str, *, proxy: bool) -> None:
    """By the name of their process, on every system."""
    assert is_proxy(name) is proxy


def test_a_container_engine_s_proxy_says_where_it_leads() -> None:
    """Address and port in the container; any other proxy is taken to keep the port."""
    command = ["docker-proxy", "-proto", "tcp", "-host-port", "9000", "-container-ip", "172.17.0.2",
               "-container-port", "8188"]  # fmt: skip
    assert under_test._target(command, 9000) == (8188, "172.17.0.2")
    assert under_test._target(["nginx: master process"], 9000) == (9000, None)
