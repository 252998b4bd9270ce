"""Xids: the real binding, the sampler's process, and a driver that tells them when the test says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.rows import Event
from comfysoak_probes.nvml.repeats import Repeats
from comfysoak_probes.xids import xid_code, xid_words
from tests.probes.conftest import Sample
from tests.probes.sampling import Sampling, at_least

UUID = "GPU-00000000-0000-0000-0000-{:012d}".format


def complaints(run: Sampling) -> list[str]:
    """End it; the lines the driver itself wrote about how it was treated."""
    run.process.terminate()
    lines = run.words().splitlines()
    assert run.end() == 0
    return [line for line in lines if line.startswith("standin_nvml")]


@pytest.mark.compiler
def test_an_xid_is_an_event_with_its_words_and_its_gpu(sample: Sample, driver: Path) -> None:
    """Xid 79 of the second GPU: one event with the words, the GPU and the code of a loss, and one line that says so."""
    run = sample(driver=driver, script="gpus 2\nxid 1 79 0.8\n")
    event = run.event("xid")
    assert (event["subject"], event["code"]) == (UUID(1), "GPU_LOST")
    assert event["detail"] == "Xid 79: GPU has fallen off the bus (usually hardware), GPU 1"
    run.process.terminate()
    assert "Xid 79: GPU has fallen off the bus" in run.words()
    assert run.end() == 0
    assert [row["kind"] for row in run.rows("events")].count("xid") == 1


@pytest.mark.compiler
def test_an_xid_of_an_instance_names_it(sample: Sample, driver: Path) -> None:
    """The driver tells what happens in a MIG instance by its GPU, with the instance's ids; memory errors likewise."""
    run = sample(driver=driver, script="mig 0 2\nxid 101 43 0.8\ndouble_bit 0 0.9\n")
    event = run.event("xid")
    assert (event["subject"], event["code"]) == (UUID(0), None)
    assert event["detail"] == "Xid 43: GPU stopped processing (usually application), GPU 0 MIG 2/0"
    assert "could not be corrected" in run.event("ecc_error")["detail"]


@pytest.mark.compiler
def test_a_gpu_that_tells_no_xids_leaves_the_others_heard(sample: Sample, driver: Path) -> None:
    """Not supported, or an unknown error that breaks the set, told once with the reason; the others are heard."""
    refusals = "fail 0 nvmlDeviceRegisterEvents 3 0\nfail 1 nvmlDeviceRegisterEvents 999 0\n"
    run = sample(driver=driver, script=f"gpus 3\n{refusals}xid 2 31 2\n")
    assert run.event("xid")["subject"] == UUID(2)
    unheard = {row["subject"]: row["detail"] for row in run.rows("events") if row["kind"] == "xid_unheard"}
    assert unheard == {
        UUID(0): "Xids of GPU 0 cannot be heard: not supported by this GPU (NVML error 3)",
        UUID(1): "Xids of GPU 1 cannot be heard: unknown error of the driver (NVML error 999)",
    }
    assert complaints(run) == []


@pytest.mark.compiler
def test_an_old_driver_without_event_sets_says_so(sample: Sample, old_driver: Path) -> None:
    """Where the driver lacks event sets, each GPU has one event that says so, and is read all the same."""
    run = sample(driver=old_driver, script="gpus 2\n")
    rows = run.wait_for("events", lambda rows: sum(row["kind"] == "xid_unheard" for row in rows) == 2)
    assert all("too old" in row["detail"] for row in rows if row["kind"] == "xid_unheard")
    run.wait_for("gpu", at_least(10))


@pytest.mark.compiler
def test_a_set_that_broke_is_freed_and_built_anew(sample: Sample, driver: Path) -> None:
    """An unknown error of the wait: after it another set hears the Xid, and nothing says that none can be heard."""
    run = sample(driver=driver, script="fail * nvmlEventSetWait_v2 999 0 1\nxid 0 13 2\n")
    assert "graphics engine exception" in run.event("xid")["detail"]
    assert not any(row["kind"] == "xid_unheard" for row in run.rows("events"))
    assert complaints(run) == []


@pytest.mark.compiler
def test_xids_are_heard_after_the_driver_was_initialised_again(sample: Sample, driver: Path) -> None:
    """A GPU is lost and found while a thread waits for Xids: nothing is shut down under it, and a new set hears."""
    run = sample(driver=driver, script="gpus 2\ngone 0 0.3 1\nxid 1 45 3\n")
    assert run.event("xid")["subject"] == UUID(1)
    found = run.event("source_found")
    assert found["subject"] == UUID(0)
    assert complaints(run) == []


@pytest.mark.compiler
def test_waiting_for_xids_delays_neither_readings_nor_the_end(sample: Sample, driver: Path) -> None:
    """The wait has a thread of its own: readings keep their pace beside it, and it is not skipped for being long."""
    run = sample(driver=driver, script="gpus 2\n", every_s=0.1)
    rows = [row for row in run.wait_for("gpu", at_least(30)) if row["index"] == 0]
    gaps = [later["at_ns"] - earlier["at_ns"] for earlier, later in pairwise(rows)]
    assert sorted(gaps)[len(gaps) // 2] < 0.15 * NS_PER_S
    assert not any(row["kind"] in {"source_late", "source_hung"} for row in run.rows("events"))
    assert run.end() == 0


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
