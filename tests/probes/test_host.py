"""The host and its processes, as the kernel tells of them."""

from __future__ import annotations

import os
import socket
from dataclasses import fields
from pathlib import Path

import pytest

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_probes.gpu_processes import ProcessNames
from comfysoak_probes.host import HostSource, pressure_ratio
from comfysoak_probes.processes import ProcessSource, listeners, local_port, own_addresses, role_of
from comfysoak_probes.source import Tick

PRESSURE = "some avg10=12.50 avg60=3.00 avg300=1.00 total=19526571\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n"


@pytest.mark.parametrize(
    ("text", "ratio"),
    [(PRESSURE, 0.125), ("", None), ("full avg10=1.00", None), ("some avg10=x", None), ("some avg10=250.00", 1.0)],
)
def test_pressure_is_a_share_of_the_last_ten_seconds(text: str, ratio: float | None) -> None:
    """Of the line `some`; anything else is None."""
    assert pressure_ratio(text) == ratio


def read(source: HostSource) -> dict[str, object]:
    clock = AnchoredClock(Anchor.take())
    (row,) = source.read(Tick(clock.now_ns(), clock.now_ns()))
    return {field.name: getattr(row, field.name) for field in fields(row)}


def test_what_a_system_does_not_tell_is_missing_with_its_reason(tmp_path: Path) -> None:
    """No pressure files (an older kernel, macOS), no such disk: None, and why."""
    clock = AnchoredClock(Anchor.take())
    source = HostSource(every_s=1, host="h", disk=str(tmp_path / "gone"), clock=clock, pressure=tmp_path)
    row = read(source)
    assert row["cpu_pressure_ratio"] is None
    assert row["disk_free_bytes"] is None
    assert "cpu_pressure_ratio: FileNotFoundError" in str(row["missing"])
    assert "disk_free_bytes: FileNotFoundError" in str(row["missing"])
    assert row["memory_total_bytes"]


def test_the_pressure_of_each_kind_has_its_column(tmp_path: Path) -> None:
    """cpu, memory and io are read from files of these names."""
    for kind, value in (("cpu", "1.00"), ("memory", "2.00"), ("io", "3.00")):
        (tmp_path / kind).write_text(PRESSURE.replace("12.50", value), encoding="ascii")
    clock = AnchoredClock(Anchor.take())
    row = read(HostSource(every_s=1, host="h", disk=str(tmp_path), clock=clock, pressure=tmp_path))
    assert [row[f"{kind}_pressure_ratio"] for kind in ("cpu", "memory", "io")] == [0.01, 0.02, 0.03]
    assert row["missing"] is None


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (["python", "-m", "locust", "-f", "locustfiles/comfyui.py"], "load"),
        (["/x/.venv/bin/python", "/x/.venv/bin/locust", "--headless"], "load"),
        (["python", "-m", "comfysoak_simulator", "--port", "1"], "simulator"),
        (["python", "-m", "comfysoak_core.recording.recorder", "runs/x"], "recorder"),
        (["python", "-m", "comfysoak_probes", "runs/x"], "sampler"),
        (["vim", "notes-on-locusts.txt"], None),
        ([], None),
    ],
)
def test_our_processes_are_known_by_their_command_line(command: list[str], role: str | None) -> None:
    """By module or program, wherever it is installed."""
    assert role_of(command) == role


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://127.0.0.1:8188", 8188),
        ("http://localhost/x", 80),
        ("https://[::1]", 443),
        ("http://192.0.2.1:8188", None),
        ("http://no-such-host.invalid", None),
        ("http://x:99999", None),
    ],
)
def test_only_a_server_of_this_host_has_a_process_here(url: str, port: int | None) -> None:
    """Loopback and our own addresses; another host's port of the same number is not ours."""
    assert local_port(url, own_addresses) == port


def test_a_listener_is_found_by_its_port() -> None:
    """The process that listens, and nobody for a port without one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listeners([port]) == {port: os.getpid()}
    assert listeners([port]) == {}


def test_the_server_is_told_to_the_gpu_s_process_list() -> None:
    """Its process id is known then, so that memory on the GPU can be told as the server's or as foreign."""
    names = ProcessNames()
    clock = AnchoredClock(Anchor.take())
    assert names.is_server(os.getpid()) is None
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        source = ProcessSource([url], every_s=1, host="h", clock=clock, names=names, family=False)
        source.read(Tick(clock.now_ns(), clock.now_ns()))
    assert names.is_server(os.getpid()) is True
    assert names.is_server(os.getppid()) is False
    assert names.is_server(2**22 - 1) is None
