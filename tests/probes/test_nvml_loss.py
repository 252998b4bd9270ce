"""Drivers of no use, GPUs that come and go, calls that hang: each told once, and the run goes on with what is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from comfysoak_core.clock import NS_PER_S
from tests.probes.conftest import Sample
from tests.probes.sampling import Record, Sampling, at_least, has

pytestmark = pytest.mark.compiler

UUID = "GPU-00000000-0000-0000-0000-{:012d}".format
GIB = 1024**3


def of(rows: list[Record], number: int) -> list[Record]:
    return [row for row in rows if row["uuid"] == UUID(number)]


def words(run: Sampling) -> str:
    """End it, at once; what it wrote to the terminal."""
    run.process.terminate()
    began_s = time.monotonic()
    told = run.words()
    assert run.end() == 0
    assert time.monotonic() - began_s < 10  # 1.5 s where there is time; a call that hangs would take 30
    return told


def test_a_gpu_that_vanishes_and_comes_back_keeps_its_name(sample: Sample, driver: Path) -> None:
    """A GPU that the driver no longer counts moves the others' indices, not their uuids; it is told once."""
    run = sample(driver=driver, script="gpus 3\nset 1 memory_used 1073741824\ngone 0 0.6 2\n")
    lost, found = run.event("gpu_lost"), run.event("source_found")
    assert (lost["subject"], lost["code"], found["subject"]) == (UUID(0), "GPU_LOST", UUID(0))
    rows = run.wait_for("gpu", lambda rows: bool(of(rows, 0)) and of(rows, 0)[-1]["at_ns"] > found["at_ns"] + NS_PER_S)
    assert {row["index"] for row in of(rows, 1)} == {0, 1}
    assert {row["memory_used_bytes"] for row in of(rows, 1)} - {None} == {GIB}
    assert (of(rows, 1)[-1]["index"], of(rows, 0)[-1]["index"]) == (1, 0)
    assert of(rows, 0)[-1]["memory_used_bytes"] == 2 * GIB
    kinds = [row["kind"] for row in run.rows("events") if row["subject"] == UUID(0)]
    assert kinds == ["gpu", "gpu_lost", "source_found"]
    assert "standin_nvml" not in words(run)


def test_a_gpu_lost_from_the_start_is_watched_once_it_is_there(sample: Sample, driver: Path) -> None:
    """Fallen off the bus before the run began: told with its code, the other one is watched; its return is told."""
    run = sample(driver=driver, script="gpus 2\nfail 0 nvmlDeviceGetHandleByIndex_v2 15 0 1\n")
    event = run.event("gpu_lost")
    assert (event["subject"], event["code"]) == ("GPU 0", "GPU_LOST")
    assert event["detail"] == "cannot be watched: the GPU is lost (NVML error 15)"
    run.wait_for("events", has(kind="gpu", subject=UUID(0)))
    run.wait_for("gpu", has(uuid=UUID(0)))
    assert sum(row["kind"] == "gpu_lost" for row in run.rows("events")) == 1


def test_a_host_without_gpu_is_told_when_it_has_one(sample: Sample, driver: Path) -> None:
    """The driver answers and lists nothing; it is initialised again now and then, and the GPU is watched once there."""
    run = sample(driver=driver, script="gone 0 0 1\n")
    assert run.event("source_missing")["detail"] == "the driver answers, but there is no GPU"
    assert run.event("source_found")["subject"] == "nvml"
    assert sum(row["kind"] == "source_missing" for row in run.rows("events")) == 1
    run.wait_for("gpu", has(memory_used_bytes=2 * GIB))


def test_a_driver_that_is_installed_later_is_found(sample: Sample, driver: Path) -> None:
    """No library at first: one line; once it is there the GPUs are watched."""
    run = sample()
    assert "no NVIDIA driver is installed here" in run.event("source_missing")["detail"]
    shutil.copy(driver / "libnvidia-ml.so.1", run.folder / "copy")
    (run.folder / "copy").rename(run.folder / "libnvidia-ml.so.1")
    run.wait_for("gpu", has(memory_used_bytes=2 * GIB))


def test_a_library_that_is_none_is_told_like_a_missing_one(sample: Sample, tmp_path: Path) -> None:
    """An empty file of that name, as broken container images have it: one clear line."""
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")
    run = sample(driver=tmp_path)
    assert "was not found or cannot be loaded" in run.event("source_missing")["detail"]
    assert words(run).count("\n") == 1


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("fail * nvmlInitWithFlags 4 0", "no permission (NVML error 4): no GPU of this host is watched"),
        ("fail * nvmlInitWithFlags 17 0", "the operating system keeps us from the GPU (NVML error 17)"),
        ("fail * nvmlInitWithFlags 999 0", "unknown error of the driver (NVML error 999)"),
        ("fail * nvmlDeviceGetCount_v2 4 0", "no permission (NVML error 4)"),
        ("fail * nvmlDeviceGetHandleByIndex_v2 4 0", "the driver gives none of the GPUs it has"),
    ],
)
def test_what_keeps_us_out_is_said_clearly(sample: Sample, driver: Path, script: str, expected: str) -> None:
    """A driver that lets us have nothing: one event and one line with the reason, and the host is sampled."""
    run = sample(driver=driver, script=script + "\n", host_every_s=0.1)
    run.wait_for("host", at_least(2))
    assert expected in run.event("source_missing")["detail"]
    assert words(run).count("source missing: nvml:") == 1


def test_a_driver_of_another_age_is_asked_in_older_words(sample: Sample, driver: Path) -> None:
    """Structures refused by their version and calls the driver has dropped: the older way fills the columns."""
    script = "fail * nvmlDeviceGetMemoryInfo_v2 25 0\nfail * nvmlDeviceGetTemperatureV 25 0\n"
    script += "fail * nvmlDeviceGetCurrentClocksEventReasons 26 0\nset 0 event_reasons 64\n"
    run = sample(driver=driver, script=script)
    slow = run.wait_for("gpu_slow", at_least(1))[0]
    assert (slow["temperature_celsius"], slow["event_reasons"]) == (51.0, "hardware_thermal")
    assert run.wait_for("gpu", at_least(1))[0]["memory_used_bytes"] == 2 * GIB + GIB // 2


def test_a_driver_unloaded_during_the_run_has_taken_its_gpus(sample: Sample, driver: Path) -> None:
    """Every call says that the driver is not loaded: each GPU has vanished, told once, and comes back with it."""
    script = "gpus 2\nfail * * 9 60 6\nfail * nvmlInitWithFlags 9 1 1\n"
    run = sample(driver=driver, script=script)
    event = run.event("gpu_vanished")
    assert "installed but not loaded" in event["detail"]
    run.wait_for("events", lambda rows: sum(row["kind"] == "source_found" for row in rows) >= 2)
    assert sum(row["kind"] == "gpu_vanished" for row in run.rows("events")) == 2


def test_an_initialisation_that_hangs_holds_up_nobody(sample: Sample, driver: Path) -> None:
    """The driver takes 30 s to come up: the host is sampled, the hang is told, and the end does not wait for it."""
    run = sample(driver=driver, script="slow * nvmlInitWithFlags 30000 0\n", host_every_s=0.2)
    hung = run.event("source_hung")
    run.wait_for("host", lambda rows: rows[-1]["at_ns"] > hung["at_ns"])
    words(run)


def test_one_that_hangs_while_it_is_initialised_again_leaves_the_others_their_reasons(
    sample: Sample, driver: Path
) -> None:
    """A lost GPU's way back hangs in the driver: the other GPU's rows say why they have no values."""
    run = sample(driver=driver, script="gpus 2\nfail 0 * 999 60 init\nslow * nvmlInitWithFlags 30000 1\n")
    closed = "all: the driver is being initialised again (NVML error 1)"
    rows = run.wait_for("gpu", lambda rows: any(row["missing"] == closed for row in of(rows, 1)))
    assert of(rows, 1)[0]["memory_used_bytes"] == 2 * GIB
    run.wait_for("events", has(kind="source_hung"))
    words(run)


def test_nothing_is_initialised_under_a_thread_that_hangs(sample: Sample, driver: Path) -> None:
    """A lost GPU needs a driver initialised again; that waits while another GPU's call hangs. A third is read on."""
    script = "gpus 3\nslow 1 nvmlDeviceGetMemoryInfo_v2 30000 10\nfail 0 * 15 60 init\n"
    run = sample(driver=driver, script=script)
    hung, lost = run.event("source_hung"), run.event("gpu_lost")
    later_ns = max(hung["at_ns"], lost["at_ns"] + 2 * NS_PER_S)  # one try to have it back, at least
    rows = run.wait_for("gpu", lambda rows: bool(of(rows, 2)) and of(rows, 2)[-1]["at_ns"] > later_ns)
    good = [row for row in of(rows, 2) if row["missing"] is None or "all: " not in row["missing"]]
    assert max(later["at_ns"] - earlier["at_ns"] for earlier, later in pairwise(good)) < 2 * NS_PER_S
    assert not any(row["kind"] == "source_found" for row in run.rows("events") if row["subject"] == UUID(0))
    assert "standin_nvml" not in words(run)


def test_a_gpu_that_stays_lost_is_felt_by_no_other(sample: Sample, driver: Path) -> None:
    """Each try to have it back initialises the driver: the other one keeps its rows and its rates all the while."""
    run = sample(driver=driver, script="gpus 2\nrate 1 pcie_sent 5000000\nfail 0 * 15 60\n", slow_every_s=0.2)
    lost_ns = run.event("gpu_lost")["at_ns"]
    run.wait_for("gpu", lambda rows: sum(row["at_ns"] > lost_ns and row["missing"] is not None for row in rows) >= 4)
    assert all(row["missing"] is None for row in of(run.rows("gpu"), 1))
    rates = [row["pcie_sent_bytes_per_s"] for row in of(run.rows("gpu_slow"), 1)][1:]
    assert None not in rates
    assert {row["missing"] for row in of(run.rows("gpu"), 0)} == {None, "all: the GPU is lost (NVML error 15)"}
    assert not any(row["kind"] in {"source_late", "source_hung"} for row in run.rows("events"))
    assert "standin_nvml" not in words(run)


BUS = """
import sys, time
from pathlib import Path
from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_probes.nvml.gpu import Rates
from comfysoak_probes.processes.names import ProcessNames
from comfysoak_probes.nvml.host_driver import DriverSource
from comfysoak_probes.source import Tick

bus, clock, started = Path(sys.argv[1]), AnchoredClock(Anchor.from_environment()), []
source = DriverSource(rates=Rates(), host="h", clock=clock, start=lambda one, _: started.append(one.name),
                      end=None, names=ProcessNames(), on_the_bus=bus)
look = lambda: source.read(Tick(clock.now_ns(), clock.now_ns()))
look(), time.sleep(0.3), look()
print(started)
(bus / "0000:3b:00.0").mkdir()
look()
print(started)
"""


def test_a_gpu_that_is_plugged_in_is_looked_for_when_the_bus_has_it(driver: Path, tmp_path: Path) -> None:
    """The library lists GPUs when it is initialised: it is so again when the kernel's list of them has changed."""
    (tmp_path / "script").write_text("gpus 2\ngone 1 0 0.1\n")
    (tmp_path / "bus" / "0000:1a:00.0").mkdir(parents=True)
    environment = {**os.environ, "STANDIN_NVML": str(tmp_path / "script"), "LD_LIBRARY_PATH": str(driver)}
    command = [sys.executable, "-c", BUS, str(tmp_path / "bus")]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.splitlines() == [
        "['nvml GPU 0', 'nvml xids']",
        "['nvml GPU 0', 'nvml xids', 'nvml GPU 1']",
    ]
