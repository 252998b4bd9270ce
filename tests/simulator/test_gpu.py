"""The virtual GPU: what fits, what leaves, what it costs, what a probe sees."""

from __future__ import annotations

import pytest

from comfysoak_simulator.metrics import as_prometheus_text
from tests.simulator.driving import GIB, Driven, diffusion_graph, end_of, took_s

FILES = {"checkpoints/a.safetensors": "6 GiB", "checkpoints/b.safetensors": "6 GiB"}


def used_gib(driven: Driven) -> float:
    """VRAM in use, in GiB, without what the driver holds."""
    assert driven.machine.gpu is not None
    return driven.machine.gpu.torch_bytes / GIB


def test_a_model_is_loaded_once_and_stays() -> None:
    """The first prompt pays for the load at the given bandwidth, the second does not."""
    driven = Driven(models=FILES, gpu={"memory": "24 GiB", "load_bandwidth": "2 GiB"})
    first = took_s(driven.ran(diffusion_graph(1, "a.safetensors")))
    second = took_s(driven.ran(diffusion_graph(2, "a.safetensors")))
    assert first - second == pytest.approx(6 / 2, abs=0.1)
    assert used_gib(driven) == pytest.approx(6, abs=0.01)


def test_models_that_do_not_fit_together_push_each_other_out() -> None:
    """On 8 GiB two checkpoints of 6 GiB are loaded anew each time; on 24 GiB each once."""
    for memory, loads in (("8 GiB", 4), ("24 GiB", 2)):
        driven = Driven(models=FILES, gpu={"memory": memory})
        for seed, name in enumerate(("a", "b", "a", "b")):
            driven.ran(diffusion_graph(seed, f"{name}.safetensors"))
        assert driven.log.count("Requested to load BaseModel") == loads


def test_a_model_too_large_is_loaded_in_part_and_slows_each_step() -> None:
    """Half a model on the GPU works, says so in the log, and takes longer at each step."""
    small = Driven(models=FILES, gpu={"memory": "4 GiB"})
    large = Driven(models=FILES, gpu={"memory": "24 GiB"})
    for driven in (small, large):
        driven.ran(diffusion_graph(1, "a.safetensors"))
    times = [took_s(driven.ran(diffusion_graph(2, "a.safetensors"))) for driven in (small, large)]
    assert "loaded partially" in small.log
    assert "loaded partially" not in large.log
    assert times[0] > times[1]


def test_too_large_a_batch_runs_out_of_memory_and_the_next_prompt_pays() -> None:
    """Out of memory: the error has the tip, all models leave, and the next prompt loads them again."""
    driven = Driven(models=FILES, gpu={"memory": "12 GiB"})
    driven.ran(diffusion_graph(1, "a.safetensors"))
    entry = driven.ran(diffusion_graph(2, "a.safetensors", side=2048, batch=8))
    assert end_of(entry)["exception_type"] == "torch.OutOfMemoryError"
    assert "This error means you ran out of memory" in end_of(entry)["exception_message"]
    assert "Got an OOM, unloading all loaded models." in driven.log
    assert used_gib(driven) == 0
    assert end_of(driven.ran(diffusion_graph(3, "a.safetensors")))["event"] == "execution_success"
    assert driven.log.count("Requested to load BaseModel") == 2


def test_utilisation_follows_the_work() -> None:
    """Idle before, busy while sampling, idle again a second after."""
    driven = Driven(gpu={"load_bandwidth": "1 TiB"})
    gpu = driven.machine.gpu
    assert gpu is not None
    assert gpu.read(driven.clock.now_ns()).utilisation == 0
    driven.submit(diffusion_graph(1, steps=200))
    driven.run(3)
    busy = gpu.read(driven.clock.now_ns())
    driven.run()
    driven.clock.advance(2)
    idle = gpu.read(driven.clock.now_ns())
    assert busy.utilisation > 0.9
    assert idle.utilisation == 0
    assert busy.watts > idle.watts
    assert idle.energy_joules > busy.energy_joules


def published(driven: Driven, index: int = 0) -> list[str]:
    """The lines of its exporter now."""
    assert driven.machine.gpu is not None
    return as_prometheus_text(driven.machine.gpu, index, driven.clock.now_ns()).splitlines()


def values_in(lines: list[str]) -> dict[str, float]:
    """Series and their values."""
    return {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def test_metrics_are_what_dcgm_exporter_writes() -> None:
    """Each series has its help, its type and its labels; used, free and reserved add up to the card."""
    driven = Driven(gpu={"name": 'L4 "virtual"', "memory": "24 GiB"})
    driven.ran(diffusion_graph(1))
    lines = published(driven, 3)
    values = values_in(lines)
    total = values["DCGM_FI_DEV_FB_USED"] + values["DCGM_FI_DEV_FB_FREE"] + values["DCGM_FI_DEV_FB_RESERVED"]
    assert total == 24 * 1024
    assert values["DCGM_FI_DEV_FB_USED"] == pytest.approx(2034, abs=2)
    for place, name in enumerate(values):
        help_line, type_line, sample = lines[3 * place : 3 * place + 3]
        assert help_line.startswith(f"# HELP {name} ")
        assert type_line in {f"# TYPE {name} gauge", f"# TYPE {name} counter"}
        assert sample.startswith(f'{name}{{gpu="3",UUID="GPU-')
        assert ',device="nvidia3",modelName="L4 \\"virtual\\"",Hostname="' in sample
    xid = next(line for line in lines if line.startswith("DCGM_FI_DEV_XID_ERRORS"))
    assert ',DCGM_FI_DRIVER_VERSION="580.65.06",err_code="0",err_msg="No Error"} 0' in xid


def test_profiling_series_tell_sampling_from_loading() -> None:
    """While sampling SMs and tensor cores work; while a model is loaded the bus does, and they do not."""
    driven = Driven(models=FILES, gpu={"memory": "24 GiB", "load_bandwidth": "2 GiB"})
    driven.submit(diffusion_graph(1, "a.safetensors", steps=200))
    driven.run(2)
    loads = values_in(published(driven))
    driven.run(5)
    samples = values_in(published(driven))
    assert loads["DCGM_FI_PROF_SM_ACTIVE"] < 0.1 < 0.8 < samples["DCGM_FI_PROF_SM_ACTIVE"] < 1
    assert loads["DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"] == 0 < 0.3 < samples["DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"]
    assert loads["DCGM_FI_PROF_PCIE_RX_BYTES"] == pytest.approx(2 * GIB, rel=0.01)
    assert samples["DCGM_FI_PROF_PCIE_RX_BYTES"] < 1e8
    assert samples["DCGM_FI_DEV_POWER_USAGE"] > loads["DCGM_FI_DEV_POWER_USAGE"]


def test_a_lost_gpu_publishes_its_xid_alone() -> None:
    """Whatever could not be read is left out, as dcgm-exporter does."""
    driven = Driven(faults=[{"kind": "gpu-lost", "at": "1s"}])
    driven.run(2)
    lines = published(driven)
    assert values_in(lines) == {"DCGM_FI_DEV_XID_ERRORS": 79.0}
    assert 'err_code="79",err_msg="GPU has fallen off the bus"' in lines[-1]


def test_a_throttled_gpu_publishes_why_and_for_how_long() -> None:
    """The reason while it is throttled, and the time of it in all."""
    driven = Driven(faults=[{"kind": "throttle", "at": "10s", "for": "5s"}])
    driven.run(12)
    during = values_in(published(driven))
    driven.run(8)
    after = values_in(published(driven))
    assert (during["DCGM_FI_DEV_CLOCKS_EVENT_REASONS"], after["DCGM_FI_DEV_CLOCKS_EVENT_REASONS"]) == (0x21, 0x1)
    assert during["DCGM_FI_DEV_THERMAL_VIOLATION"] == pytest.approx(2e9, rel=0.05)
    assert after["DCGM_FI_DEV_THERMAL_VIOLATION"] == pytest.approx(5e9, rel=0.02)
