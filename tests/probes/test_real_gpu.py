"""A real GPU and its driver, where this host has one: the same sampler, held against what nvidia-smi says.

`pytest -s tests/probes/test_real_gpu.py` also prints which columns this GPU lacks, and why.
"""

from __future__ import annotations

import csv
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.rows import Gpu, GpuHealth, GpuSlow, Row
from comfysoak_probes.nvml.driver import Device, Gate
from comfysoak_probes.nvml.xid_source import XidSource
from comfysoak_probes.source import Tick
from tests.probes.fleet import why
from tests.probes.sampling import Record, Sampling

pytestmark = pytest.mark.gpu

MIB = 1024**2
NO_REASON_NEEDED = {"late_ns", "instance", "missing", "xid"}  # of a whole GPU, by its driver
QUERY = (
    "uuid", "index", "name", "memory.total", "memory.used", "utilization.gpu", "temperature.gpu", "power.draw",
    "enforced.power.limit", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "pstate",
)  # fmt: skip


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampling]:
    """The sampler beside the driver of this host, once it has read every GPU some times."""
    libraries = Path(os.environ.get("LD_LIBRARY_PATH") or "/nowhere")
    sampling = Sampling.start(tmp_path_factory.mktemp("real"), driver=libraries)
    try:
        uuids = set(smi())
        sampling.wait_for("gpu_slow", lambda rows: all(of(rows, uuid)[3:] for uuid in uuids))
        sampling.wait_for("gpu_health", lambda rows: all(of(rows, uuid) for uuid in uuids))
        yield sampling
    finally:
        sampling.end()


def smi() -> dict[str, dict[str, str]]:
    """What nvidia-smi says of each GPU, by uuid; a value it has not is not there."""
    command = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    told = [dict(zip(QUERY, row, strict=True)) for row in csv.reader(lines, skipinitialspace=True)]
    known = [{name: value for name, value in row.items() if not value.startswith("[")} for row in told]
    return {row["uuid"]: row for row in known}


def of(rows: list[Record], uuid: str) -> list[Record]:
    return [row for row in rows if row["uuid"] == uuid]


def silent(row_type: type[Row], row: Record) -> list[str]:
    """Columns without a value and without a reason."""
    columns = {field.name for field in fields(row_type)} - NO_REASON_NEEDED
    return sorted(column for column in columns if row[column] is None and why(row, column) is None)


def test_every_column_has_a_value_or_a_reason(watched: Sampling) -> None:
    """Whatever this GPU is, nothing is missing without a word; what it lacks is printed."""
    for row_type in (Gpu, GpuSlow, GpuHealth):
        for uuid in smi():
            row = of(watched.rows(row_type.TABLE), uuid)[-1]
            assert silent(row_type, row) == []
            print(f"{row_type.TABLE} of {uuid} lacks: {row['missing'] or 'nothing'}")


def test_values_are_those_of_nvidia_smi(watched: Sampling) -> None:
    """On an idle GPU: what stays is equal, what moves is near; what nvidia-smi has is not missing here."""
    told = smi()
    since_ns = watched.rows("gpu_slow")[-1]["at_ns"]
    watched.wait_for("gpu_slow", lambda rows: all(of(rows, uuid)[-1]["at_ns"] > since_ns for uuid in told))
    for uuid, theirs in told.items():
        fast, slow = of(watched.rows("gpu"), uuid)[-1], of(watched.rows("gpu_slow"), uuid)[-1]
        health = of(watched.rows("gpu_health"), uuid)[-1]
        assert (slow["index"], slow["name"]) == (int(theirs["index"]), theirs["name"])
        assert near(fast["memory_total_bytes"], theirs.get("memory.total"), MIB, within=MIB)
        assert near(fast["memory_used_bytes"], theirs.get("memory.used"), MIB, within=512 * MIB)
        assert near(fast["utilisation_ratio"], theirs.get("utilization.gpu"), 0.01, within=0.5)
        assert near(slow["temperature_celsius"], theirs.get("temperature.gpu"), 1.0, within=10.0)
        assert near(slow["power_limit_watts"], theirs.get("enforced.power.limit"), 1.0, within=1.0)
        assert near(
            slow["power_watts"], theirs.get("power.draw"), 1.0, within=30.0 + 0.3 * (slow["power_watts"] or 0.0)
        )
        assert near(slow["memory_clock_hertz"], theirs.get("clocks.mem"), 1e6, within=1e8)
        assert near(health["sm_clock_most_hertz"], theirs.get("clocks.max.sm"), 1e6, within=0)
        assert near(health["memory_clock_most_hertz"], theirs.get("clocks.max.mem"), 1e6, within=0)
        assert slow["sm_clock_hertz"] is None or 0 < slow["sm_clock_hertz"] <= 1.05 * health["sm_clock_most_hertz"]
        assert slow["performance_state"] in range(16) or "pstate" not in theirs


def near(ours: float | None, theirs: str | None, unit: float, *, within: float) -> bool:
    """Both have it and are near each other, or nvidia-smi has it not."""
    return theirs is None or (ours is not None and abs(ours - float(theirs) * unit) <= within)


def test_energy_grows_and_agrees_with_power(watched: Sampling) -> None:
    """Where there is an energy counter, what it gains is between nothing and the power limit."""
    for uuid in smi():
        rows = [row for row in of(watched.rows("gpu_slow"), uuid) if row["energy_joules"] is not None]
        if len(rows) >= 2:
            gained = rows[-1]["energy_joules"] - rows[0]["energy_joules"]
            seconds = (rows[-1]["at_ns"] - rows[0]["at_ns"]) / 1e9
            assert 0 < gained / seconds < 1.2 * (rows[-1]["power_limit_watts"] or 2000.0)


def test_xids_of_every_gpu_are_heard_or_it_is_said_why(watched: Sampling) -> None:
    """The real driver takes the registration of each GPU, or an event has its reason; a wait without event is quiet."""
    gate, clock = Gate(), AnchoredClock(Anchor.from_environment())
    gate.open()
    source = XidSource(gate, clock)
    gpus = [device for device in gate.devices() if isinstance(device, Device) and device.parent is None]
    for gpu in gpus:
        source.listen(gpu)
    began_s = time.monotonic()
    told = source.read(Tick(clock.now_ns(), clock.now_ns()))
    print(f"one wait: {time.monotonic() - began_s:.3f} s; heard: {sorted(source.heard)}")
    unheard = {getattr(row, "subject", None): row for row in told if getattr(row, "kind", "") == "xid_unheard"}
    print("\n".join(str(row) for row in unheard.values()))
    assert source.heard | set(unheard) == {gpu.uuid for gpu in gpus}
    source.close()
    assert gate.reopen(gate.generation)  # nothing is left inside
    assert not any(row["kind"] in {"source_failed", "gpu_lost", "gpu_vanished"} for row in watched.rows("events"))
    gate.close()


def test_what_a_reading_costs_is_told(watched: Sampling) -> None:
    """A fast reading of a real driver is over well before the next one is due; the costs are printed."""
    for row_type in (Gpu, GpuSlow, GpuHealth):
        costs = sorted(row["read_cost_ns"] for row in watched.rows(row_type.TABLE))
        print(f"{row_type.TABLE}: median {costs[len(costs) // 2] / 1e3:.0f} us, highest {costs[-1] / 1e3:.0f} us")
        assert costs[len(costs) // 2] < 50_000_000
