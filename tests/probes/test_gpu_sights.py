"""One GPU by two sources: told once."""

from __future__ import annotations

from pathlib import Path

from comfysoak_probes.gpu_sights import GPUS_MOST, GpuSights
from comfysoak_probes.source import Tick
from tests.probes.conftest import Sample
from tests.probes.far_probe import FarProbe
from tests.probes.sampling import has


def test_each_gpu_that_several_see_is_told_once() -> None:
    """One source may see it as often as it likes; a third one changes nothing."""
    sights = GpuSights()
    for by in ("the driver", "the driver", "probe a"):
        sights.see("G", by)
    sights.see("H", "probe a")
    (event,) = sights.read(Tick(0, 7))
    assert (event.kind, event.subject, event.at_ns) == ("gpu_twice", "G", 7)
    assert "the driver and by probe a" in event.detail
    sights.see("G", "probe b")
    assert list(sights.read(Tick(0, 8))) == []


def test_what_is_kept_does_not_grow_without_bound() -> None:
    """A probe that sends a new uuid in each row."""
    sights = GpuSights()
    for number in range(3 * GPUS_MOST):
        sights.see(str(number), "a")
        sights.see(str(number), "b")
    assert len(list(sights.read(Tick(0, 0)))) == GPUS_MOST
    assert len(sights._by) == len(sights._twice) == GPUS_MOST


def test_a_probe_on_this_machine_beside_the_driver_is_told(sample: Sample, tmp_path: Path, driver: Path) -> None:
    """The same GPU by NVML and by a probe: an event with both names."""
    probe = FarProbe.start(tmp_path, driver=driver, script="gpus 1\n")
    try:
        sources = [{"kind": "nvml"}, {"kind": "probe", "url": probe.url}]
        run = sample(gpu=sources, driver=driver, script="gpus 1\n")
        events = run.wait_for("events", has(kind="gpu_twice"))
        (detail,) = [event["detail"] for event in events if event["kind"] == "gpu_twice"]
        assert "the driver" in detail
        assert f"probe {probe.url}" in detail
    finally:
        probe.end()
