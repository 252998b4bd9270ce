"""GPUs of this host: the real binding, the sampler's process, and a driver that does what the test says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from comfysoak_core.clock import NS_PER_S
from tests.probes.conftest import Sample
from tests.probes.sampling import EVERY_S, Record, at_least, has

pytestmark = pytest.mark.compiler

UUID = "GPU-00000000-0000-0000-0000-{:012d}".format
GIB = 1024**3


def of(rows: list[Record], index: int) -> list[Record]:
    return [row for row in rows if row["index"] == index]


def test_every_gpu_has_rows_of_its_own_with_its_own_times(sample: Sample, driver: Path) -> None:
    """Two GPUs give two series of rows, in the units of the columns, each read at its own moment."""
    run = sample(driver=driver, script="gpus 2\nset 1 memory_used 1073741824\nset 1 utilization 75\n")
    rows = run.wait_for("gpu", lambda rows: len(of(rows, 1)) >= 3)
    first, second = of(rows, 0)[0], of(rows, 1)[0]
    assert (first["uuid"], second["uuid"]) == (UUID(0), UUID(1))
    assert (first["memory_used_bytes"], second["memory_used_bytes"]) == (2 * GIB, 1 * GIB)
    assert (first["memory_total_bytes"], first["memory_reserved_bytes"]) == (80 * GIB, GIB // 2)
    assert (first["utilisation_ratio"], second["utilisation_ratio"]) == (0.4, 0.75)
    assert first["missing"] is None
    assert not {row["at_ns"] for row in of(rows, 0)} & {row["at_ns"] for row in of(rows, 1)}


def test_readings_keep_to_a_fixed_grid(sample: Sample, driver: Path) -> None:
    """Whatever a reading takes, the next is due at a multiple of the interval: lateness does not add up."""
    run = sample(driver=driver)
    rows = run.wait_for("gpu", at_least(15))
    deadlines = [row["at_ns"] - row["read_cost_ns"] // 2 - row["late_ns"] for row in rows]
    for earlier, later in pairwise(deadlines):
        steps = (later - earlier) / (NS_PER_S * EVERY_S)
        assert steps == pytest.approx(round(steps), abs=0.001)
        assert steps > 0.9


def test_values_change_over_time(sample: Sample, driver: Path) -> None:
    """A step of memory shows in the rows after it, and in none before."""
    run = sample(driver=driver, script="set 0 memory_used 1073741824 0\nset 0 memory_used 4294967296 1.2\n")
    rows = run.wait_for("gpu", has(memory_used_bytes=4 * GIB))
    used = [row["memory_used_bytes"] for row in rows]
    assert used == sorted(used)
    assert set(used) == {1 * GIB, 4 * GIB}


def test_a_value_that_comes_back_is_no_longer_missing(sample: Sample, driver: Path) -> None:
    """An error that passes (a timeout of the driver) leaves a gap with its reason, and nothing after it."""
    run = sample(driver=driver, script="fail 0 nvmlDeviceGetUtilizationRates 10 2 3\n")
    rows = run.wait_for("gpu", at_least(8))
    seen = [row["utilisation_ratio"] for row in rows[:8]]
    assert seen == [0.4, 0.4, None, None, None, 0.4, 0.4, 0.4]
    assert all(
        "utilisation_ratio: the driver did not answer in time (NVML error 10)" in row["missing"] for row in rows[2:5]
    )
    assert rows[5]["missing"] is None


def test_a_lost_gpu_is_an_event_and_does_not_touch_the_other(sample: Sample, driver: Path) -> None:
    """GPU lost: one event with its code, rows without values that say why, and the second GPU goes on."""
    run = sample(driver=driver, script="gpus 2\nfail 0 * 15 40\n")
    event = run.event("gpu_lost")
    assert (event["code"], event["subject"]) == ("GPU_LOST", UUID(0))
    lost_ns = event["at_ns"]
    rows = run.wait_for("gpu", lambda rows: sum(row["at_ns"] > lost_ns for row in of(rows, 1)) >= 15)
    gone = [row for row in of(rows, 0) if row["memory_used_bytes"] is None]
    assert gone
    assert all(row["missing"] == "all: the GPU is lost (NVML error 15)" for row in gone)
    assert len(gone) < 5  # asked again ever more rarely
    assert sum(row["kind"] == "gpu_lost" for row in run.rows("events")) == 1


def test_a_gpu_that_comes_back_is_read_on(sample: Sample, driver: Path) -> None:
    """After some failed calls the GPU answers again: an event says for how long it was away, and rows have values."""
    run = sample(driver=driver, script="fail 0 * 15 40 1\n")
    event = run.event("source_found")
    assert event["subject"] == UUID(0)
    assert "the GPU answers again after" in event["detail"]
    run.wait_for("gpu", lambda rows: sum(row["at_ns"] > event["at_ns"] and row["missing"] is None for row in rows) >= 3)


def test_an_unknown_error_is_cured_by_initialising_again(sample: Sample, driver: Path) -> None:
    """999, as after a reload of the host's daemons: the driver is shut down and initialised again, with one event."""
    run = sample(driver=driver, script="gpus 2\nfail * * 999 60 init\n")
    event = run.event("gpu_vanished")
    assert event["code"] == "GPU_VANISHED"
    rows = run.wait_for("gpu", lambda rows: all(of(rows, i)[-1]["at_ns"] > event["at_ns"] + NS_PER_S for i in (0, 1)))
    assert [of(rows, i)[-1]["memory_used_bytes"] for i in (0, 1)] == [2 * GIB, 2 * GIB]


def test_a_call_that_hangs_delays_nobody_else(sample: Sample, driver: Path) -> None:
    """A call of 30 s: the other GPU and the host go on being read, the hung one is a gap and an event."""
    run = sample(driver=driver, script="gpus 3\nslow 1 nvmlDeviceGetMemoryInfo_v2 30000 10\n", host_every_s=0.2)
    hung_ns = run.event("source_hung")["at_ns"]
    rows = run.wait_for("gpu", lambda rows: sum(row["at_ns"] > hung_ns for row in of(rows, 2)) >= 10)
    for index in (0, 2):
        gaps = [later["at_ns"] - earlier["at_ns"] for earlier, later in pairwise(of(rows, index))]
        assert max(gaps) < 2 * NS_PER_S  # a third of a second, once; more only on a machine without time
    assert of(rows, 1)[-1]["at_ns"] < hung_ns
    assert run.rows("host")[-1]["at_ns"] > hung_ns - NS_PER_S
    assert run.end() == 0  # and it does not wait for the call


def test_no_driver_is_one_clear_line(sample: Sample) -> None:
    """Without a driver there is one line and one event that say so, no traceback, and the rest is sampled."""
    run = sample()
    event = run.event("source_missing")
    assert "no NVIDIA driver is installed here" in event["detail"]
    run.wait_for("host", at_least(2))
    run.process.terminate()
    words = run.words()
    assert words.count("\n") == 1
    assert "no NVIDIA driver is installed here" in words
    assert run.end() == 0


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("fail * nvmlInitWithFlags 9 0", "installed but not loaded"),
        ("fail * nvmlInitWithFlags 18 0", "different versions: reboot"),
        ("gpus 0", "there is no GPU"),
        ("fail * nvmlDeviceGetCount_v2 999 0", "unknown error of the driver (NVML error 999)"),
    ],
)
def test_a_driver_of_no_use_says_why(sample: Sample, driver: Path, script: str, words: str) -> None:
    """Not loaded, of two versions, without a GPU, or broken: the event has the reason."""
    assert words in sample(driver=driver, script=script + "\n").event("source_missing")["detail"]
