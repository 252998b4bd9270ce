"""What one process has used so far, read at each turn: one or two small files on Linux, psutil elsewhere.

psutil makes five reads and three objects of it (90 µs); with eight servers, their children and the harness itself
that is half a percent of a core at 1 Hz. The two files hold all of it, the start time that tells a process from a later
one with the same id included.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil

from comfysoak_core.clock import NS_PER_S
from comfysoak_probes.host.kernel import PROC

TICKS_PER_S = os.sysconf("SC_CLK_TCK") if psutil.LINUX else 1
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if psutil.LINUX else 1
NO_IO = "read_bytes,written_bytes: told to the same user and root only"


class GoneError(Exception):
    """The process has ended; `status` is as `os.wait` tells it, None when it is not known."""

    def __init__(self, status: int | None = None) -> None:
        super().__init__("the process has ended")
        self.status = status


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """Counts since it began; `born` tells it from a later process with the same id."""

    born: float
    parent_pid: int
    cpu_s: float
    rss_bytes: int
    threads: int
    read_bytes: int | None
    written_bytes: int | None
    missing: str | None


def read_process(pid: int) -> ProcessReading:
    """Raises GoneError when there is none, or it only waits for its parent to notice its end."""
    return _read_linux(pid) if psutil.LINUX else _read_portable(pid)


def age_ns(reading: ProcessReading) -> int:
    """How long ago it began, which no step of the system clock changes on Linux; good to 10 ms."""
    if psutil.LINUX:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - round(reading.born * NS_PER_S)
    return time.time_ns() - round(reading.born * NS_PER_S)


def _read_linux(pid: int) -> ProcessReading:
    words = _stat_words(pid)
    if words[0] in {b"Z", b"X"}:
        raise GoneError(_status(pid, int(words[49])))
    sizes: tuple[int | None, int | None] = (None, None)
    missing = None
    try:
        text = _file(f"{PROC}/{pid}/io")
        sizes = _after(text, b"\nread_bytes: "), _after(text, b"\nwrite_bytes: ")
    except ProcessLookupError as error:
        raise GoneError from error
    except OSError:
        missing = NO_IO
    return ProcessReading(
        born=int(words[19]) / TICKS_PER_S,
        parent_pid=int(words[1]),
        cpu_s=(int(words[11]) + int(words[12])) / TICKS_PER_S,
        rss_bytes=int(words[21]) * PAGE_BYTES,
        threads=int(words[17]),
        read_bytes=sizes[0],
        written_bytes=sizes[1],
        missing=missing,
    )


def parent_of(pid: int) -> int | None:
    """Its parent's id; None when it has ended (Linux)."""
    try:
        return int(_stat_words(pid)[1])
    except GoneError:
        return None


def _stat_words(pid: int) -> list[bytes]:
    """The words of /proc/PID/stat behind the name, which may hold spaces and brackets."""
    try:
        text = _file(f"{PROC}/{pid}/stat")
    except OSError as error:
        raise GoneError from error
    return text[text.rfind(b")") + 2 :].split()


def _file(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, 4096)
    finally:
        os.close(handle)


def _after(text: bytes, mark: bytes) -> int | None:
    at = text.find(mark)
    return None if at < 0 else int(text[at + len(mark) : text.find(b"\n", at + 1)])


def _status(pid: int, status: int) -> int | None:
    """The kernel says 0 to those who may not know."""
    try:
        known = status != 0 or os.geteuid() in {0, (PROC / str(pid)).stat().st_uid}
    except OSError:
        return None
    return status if known else None


def _read_portable(pid: int) -> ProcessReading:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                raise GoneError
            times = process.cpu_times()
            read, written, missing = _portable_io(process)
            return ProcessReading(
                process.create_time(), process.ppid(), times.user + times.system, process.memory_info().rss,
                process.num_threads(), read, written, missing,
            )  # fmt: skip
    except psutil.Error as error:  # it has ended, or is one that nobody may look at
        raise GoneError from error


def _portable_io(process: psutil.Process) -> tuple[int | None, int | None, str | None]:
    try:
        counts = process.io_counters()
    except (psutil.AccessDenied, AttributeError):  # macOS does not tell
        return None, None, NO_IO
    return counts.read_bytes, counts.write_bytes, None
