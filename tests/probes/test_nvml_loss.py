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


def test_a_gpu_lost_and_found_is_felt_by_no_other(sample: Sample, driver: Path) -> None:
    """It is told once and keeps its uuid; the driver is initialised for it, twice: at first it is not there.

    The others' indices move, they keep their rows and their rates, and their Xids are heard after it as before.
    """
    script = "gpus 3\nset 1 memory_used 1073741824\nrate 2 pcie_sent 5000000\ngone 0 0.6 1.9\nxid 1 45 3.2\n"
    run = sample(driver=driver, script=script, slow_every_s=0.2)
    lost, found, xid = run.event("gpu_lost"), run.event("source_found"), run.event("xid")
    assert (lost["subject"], lost["code"], found["subject"], xid["subject"]) == (UUID(0), "GPU_LOST", UUID(0), UUID(1))
    assert "the GPU answers again after" in found["detail"]
    rows = run.rows("gpu")
    assert {row["index"] for row in of(rows, 1)} == {0, 1}
    assert (of(rows, 1)[-1]["index"], of(rows, 0)[-1]["index"]) == (1, 0)
    assert {row["memory_used_bytes"] for row in of(rows, 1)} == {GIB}
    assert {row["memory_used_bytes"] for row in of(rows, 0)} == {None, 2 * GIB}
    assert {row["missing"] for row in of(rows, 2)} == {None}
    assert None not in [row["pcie_sent_bytes_per_s"] for row in of(run.rows("gpu_slow"), 2)][1:]
    reasons = {row["missing"] for row in of(rows, 0)} - {None}
    assert "all: the GPU is lost (NVML error 15)" in reasons
    assert not any("initialised" in reason for reason in reasons)
    events = run.rows("events")
    assert [row["kind"] for row in events if row["subject"] == UUID(0)] == ["gpu", "gpu_lost", "source_found"]
    assert not any(row["kind"] in {"source_late", "source_hung"} for row in events)
    assert "standin_nvml" not in words(run)


def test_what_comes_later_is_watched(sample: Sample, driver: Path) -> None:
    """A GPU lost from the start, a host without one, a host without driver: told once, and watched once there."""
    lost = sample(driver=driver, script="gpus 2\nfail 0 nvmlDeviceGetHandleByIndex_v2 15 0 1\n")
    bare = sample(driver=driver, script="gone 0 0 1\n")
    without = sample()
    assert "no NVIDIA driver is installed here" in without.event("source_missing")["detail"]
    shutil.copy(driver / "libnvidia-ml.so.1", without.folder / "copy")
    (without.folder / "copy").rename(without.folder / "libnvidia-ml.so.1")
    event = lost.event("gpu_lost")
    assert (event["subject"], event["code"]) == ("GPU 0", "GPU_LOST")
    assert event["detail"] == "cannot be watched: the GPU is lost (NVML error 15)"
    assert bare.event("source_missing")["detail"] == "the driver answers, but there is no GPU"
    assert bare.event("source_found")["subject"] == "nvml"
    lost.wait_for("events", has(kind="gpu", subject=UUID(0)))
    for run, kind in ((lost, "gpu_lost"), (bare, "source_missing"), (without, "source_missing")):
        run.wait_for("gpu", has(uuid=UUID(0), memory_used_bytes=2 * GIB))
        assert sum(row["kind"] == kind for row in run.rows("events")) == 1


def test_what_keeps_us_out_is_said_clearly(sample: Sample, driver: Path, tmp_path: Path) -> None:
    """No driver, an empty library, one that lets us have nothing: one line with the reason, and the host is sampled."""
    reasons = {
        "fail * nvmlInitWithFlags 4 0": "no permission (NVML error 4): no GPU of this host is watched",
        "fail * nvmlInitWithFlags 9 0": "installed but not loaded",
        "fail * nvmlInitWithFlags 17 0": "the operating system keeps us from the GPU (NVML error 17)",
        "fail * nvmlInitWithFlags 18 0": "different versions: reboot",
        "fail * nvmlInitWithFlags 999 0": "unknown error of the driver (NVML error 999)",
        "fail * nvmlDeviceGetCount_v2 4 0": "no permission (NVML error 4)",
        "fail * nvmlDeviceGetCount_v2 999 0": "unknown error of the driver (NVML error 999)",
        "fail * nvmlDeviceGetHandleByIndex_v2 4 0": "the driver gives none of the GPUs it has",
        "gpus 0": "there is no GPU",
    }
    runs = [(sample(driver=driver, script=f"{script}\n", host_every_s=0.1), why) for script, why in reasons.items()]
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")  # as broken container images have it
    for folder in (None, tmp_path):
        reason = "no NVIDIA driver is installed here (its library NVML was not found or cannot be loaded)"
        runs.append((sample(driver=folder, host_every_s=0.1), reason))
    for run, why in runs:
        run.wait_for("host", at_least(2))
        assert why in run.event("source_missing")["detail"]
        told = words(run)
        assert told.count("source missing: nvml:") == 1
        assert told.count("\n") == 1 + told.count("source missing: GPU 0:")


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
    """30 s, at the start or on a lost GPU's way back: others are sampled or say why not, and the end does not wait."""
    first = sample(driver=driver, script="slow * nvmlInitWithFlags 30000 0\n", host_every_s=0.2)
    again = sample(driver=driver, script="gpus 2\nfail 0 * 999 60 init\nslow * nvmlInitWithFlags 30000 1\n")
    hung = first.event("source_hung")
    first.wait_for("host", lambda rows: rows[-1]["at_ns"] > hung["at_ns"])
    closed = "all: the driver is being initialised again (NVML error 1)"
    rows = again.wait_for("gpu", lambda rows: any(row["missing"] == closed for row in of(rows, 1)))
    assert of(rows, 1)[0]["memory_used_bytes"] == 2 * GIB
    again.wait_for("events", has(kind="source_hung"))
    words(first)
    words(again)


def test_a_call_that_hangs_delays_nobody_else(sample: Sample, driver: Path) -> None:
    """A third GPU and the host are read on, and nothing is initialised under it: a lost GPU stays lost."""
    script = "gpus 3\nslow 1 nvmlDeviceGetMemoryInfo_v2 30000 10\nfail 0 * 15 60 init\n"
    run = sample(driver=driver, script=script, host_every_s=0.2)
    hung, lost = run.event("source_hung"), run.event("gpu_lost")
    later_ns = max(hung["at_ns"], lost["at_ns"] + 2 * NS_PER_S)  # one try to have it back, at least
    rows = run.wait_for("gpu", lambda rows: bool(of(rows, 2)) and of(rows, 2)[-1]["at_ns"] > later_ns)
    good = [row for row in of(rows, 2) if row["missing"] is None or "all: " not in row["missing"]]
    assert max(later["at_ns"] - earlier["at_ns"] for earlier, later in pairwise(good)) < 2 * NS_PER_S
    assert of(rows, 1)[-1]["at_ns"] < hung["at_ns"]
    assert run.rows("host")[-1]["at_ns"] > hung["at_ns"] - NS_PER_S
    assert not any(row["kind"] == "source_found" for row in run.rows("events") if row["subject"] == UUID(0))
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
