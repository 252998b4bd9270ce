"""GPUs of this host: the real binding, the sampler's process, and a driver that does what the test says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from comfysoak_core.clock import NS_PER_S
from tests.probes.sampling import EVERY_S, Record, Sampling, has

pytestmark = pytest.mark.compiler

UUID = "GPU-00000000-0000-0000-0000-{:012d}".format
GIB = 1024**3


def of(rows: list[Record], index: int) -> list[Record]:
    return [row for row in rows if row["index"] == index]


SCRIPT = """
gpus 3
set 1 memory_used 1073741824
set 1 utilization 75
set 2 memory_used 1073741824 0
set 2 memory_used 4294967296 1.2
fail 1 nvmlDeviceGetUtilizationRates 10 2 3
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, driver: Path) -> Sampling:
    """What was recorded of three GPUs, until the memory of the third one has changed."""
    run = Sampling.start(tmp_path_factory.mktemp("quiet"), driver=driver, script=SCRIPT)
    try:
        run.wait_for("gpu", lambda rows: has(memory_used_bytes=4 * GIB)(rows) and len(of(rows, 0)) >= 15)
    finally:
        assert run.end() == 0
    return run


@pytest.fixture
def rows(run: Sampling) -> list[Record]:
    """The fast rows of it."""
    return run.rows("gpu")


def test_every_gpu_has_rows_of_its_own_with_its_own_times(rows: list[Record]) -> None:
    """Each GPU gives a series of rows, in the units of the columns, each read at its own moment."""
    first, second = of(rows, 0)[0], of(rows, 1)[0]
    assert (first["uuid"], second["uuid"]) == (UUID(0), UUID(1))
    assert (first["memory_used_bytes"], second["memory_used_bytes"]) == (2 * GIB, 1 * GIB)
    assert (first["memory_total_bytes"], first["memory_reserved_bytes"]) == (80 * GIB, GIB // 2)
    assert (first["utilisation_ratio"], second["utilisation_ratio"]) == (0.4, 0.75)
    assert first["missing"] is None
    assert not {row["at_ns"] for row in of(rows, 0)} & {row["at_ns"] for row in of(rows, 1)}


def test_readings_keep_to_a_fixed_grid(rows: list[Record]) -> None:
    """Whatever a reading takes, the next is due at a multiple of the interval: lateness does not add up."""
    deadlines = [row["at_ns"] - row["read_cost_ns"] // 2 - row["late_ns"] for row in of(rows, 0)]
    for earlier, later in pairwise(deadlines):
        steps = (later - earlier) / (NS_PER_S * EVERY_S)
        assert steps == pytest.approx(round(steps), abs=0.001)
        assert steps > 0.9


def test_waiting_for_xids_delays_no_reading(run: Sampling, rows: list[Record]) -> None:
    """The wait has a thread of its own: readings keep their pace beside it, and it is not skipped for being long."""
    gaps = [later["at_ns"] - earlier["at_ns"] for earlier, later in pairwise(of(rows, 0))]
    assert sorted(gaps)[len(gaps) // 2] < 1.5 * EVERY_S * NS_PER_S
    assert not any(row["kind"] in {"source_late", "source_hung"} for row in run.rows("events"))


def test_values_change_over_time(rows: list[Record]) -> None:
    """A step of memory shows in the rows after it, and in none before."""
    used = [row["memory_used_bytes"] for row in of(rows, 2)]
    assert used == sorted(used)
    assert set(used) == {1 * GIB, 4 * GIB}


def test_a_value_that_comes_back_is_no_longer_missing(rows: list[Record]) -> None:
    """An error that passes (a timeout of the driver) leaves a gap with its reason, and nothing after it."""
    seen = of(rows, 1)[:8]
    assert [row["utilisation_ratio"] for row in seen] == [0.75, 0.75, None, None, None, 0.75, 0.75, 0.75]
    reason = "utilisation_ratio,memory_utilisation_ratio: the driver did not answer in time (NVML error 10)"
    assert [row["missing"] for row in seen] == [None, None, reason, reason, reason, None, None, None]
