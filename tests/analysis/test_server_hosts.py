"""Which host an address names: the whole of an IP address, a name with or without its domain, never a loopback."""

from __future__ import annotations

import pytest

from comfysoak_analysis.server_hosts import named_in

HOSTS = ("10", "10.0.0.1", "gpu-a", "gpu-b.lan", "192", "fe80::1", "localhost", "127.0.0.1", "127")


@pytest.mark.parametrize(
    ("server", "named"),
    [
        ("http://10.0.0.1:8188", ("10.0.0.1",)),  # not the host called 10
        ("http://192.168.1.7:8188", ()),
        ("http://[fe80::1]:8188", ("fe80::1",)),
        ("http://gpu-a:8188", ("gpu-a",)),
        ("http://GPU-A.rack.example:8188", ("gpu-a",)),
        ("http://gpu-b.lan.:8188", ("gpu-b.lan",)),
        ("http://localhost:8188", ()),
        ("http://127.0.0.1:8188", ()),  # a tunnel may begin there
        ("http://[::1]:8188", ()),
        ("http://[broken:8188", ()),
        ("", ()),
    ],
)
def test_an_address_names_a_host_by_its_ip_or_its_name_and_by_no_part_of_an_ip(
    server: str, named: tuple[str, ...]
) -> None:
    """No part of an IP address is a host's name, and an address on this machine names no host."""
    assert named_in(server, HOSTS) == named
