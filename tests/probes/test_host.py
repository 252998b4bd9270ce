"""The host, as the kernel tells of it."""

from __future__ import annotations

import mmap
import os
from collections import namedtuple
from dataclasses import fields
from pathlib import Path

import pytest

from comfysoak_core.clock import Anchor, AnchoredClock, ManualClock
from comfysoak_probes.host.cpu import cpu_shares
from comfysoak_probes.host.host import DiskSpace, HostSource
from comfysoak_probes.host.kernel import KeptFile, Kernel, LinuxKernel, OtherKernel, Pressure, parse_pressure
from comfysoak_probes.host.traffic import Totals, hardware
from comfysoak_probes.source import Tick

PRESSURE = "some avg10=12.50 avg60=3.00 avg300=1.00 total=19526571\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n"
FILES = {
    "meminfo": "MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 400 kB\nSwapTotal: 300 kB\nSwapFree: 100 kB\n",
    "vmstat": "nr_free_pages 1\npswpin 3\npswpout 5\n",
    "loadavg": "0.10 0.20 0.30 2/345 6789\n",
    "sys/fs/file-nr": "1000\t100\t5000\n",
    "pressure/cpu": PRESSURE.replace("12.50", "1.00"),
    "pressure/memory": PRESSURE.replace("12.50", "2.00"),
    "pressure/io": PRESSURE.replace("12.50", "3.00"),
}

linux = namedtuple("linux", "user nice system idle iowait irq softirq steal guest")  # noqa: PYI024  # as psutil makes them
windows = namedtuple("windows", "user system idle interrupt dpc")  # noqa: PYI024  # as psutil makes them


def linux_times(**parts: float) -> linux:
    return linux(**{**dict.fromkeys(linux._fields, 0.0), **parts})


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Files as those of /proc."""
    for name, text in FILES.items():
        (tmp_path / "proc" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc" / name).write_text(text, encoding="ascii")
    return tmp_path / "proc"


def source(kernel: Kernel, disk: Path) -> HostSource:
    clock = AnchoredClock(Anchor.take())
    space = DiskSpace(str(disk), clock)
    space.read(Tick(0, 0))
    return HostSource(every_s=1, host="h", clock=clock, disk=space, kernel=kernel)


def read(host: HostSource, at_ns: int = 1) -> dict[str, object]:
    (row,) = host.read(Tick(at_ns, at_ns))
    return {field.name: getattr(row, field.name) for field in fields(row)}


@pytest.mark.parametrize(
    ("text", "pressure"),
    [
        (PRESSURE, Pressure(0.125, 0.99)),
        ("", Pressure(None, None)),
        ("full avg10=1.00", Pressure(None, 0.01)),
        ("some avg10=x", Pressure(None, None)),
        ("some avg10=250.00", Pressure(1.0, None)),
    ],
)
def test_pressure_is_a_share_of_the_last_ten_seconds(text: str, pressure: Pressure) -> None:
    """Of the lines `some` and `full`; anything else is None."""
    assert parse_pressure(text) == pressure


def test_each_file_of_proc_has_its_columns(proc: Path) -> None:
    """Sizes in bytes, pages as large as this system's, handles in use without those that wait."""
    row = read(source(LinuxKernel(proc), proc))
    assert (row["memory_total_bytes"], row["memory_available_bytes"]) == (1000 * 1024, 400 * 1024)
    assert row["swap_used_bytes"] == 200 * 1024
    assert (row["swapped_in_bytes"], row["swapped_out_bytes"]) == (3 * mmap.PAGESIZE, 5 * mmap.PAGESIZE)
    assert [row[f"{kind}_pressure_ratio"] for kind in ("cpu", "memory", "io")] == [0.01, 0.02, 0.03]
    assert [row[f"{kind}_full_pressure_ratio"] for kind in ("memory", "io")] == [0.99, 0.99]
    assert (row["handles"], row["handle_limit"], row["threads"]) == (900, 5000, 345)
    assert row["processes"]
    assert row["disk_free_bytes"]


def test_what_a_system_does_not_tell_is_missing_with_its_reason(tmp_path: Path) -> None:
    """No such files (an older kernel, a container that hides them), no such disk: None, and why."""
    row = read(source(LinuxKernel(tmp_path), tmp_path / "gone"))
    assert row["cpu_pressure_ratio"] is None
    assert row["disk_free_bytes"] is None
    assert row["memory_total_bytes"] is None
    assert "cpu_pressure_ratio: FileNotFoundError" in str(row["missing"])
    assert "disk_free_bytes: FileNotFoundError" in str(row["missing"])


def test_other_systems_tell_what_psutil_knows(tmp_path: Path) -> None:
    """Memory is there; pressure, handles and threads are missing with one reason each."""
    row = read(source(OtherKernel(), tmp_path))
    assert row["memory_total_bytes"]
    assert (row["cpu_pressure_ratio"], row["handles"], row["threads"]) == (None, None, None)
    assert "handles,handle_limit: NotImplementedError: only Linux tells" in str(row["missing"])


def test_damaged_files_are_missing_values_and_no_error(proc: Path) -> None:
    """Half a file, other words, nothing at all: the row comes without them."""
    (proc / "loadavg").write_text("0.10", encoding="ascii")
    (proc / "sys/fs/file-nr").write_text("a b c", encoding="ascii")
    (proc / "meminfo").write_text("MemTotal:\n\xff\n", encoding="latin-1")
    row = read(source(LinuxKernel(proc), proc))
    assert (row["threads"], row["handles"], row["memory_total_bytes"]) == (None, None, None)
    assert row["io_pressure_ratio"] == 0.03


def test_a_limit_that_is_none_is_no_number(proc: Path) -> None:
    """The kernel's word for it is the highest number there is."""
    (proc / "sys/fs/file-nr").write_text(f"10 0 {2**63 - 1}", encoding="ascii")
    assert LinuxKernel(proc).handles() == (10, None)


def test_a_kept_file_is_read_anew_each_time(proc: Path) -> None:
    """The values are those of now, not of when it was opened."""
    file = KeptFile(proc / "loadavg")
    assert file.read().startswith(b"0.10")
    (proc / "loadavg").write_text("9.99 0 0 1/2 3", encoding="ascii")
    assert file.read().startswith(b"9.99")


@pytest.mark.skipif(not Path("/proc/loadavg").exists(), reason="needs Linux")
def test_a_kept_file_that_breaks_is_opened_again(tmp_path: Path) -> None:
    """The files of /proc of a container are a program's (lxcfs): when that is started again, old handles are dead."""
    path = tmp_path / "meminfo"
    path.mkdir()
    kept = KeptFile(path)
    for _ in range(2):
        with pytest.raises(OSError, match="directory"):
            kept.read()
    path.rmdir()
    path.write_bytes(b"MemTotal: 1 kB")
    assert kept.read() == b"MemTotal: 1 kB"


def test_this_system_tells_all_there_is() -> None:
    """The kernel the tests run on: every core has a share, and totals are above zero."""
    host = source(LinuxKernel(), Path())
    first = read(host, 1)
    while (row := read(host, 2))["cpu_ratio"] is None:
        pass
    assert len(str(row["core_ratios"]).split(",")) == os.cpu_count()
    assert 0 <= float(str(row["cpu_ratio"])) <= float(str(row["busiest_core_ratio"])) <= 1
    assert row["memory_total_bytes"]
    assert row["threads"]
    assert (first["processes"] or 0) != 0
    assert (row["processes"], "processes: counted every 10 s" in str(row["missing"])) == (None, True)


def test_a_disk_that_never_answers_holds_no_row_up(tmp_path: Path) -> None:
    """Its free space is missing, with the reason, once it has said nothing for three of its turns."""
    clock = ManualClock()
    space = DiskSpace(str(tmp_path), clock)
    host = HostSource(every_s=1, host="h", clock=clock, disk=space, kernel=OtherKernel())
    assert "disk_free_bytes: not read yet" in str(read(host)["missing"])
    space.read(Tick(0, 0))
    assert read(host)["disk_free_bytes"]
    clock.advance(31)
    row = read(host)
    assert row["disk_free_bytes"] is None
    assert "disk_free_bytes: the disk has not answered" in str(row["missing"])


def test_shares_are_those_between_two_readings() -> None:
    """Of all cores together and of each; waiting for disks is rest, time taken by the hypervisor is not."""
    before = [linux_times(user=100), linux_times(user=50)]
    after = [
        linux_times(user=100.5, idle=0.25, iowait=0.25, guest=0.5),
        linux_times(user=50, idle=0.75, steal=0.25),
    ]
    shares = cpu_shares(before, after)
    assert shares is not None
    assert shares.cores == (0.5, 0.25)
    assert (shares.busy, shares.busiest, shares.iowait, shares.steal) == (0.375, 0.5, 0.125, 0.125)
    assert shares.cores_in_words() == "0.50,0.25"


def test_systems_without_iowait_have_shares_too() -> None:
    """Interrupts are part of the system's time already."""
    shares = cpu_shares([windows(0, 0, 0, 0, 0)], [windows(1, 1, 2, 1, 1)])
    assert shares is not None
    assert (shares.busy, shares.iowait, shares.steal) == (0.5, None, None)


@pytest.mark.parametrize(
    "after",
    [
        [],
        [linux_times(user=5, idle=5)],
        [linux_times(user=6, idle=6)] * 3,
        [linux_times(user=5, idle=5)] * 2,
        [linux_times(user=0, idle=1)] * 2,
    ],
    ids=["nothing", "a core less", "a core more", "no time passed", "counters began anew"],
)
def test_no_share_is_made_up(after: list[linux]) -> None:
    """Cores that came or went, a clock that stood, counters that fell: None, never a negative or huge number."""
    assert cpu_shares([linux_times(user=5, idle=5)] * 2, after) is None


def test_a_core_that_stood_still_is_left_out() -> None:
    """The others have theirs."""
    shares = cpu_shares([linux_times()] * 2, [linux_times(user=1, idle=1), linux_times()])
    assert shares is not None
    assert (shares.cores_in_words(), shares.busy, shares.busiest) == ("0.50,", 0.5, 0.5)


def test_a_small_correction_of_iowait_is_no_negative_share() -> None:
    """The kernel takes some of it back now and then."""
    shares = cpu_shares([linux_times(iowait=2)], [linux_times(iowait=1.5, idle=1)])
    assert shares is not None
    assert (shares.iowait, shares.busy) == (0, 0)


def test_totals_never_fall() -> None:
    """Over a counter that wraps or begins anew, a device that goes, and one that comes."""
    totals = Totals(frozenset)
    assert totals.of({"a": (100, 10), "b": (1, 1)}) == (101, 11)
    assert totals.of({"a": (110, 11), "b": (1, 1)}) == (111, 12)
    assert totals.of({"a": (5, 12), "b": (1, 1)}) == (116, 13)  # a began anew at zero
    assert totals.of({"a": (5, 12)}) == (116, 13)
    assert totals.of({"a": (6, 12), "c": (10**9, 10**9)}) == (117, 13)  # what c carried before is not of this time
    assert totals.of({"a": (6, 12), "c": (10**9 + 2, 10**9)}) == (119, 13)
    assert totals.of({}) == (119, 13)


def test_what_is_carried_twice_is_counted_once(tmp_path: Path) -> None:
    """Devices count; bridges, bonds, pairs and loopback do not, unless there is nothing else (in a container)."""
    (tmp_path / "eth0" / "device").mkdir(parents=True)
    (tmp_path / "docker0").mkdir()
    assert hardware(["lo", "eth0", "docker0", "veth1"], tmp_path) == {"eth0"}
    assert hardware(["lo", "eth1"], tmp_path) == {"eth1"}
    assert hardware(["Loopback Pseudo-Interface 1", "Ethernet"], tmp_path) == {"Ethernet"}
