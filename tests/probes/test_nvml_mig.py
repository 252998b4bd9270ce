"""MIG instances: each one a device of its own, beside the GPU it is a part of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.probes.conftest import Sample
from tests.probes.fleet import why
from tests.probes.sampling import Record, has

pytestmark = pytest.mark.compiler

GPU = "GPU-00000000-0000-0000-0000-000000000000"
FIRST, SECOND = (f"MIG-00000000-0000-0000-000{place}-000000000000" for place in (0, 1))
GIB = 1024**3


def of(rows: list[Record], uuid: str) -> list[Record]:
    return [row for row in rows if row["uuid"] == uuid]


def test_each_instance_has_rows_of_its_own_beside_its_gpu(sample: Sample, driver: Path) -> None:
    """Two instances: their own uuid, ids and memory, their GPU's index; what is told of none of them has its reason.

    Of a second GPU with MIG one instance is refused as a whole, which is told once, and one its memory alone.
    """
    script = "gpus 2\nmig 0 2\nset 101 memory_used 1073741824\nmig 1 2\nxid 101 43 0.8\ndouble_bit 0 0.9\n"
    refused = "fail 111 nvmlDeviceGetUUID 4 0\nfail 110 nvmlDeviceGetMemoryInfo_v2 4 0\n"
    run = sample(driver=driver, script=script + refused)
    rows = run.wait_for("gpu", lambda rows: all(len(of(rows, uuid)) >= 3 for uuid in (GPU, FIRST, SECOND)))
    whole, first, second = (of(rows, uuid)[0] for uuid in (GPU, FIRST, SECOND))
    assert [row["instance"] for row in (whole, first, second)] == [None, "1/0", "2/0"]
    assert [row["index"] for row in (whole, first, second)] == [0, 0, 0]
    assert (first["memory_used_bytes"], second["memory_used_bytes"]) == (2 * GIB, 1 * GIB)
    assert all(row["utilisation_ratio"] is None for row in (whole, first, second))
    assert "utilisation_ratio: not supported by this GPU (NVML error 3)" in whole["missing"]
    assert "utilisation_ratio: the driver tells no utilisation of MIG instances" in first["missing"]
    slow = of(run.wait_for("gpu_slow", has(uuid=SECOND)), SECOND)[0]
    assert (slow["instance"], slow["name"], slow["power_watts"]) == ("2/0", "Stand-in GPU 0 MIG 1g.10gb", None)
    assert why(slow, "power_watts") == "told of the whole GPU only, in its own rows"
    told = {row["subject"]: row["detail"] for row in run.rows("events") if row["kind"] == "gpu"}
    assert told[SECOND] == "GPU 0 MIG 2/0, Stand-in GPU 0 MIG 1g.10gb, driver 580.95.05"
    other_gpu, other_instance = GPU[:-1] + "1", FIRST[:-1] + "1"
    row = of(run.wait_for("gpu", has(uuid=other_instance)), other_instance)[0]
    assert why(row, "memory_used_bytes") == "no permission (NVML error 4)"
    assert of(run.rows("gpu"), other_gpu)[0]["memory_used_bytes"] == 2 * GIB
    event = run.event("xid")
    assert (event["subject"], event["code"]) == (GPU, None)
    assert event["detail"] == "Xid 43: GPU stopped processing (usually application), GPU 0 MIG 2/0"
    assert "could not be corrected" in run.event("ecc_error")["detail"]
    assert {row["uuid"] for row in run.rows("gpu")} == {GPU, FIRST, SECOND, other_gpu, other_instance}
    [event] = [row for row in run.rows("events") if row["kind"] == "source_missing"]
    assert event["subject"] == "MIG instance 1 of GPU 1"
    assert event["detail"] == "cannot be watched: no permission (NVML error 4)"


def test_instances_come_and_go(sample: Sample, driver: Path) -> None:
    """One made during the run is watched from then on; one taken away has vanished, and its GPU is read on."""
    run = sample(driver=driver, script="mig 0 1\nmig 0 2 1\nmig 0 1 2.5\n")
    run.wait_for("events", has(kind="gpu", subject=SECOND))
    gone = next(row for row in run.wait_for("events", has(kind="gpu_vanished")) if row["kind"] == "gpu_vanished")
    assert (gone["subject"], gone["code"]) == (SECOND, "GPU_VANISHED")
    assert gone["detail"] == "GPU 0 MIG 2/0: the driver no longer lists it (NVML error 28)"
    rows = run.wait_for("gpu", lambda rows: sum(row["at_ns"] > gone["at_ns"] for row in of(rows, FIRST)) >= 10)
    after = [row for row in rows if row["at_ns"] > gone["at_ns"] and row["uuid"] != SECOND]
    assert not any("all: " in (row["missing"] or "") for row in after)  # the driver is left alone for it


GONE = """
import time
from pathlib import Path
from comfysoak_core.clock import NS_PER_S, Anchor, AnchoredClock
from comfysoak_probes.nvml.gpu import Rates
from comfysoak_probes.nvml.host_driver import FORGET_NS, DriverSource
from comfysoak_probes.processes.names import ProcessNames
from comfysoak_probes.source import Tick

clock, sources = AnchoredClock(Anchor.from_environment()), []
source = DriverSource(rates=Rates(), host="h", clock=clock, start=lambda one, _: sources.append(one),
                      end=sources.remove, names=ProcessNames(), on_the_bus=Path("/nowhere"))
def look(later_ns=0):
    source.read(Tick(clock.now_ns() + later_ns, clock.now_ns() + later_ns))
    print([one.name for one in sources])
look(), time.sleep(0.3), look(), look(FORGET_NS // 2), look(FORGET_NS + NS_PER_S), time.sleep(0.3), look(FORGET_NS)
"""


def test_an_instance_taken_away_for_good_leaves_nothing_behind(driver: Path, tmp_path: Path) -> None:
    """After ten minutes nobody asks for it any more; made again after that it is a new one."""
    (tmp_path / "script").write_text("mig 0 1\nmig 0 0 0.2\nmig 0 1 0.5\n")
    environment = {**os.environ, "STANDIN_NVML": str(tmp_path / "script"), "LD_LIBRARY_PATH": str(driver)}
    command = [sys.executable, "-c", GONE]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    all_three = "['nvml GPU 0', 'nvml xids', 'nvml GPU 0 MIG 1/0']"
    assert answer.stdout.splitlines() == [*[all_three] * 3, "['nvml GPU 0', 'nvml xids']", all_three]
