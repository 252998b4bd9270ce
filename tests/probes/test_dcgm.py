"""DCGM series of a scrape: GPUs and instances by their labels, rows in our units, reasons for what is missing."""

from __future__ import annotations

import pytest

from comfysoak_core.scenario.embedded import VirtualGpu
from comfysoak_probes.dcgm.prometheus import NotPrometheusError
from comfysoak_probes.dcgm.rows import MIB, When, gpu_health_row, gpu_row, gpu_slow_row
from comfysoak_probes.dcgm.series import GPUS_MOST, Reading, by_gpu, gpu_parser
from comfysoak_simulator.gpu import Gpu as Virtual
from comfysoak_simulator.metrics import as_prometheus_text
from tests.probes.exporting import CHOSEN, USUAL, Gpu, exported

NOW = When(at_ns=5, cost_ns=2, late_ns=1)


def read(body: str) -> dict[str, Reading]:
    return by_gpu(gpu_parser("exporter-host").parse(body.encode()))


def one(**changed: object) -> Reading:
    """The only GPU of an exporter that publishes `Gpu(**changed)`."""
    (reading,) = read(exported(Gpu(**changed))).values()  # type: ignore[arg-type]  # passed through
    return reading


def test_series_become_columns_in_our_units() -> None:
    """MiB are bytes, percent shares, MHz hertz, millijoules joules; labels say which GPU of which host."""
    reading = one(values={**USUAL, **CHOSEN})
    fast, slow = gpu_row(reading, NOW), gpu_slow_row(reading, NOW)
    assert (fast.at_ns, fast.read_cost_ns, fast.late_ns) == (5, 2, 1)
    assert (fast.host, fast.uuid, fast.index, fast.source, fast.instance) == ("gpu-1", "GPU-abc", 0, "dcgm", None)
    assert (fast.memory_used_bytes, fast.memory_total_bytes) == (20559 * MIB, (20559 + 60000 + 1000) * MIB)
    assert (fast.memory_reserved_bytes, fast.utilisation_ratio) == (1000 * MIB, 0.97)
    assert fast.missing is None
    assert (slow.name, slow.power_watts, slow.energy_joules) == ("NVIDIA H100 80GB HBM3", 401.604, 123456.789)
    assert (slow.sm_clock_hertz, slow.temperature_celsius, slow.memory_temperature_celsius) == (1_980_000_000, 62, 51)
    assert (slow.event_reasons, slow.performance_state) == ("gpu_idle,software_power_cap", 0)
    assert (slow.power_limit_watts, slow.xid) == (700.0, 0)


def test_profiling_series_are_shares_and_rates() -> None:
    """What ran how hard is taken as it is told; PCIe and NVLink are bytes a second, whatever their TYPE says."""
    slow = gpu_slow_row(one(values={**USUAL, **CHOSEN}), NOW)
    shares = (slow.graphics_active_ratio, slow.sm_active_ratio, slow.sm_occupancy_ratio, slow.tensor_active_ratio)
    assert shares == (0.951234, 0.871, 0.31, 0.412)
    assert slow.memory_active_ratio == 0.3005
    assert (slow.pcie_sent_bytes_per_s, slow.pcie_received_bytes_per_s) == (1.5e6, 2.5e6)
    assert (slow.nvlink_sent_bytes_per_s, slow.nvlink_received_bytes_per_s) == (7e6, 8e6)


@pytest.mark.parametrize("unit", ["ns", "us"])
def test_throttling_is_nanoseconds_whatever_the_help_line_says(unit: str) -> None:
    """Exporters until 2025 said microseconds of the same numbers."""
    body = exported(Gpu(values=CHOSEN)).replace("What it is.", f"Throttling duration due to power (in {unit}).")
    slow = gpu_slow_row(read(body)["GPU-abc"], NOW)
    assert (slow.power_throttled_s, slow.thermal_throttled_s) == (2.5, 0.0)


def test_health_has_its_counters_and_what_exporters_never_tell() -> None:
    """Errors, remapped rows, links and modes; nobody looks for processes in an exporter."""
    health = gpu_health_row(one(values={**USUAL, **CHOSEN}), NOW)
    assert (health.ecc_corrected, health.ecc_uncorrected, health.ecc_uncorrected_lifetime) == (4, 0, 1)
    assert (health.rows_remapped_uncorrected, health.remapping_pending, health.remapping_failed) == (1, True, False)
    assert (health.pcie_replays, health.pcie_generation, health.nvlink_errors) == (3, 5, 7)
    assert (health.fan_ratio, health.decoder_ratio, health.compute_mode) == (0.4, 0.02, "default")
    assert health.mig_mode is False
    assert health.sm_clock_most_hertz == 1_980_000_000
    assert "processes: not told by exporters" in str(health.missing)
    assert "pcie_width: the exporter has no DCGM_FI_DEV_PCIE_LINK_WIDTH" in str(health.missing)


def test_a_series_that_is_not_there_is_a_column_with_a_reason() -> None:
    """dcgm-exporter leaves out what the chip has not: None, and which series was looked for."""
    reading = one(values={"DCGM_FI_DEV_GPU_UTIL": "5", "DCGM_FI_DEV_FB_FREE": "5"})
    fast = gpu_row(reading, NOW)
    assert (fast.memory_used_bytes, fast.memory_total_bytes, fast.utilisation_ratio) == (None, None, 0.05)
    assert "memory_used_bytes: the exporter has no DCGM_FI_DEV_FB_USED" in str(fast.missing)
    assert "sm_active_ratio: the exporter has no DCGM_FI_PROF_SM_ACTIVE" in str(gpu_slow_row(reading, NOW).missing)


def test_a_series_that_was_there_and_is_gone_is_told_apart() -> None:
    """The profiling module of DCGM is lost now and then: the reason says that the series used to be there."""
    slow = gpu_slow_row(one(), NOW, ever={"DCGM_FI_PROF_SM_ACTIVE"})
    assert "sm_active_ratio: the exporter no longer has DCGM_FI_PROF_SM_ACTIVE" in str(slow.missing)


@pytest.mark.parametrize(
    "value",
    ["NaN", "+Inf", "9223372036854775794", "9.223372036854776e+18", "2147483632", "140737488355328.000000"],
)
def test_no_value_is_never_a_number(value: str) -> None:
    """NaN, and the numbers by which DCGM says "blank", "not found", "not supported", "not permitted"."""
    reading = one(values={"DCGM_FI_DEV_GPU_UTIL": "5", "DCGM_FI_DEV_FB_USED": value})
    assert gpu_row(reading, NOW).memory_used_bytes is None


def test_a_blank_is_told_as_one() -> None:
    """The exporter has the series, and says by it that there is no value."""
    fast = gpu_row(one(values={"DCGM_FI_DEV_GPU_UTIL": "9223372036854775794"}), NOW, ever={"DCGM_FI_DEV_GPU_UTIL"})
    assert fast.utilisation_ratio is None
    assert "utilisation_ratio: the exporter has DCGM_FI_DEV_GPU_UTIL without a value" in str(fast.missing)


def test_a_blank_of_the_whole_gpu_is_not_filled_by_a_pod() -> None:
    """A pod's part must not stand for a GPU whose own value is not known."""
    pod = Gpu(values={"DCGM_FI_DEV_FB_USED": "100"}, attributes={"namespace": "art", "pod": "comfy"})
    reading = read(exported(pod, Gpu(values={"DCGM_FI_DEV_FB_USED": "NaN"})))["GPU-abc"]
    assert gpu_row(reading, NOW).memory_used_bytes is None


def test_sums_that_no_column_holds_are_told_and_not_taken() -> None:
    """A column holds 63 bits: absurd parts give no sum."""
    parts = dict.fromkeys(("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"), "1")
    fast = gpu_row(one(values={**parts, "DCGM_FI_DEV_FB_RESERVED": "9e18"}), NOW)
    assert fast.memory_total_bytes is None
    assert "memory_total_bytes: " in str(fast.missing)
    kinds = ("CRC_FLIT", "CRC_DATA", "REPLAY", "RECOVERY")
    links = {f"DCGM_FI_DEV_NVLINK_{kind}_ERROR_COUNT_TOTAL": "4e18" for kind in kinds}
    health = gpu_health_row(one(values=links), NOW)
    assert health.nvlink_errors is None
    assert "nvlink_errors: " in str(health.missing)


def test_coders_of_a_mig_instance_are_not_told() -> None:
    """As its utilisation: the driver has neither, and a zero means nothing."""
    values = {"DCGM_FI_DEV_ENC_UTIL": "0", "DCGM_FI_DEV_DEC_UTIL": "0"}
    health = gpu_health_row(one(values=values, instance=("3g.40gb", "1")), NOW)
    assert (health.encoder_ratio, health.decoder_ratio) == (None, None)
    assert "encoder_ratio: not told of MIG instances" in str(health.missing)


@pytest.mark.parametrize(("series", "value"), [("GPU_UTIL", "101"), ("GPU_UTIL", "-1"), ("POWER_USAGE", "-5")])
def test_an_impossible_value_is_told_and_not_taken(series: str, value: str) -> None:
    """A share above 1 or a power below 0 is the exporter's word, not a reading."""
    reading = one(values={f"DCGM_FI_DEV_{series}": value})
    assert f"the exporter says {value}" in f"{gpu_row(reading, NOW).missing}{gpu_slow_row(reading, NOW).missing}"


def test_a_memory_temperature_of_zero_is_no_sensor() -> None:
    """Cards without the sensor are told as 0 degrees."""
    slow = gpu_slow_row(one(values={"DCGM_FI_DEV_MEMORY_TEMP": "0"}), NOW)
    assert slow.memory_temperature_celsius is None
    assert "memory_temperature_celsius: the exporter says 0" in str(slow.missing)


def test_labels_that_are_missing_or_odd_are_borne() -> None:
    """Without Hostname the exporter's own name stands, without UUID one made of host and index; no GPU, no row."""
    found = read('DCGM_FI_DEV_GPU_UTIL{gpu="3"} 1\nDCGM_FI_DEV_GPU_UTIL{x="y"} 1\nother{gpu="1"} 1\n')
    (reading,) = found.values()
    assert (reading.identity.host, reading.identity.uuid, reading.identity.index) == (
        "exporter-host", "exporter-host/gpu3", 3,
    )  # fmt: skip
    newer = one(host_label="hostname").identity
    assert (newer.host, newer.driver) == ("gpu-1", "570.133.20")


def test_each_gpu_is_a_row_of_its_own_and_too_many_are_left_out() -> None:
    """Eight GPUs behind one exporter are eight; of a flood of them the first are kept, with all their values."""
    assert [gpu.identity.index for gpu in read(exported(*(Gpu(i, f"GPU-{i}") for i in range(8)))).values()] == [
        *range(8)
    ]
    flood = read(exported(*(Gpu(i, f"GPU-{i}") for i in range(GPUS_MOST + 9))))
    assert len(flood) == GPUS_MOST
    assert all(len(reading.values) == len(USUAL) for reading in flood.values())


def test_mig_instances_are_gpus_of_their_own() -> None:
    """Each by its parent's UUID and its number; the utilisation that exporters tell of one means nothing."""
    first, second = (Gpu(instance=("3g.40gb", number)) for number in ("1", "2"))
    found = read(exported(first, second))
    assert list(found) == ["GPU-abc/1", "GPU-abc/2"]
    fast, slow = gpu_row(found["GPU-abc/2"], NOW), gpu_slow_row(found["GPU-abc/2"], NOW)
    assert (fast.instance, fast.index, fast.memory_used_bytes) == ("2", 0, 20559 * MIB)
    assert fast.utilisation_ratio is None
    assert "utilisation_ratio: not told of MIG instances" in str(fast.missing)
    assert (slow.name, slow.graphics_active_ratio) == ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", 0.951234)
    assert gpu_health_row(found["GPU-abc/1"], NOW).mig_mode is True


def test_a_gpu_shared_by_pods_is_read_as_a_whole() -> None:
    """Each pod has a copy of each series, of memory and utilisation with its own part; the GPU's own counts."""
    pods = [
        Gpu(values={**USUAL, "DCGM_FI_DEV_FB_USED": used}, attributes={"namespace": "art", "pod": f"comfy-{used}"})
        for used in ("100", "200")
    ]
    reading = read(exported(Gpu(), *pods))["GPU-abc"]
    assert gpu_row(reading, NOW).memory_used_bytes == 20559 * MIB
    assert reading.pod == "art/comfy-100"
    only_pods = read(exported(*pods))["GPU-abc"]
    assert gpu_row(only_pods, NOW).memory_used_bytes == 100 * MIB


def test_traffic_of_one_nvlink_is_not_the_gpus() -> None:
    """Series with a link's number are left out."""
    body = exported(Gpu()) + 'DCGM_FI_PROF_NVLINK_TX_BYTES{nvlink="3",gpu="0",gpu_uuid="GPU-abc"} 7\n'
    assert list(read(body)) == ["GPU-abc"]
    assert gpu_slow_row(read(body)["GPU-abc"], NOW).nvlink_sent_bytes_per_s is None


def test_what_the_simulator_publishes_is_read_whole() -> None:
    """Its virtual GPU is a GPU like any other: each of its series finds its column."""
    reading = next(iter(read(as_prometheus_text(Virtual(VirtualGpu(), 0), 2, 10**9)).values()))
    fast, slow, health = gpu_row(reading, NOW), gpu_slow_row(reading, NOW), gpu_health_row(reading, NOW)
    assert (fast.index, fast.missing) == (2, None)
    assert (slow.sm_active_ratio, slow.tensor_active_ratio, slow.thermal_throttled_s) == (0.0, 0.0, 0.0)
    assert (slow.event_reasons, slow.xid, health.pcie_replays) == ("gpu_idle", 0, 0)
    lacking = [part.split(":")[0] for part in f"{slow.missing}".split("; ") if "exporter has no" in part]
    assert lacking == ["performance_state", "nvlink_sent_bytes_per_s", "nvlink_received_bytes_per_s"]


def test_text_without_a_gpu_is_refused() -> None:
    """Another exporter's metrics are none of a GPU."""
    with pytest.raises(NotPrometheusError, match="no series DCGM_FI_"):
        read("node_load1 0.5\n")
