"""Xids: the real binding, the sampler's process, and a driver that tells them when the test says."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.rows import Event
from comfysoak_probes.nvml.repeats import Repeats
from comfysoak_probes.xids import xid_code, xid_words
from tests.probes.conftest import Sample

UUID = "GPU-00000000-0000-0000-0000-{:012d}".format


@pytest.mark.compiler
def test_a_gpu_that_tells_no_xids_leaves_the_others_heard(sample: Sample, driver: Path) -> None:
    """Not supported, or an unknown error that breaks the set, told once with the reason; the others are heard.

    That a wait breaks the set is not told at all: another set is built.
    """
    refusals = "fail 0 nvmlDeviceRegisterEvents 3 0\nfail 1 nvmlDeviceRegisterEvents 999 0\n"
    refusals += "fail * nvmlEventSetWait_v2 999 0 1\n"
    run = sample(driver=driver, script=f"gpus 3\n{refusals}xid 2 79 2.8\n")
    event = run.event("xid")
    assert (event["subject"], event["code"]) == (UUID(2), "GPU_LOST")
    assert event["detail"] == "Xid 79: GPU has fallen off the bus (usually hardware), GPU 2"
    unheard = {row["subject"]: row["detail"] for row in run.rows("events") if row["kind"] == "xid_unheard"}
    assert unheard == {
        UUID(0): "Xids of GPU 0 cannot be heard: not supported by this GPU (NVML error 3)",
        UUID(1): "Xids of GPU 1 cannot be heard: unknown error of the driver (NVML error 999)",
    }
    run.process.terminate()
    told = run.words()
    assert told.count("Xid 79: GPU has fallen off the bus") == 1
    assert "standin_nvml" not in told


def test_words_of_xids() -> None:
    """Each well-known number has words and whose fault it usually is; any other one is named as it came."""
    well_known = (
        13,
        31,
        32,
        38,
        43,
        45,
        48,
        56,
        61,
        62,
        63,
        64,
        68,
        69,
        74,
        79,
        92,
        94,
        95,
        119,
        120,
        121,
        140,
        143,
        154,
    )
    words = [xid_words(number) for number in well_known]
    assert all("usually" in word or "no fault of its own" in word for word in words)
    assert xid_words(31) == "Xid 31: GPU memory page fault (usually application)"
    assert xid_words(9999) == "Xid 9999: see NVIDIA's catalogue of Xids"
    assert [number for number in range(200) if xid_code(number) is not None] == [79]
    assert xid_code(79) is Code.GPU_LOST


def test_equal_events_are_counted_after_the_first() -> None:
    """A thousand page faults in a second are one event at once and one that counts the others, not a thousand rows."""
    repeats = Repeats()
    told = [e for n in range(1000) for e in repeats.filter(event(n * 1_000_000))]
    assert [e.detail for e in told] == ["Xid 31"]
    assert repeats.due(9 * NS_PER_S) == []
    [summary] = repeats.due(11 * NS_PER_S)
    assert (summary.detail, summary.at_ns) == ("Xid 31, 999 more times", 999_000_000)
    assert repeats.due(30 * NS_PER_S) == []
    assert repeats.filter(event(31 * NS_PER_S)) == [event(31 * NS_PER_S)]


def event(at_ns: int) -> Event:
    return Event(at_ns=at_ns, source="sampler", kind="xid", subject=UUID(0), detail="Xid 31")
