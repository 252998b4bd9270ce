from __future__ import annotations

import struct
import sys

import pytest

from comfysoak_core.clock import NS_PER_MS, NS_PER_S, Anchor, AnchoredClock
from comfysoak_load.edge.stamps import STAMP_ERROR_NS, stamp_of, time_of_read, within

START = 1_764_000_000 * NS_PER_S


class Clocks:
    """Both clocks of a host, moved by hand: monotonic time, and a system clock that may be set."""

    def __init__(self) -> None:
        self.monotonic_ns = 5 * NS_PER_S
        self.system_ns = START

    def pass_ms(self, milliseconds: float) -> None:
        self.monotonic_ns += round(milliseconds * NS_PER_MS)
        self.system_ns += round(milliseconds * NS_PER_MS)

    def clock(self) -> AnchoredClock:
        return AnchoredClock(Anchor(self.monotonic_ns, START, 0), lambda: self.monotonic_ns, lambda: self.system_ns)


def stamped(system_ns: int) -> list[tuple[int, int, bytes]]:
    """What recvmsg brings with a read that the kernel stamped at `system_ns`."""
    return [(1, 35, struct.pack("@ll", *divmod(system_ns, NS_PER_S)))]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps")
def test_the_stamp_is_found_among_other_messages() -> None:
    """Of all that comes with a read only the kernel's time is taken."""
    assert stamp_of([(0, 8, b"other"), *stamped(START + 7)]) == START + 7
    assert stamp_of([(1, 35, b"short")]) is None
    assert stamp_of([]) is None


def test_a_message_alone_has_the_stamp_and_its_small_error() -> None:
    """What ended with the read arrived at the stamp, however late the process looked."""
    clocks = Clocks()
    clock = clocks.clock()
    clocks.pass_ms(10)
    arrived = clocks.system_ns
    clocks.pass_ms(30)  # the process was busy
    assert time_of_read(clock, START, stamped(arrived), drained=True) == (START + 10 * NS_PER_MS, STAMP_ERROR_NS)


def test_messages_that_shared_a_read_say_since_when_they_may_have_been_there() -> None:
    """All but the last of a read arrived at some moment since the kernel's buffer was last empty."""
    assert within(START + 14 * NS_PER_MS, START + 10 * NS_PER_MS) == (
        START + 14 * NS_PER_MS,
        4 * NS_PER_MS + STAMP_ERROR_NS,
    )


def test_a_read_that_filled_its_buffer_has_no_exact_time() -> None:
    """The kernel merges waiting packets, and their stamp is that of the last: which may not have been read yet."""
    clocks = Clocks()
    clock = clocks.clock()
    clocks.pass_ms(10)
    read = time_of_read(clock, START, stamped(clocks.system_ns), drained=False)
    assert read == (START + 10 * NS_PER_MS, 10 * NS_PER_MS + STAMP_ERROR_NS)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_step_of_the_system_clock_moves_nothing(step_s: float) -> None:
    """A stamp of a system clock that was set a moment ago still becomes the right time."""
    clocks = Clocks()
    clock = clocks.clock()
    clocks.system_ns += round(step_s * NS_PER_S)
    clocks.pass_ms(10)
    arrived = clocks.system_ns
    clocks.pass_ms(1)
    assert time_of_read(clock, START, stamped(arrived), drained=True) == (START + 10 * NS_PER_MS, STAMP_ERROR_NS)


def test_a_stamp_from_before_a_step_is_not_believed() -> None:
    """A packet stamped before the clock was set, and read after it, gets the time of its read and a wide bound."""
    clocks = Clocks()
    clock = clocks.clock()
    clocks.pass_ms(10)
    arrived = clocks.system_ns
    clocks.system_ns += 3600 * NS_PER_S
    clocks.pass_ms(5)
    read = time_of_read(clock, START, stamped(arrived), drained=True)
    assert START + 10 * NS_PER_MS <= read.at_ns <= START + 15 * NS_PER_MS
    assert read.error_ns >= read.at_ns - (START + 10 * NS_PER_MS)


def test_without_stamps_the_time_is_that_of_the_read() -> None:
    """Where the kernel gives no stamps the bound reaches back to when its buffer was last empty."""
    clocks = Clocks()
    clock = clocks.clock()
    clocks.pass_ms(10)
    assert time_of_read(clock, START, [], drained=True) == (START + 10 * NS_PER_MS, 10 * NS_PER_MS + STAMP_ERROR_NS)
