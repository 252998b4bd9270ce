"""Every five seconds: errors counted, links, limits and modes of a GPU, and why a column is missing."""

from __future__ import annotations

from dataclasses import fields

import pytest

from comfysoak_core.rows import Gpu, GpuHealth, GpuProcess, GpuSlow, Row
from tests.probes.fleet import Fleet, why

pytestmark = pytest.mark.compiler

NO_REASON_NEEDED = {"late_ns", "instance", "missing", "xid"}  # xid is an exporter's
UNSUPPORTED = "not supported by this GPU (NVML error 3)"


@pytest.mark.parametrize("row_type", [Gpu, GpuSlow, GpuHealth, GpuProcess])
def test_every_column_has_a_value_or_a_reason(fleet: Fleet, row_type: type[Row]) -> None:
    """Of sixteen GPUs with many a trait no row is silent about a column, nor tells a reason beside a value."""
    columns = [field.name for field in fields(row_type) if field.name not in NO_REASON_NEEDED]
    for row in fleet.sampling.rows(row_type.TABLE):
        assert [column for column in columns if row[column] is None and why(row, column) is None] == []
        assert all(why(row, column) is None or row[column] is None for column in columns)


def test_errors_are_counted_apart(fleet: Fleet) -> None:
    """Corrected and uncorrected since the driver was loaded, uncorrected in all its life, and rows given up."""
    row = fleet.rows("gpu_health", 0)[-1]
    assert (row["ecc_corrected"], row["ecc_uncorrected"], row["ecc_uncorrected_lifetime"]) == (7, 3, 4)
    assert (row["rows_remapped_corrected"], row["rows_remapped_uncorrected"]) == (1, 2)
    assert (row["remapping_pending"], row["remapping_failed"]) == (True, False)
    assert row["pcie_replays"] == 9
    assert row["missing"] is None


def test_links_are_told_as_they_are_and_as_they_could_be(fleet: Fleet) -> None:
    """PCIe now and at most; of NVLinks those that are up, and the errors of all of them together."""
    row = fleet.rows("gpu_health", 0)[-1]
    assert (row["pcie_generation"], row["pcie_generation_most"]) == (4, 5)
    assert (row["pcie_width"], row["pcie_width_most"]) == (8, 16)
    assert (row["nvlinks_active"], row["nvlink_errors"]) == (3, 7)


def test_limits_and_modes_have_units_and_names(fleet: Fleet) -> None:
    """MHz are hertz, milliwatts are watts, percent are shares, modes are words."""
    row = fleet.rows("gpu_health", 0)[-1]
    assert (row["sm_clock_most_hertz"], row["memory_clock_most_hertz"]) == (2_100_000_000, 2_700_000_000)
    assert (row["slowdown_celsius"], row["power_limit_default_watts"]) == (90.0, 650.0)
    assert (row["fan_ratio"], row["encoder_ratio"], row["decoder_ratio"]) == (0.35, 0.05, 0.06)
    assert (row["persistence_mode"], row["compute_mode"], row["mig_mode"]) == (True, "default", False)
    assert fleet.rows("gpu_health", 5)[-1]["compute_mode"] == "exclusive_process"
    assert fleet.rows("gpu_health", 12)[-1]["mig_mode"] is True


def test_a_gpu_without_links_says_so(fleet: Fleet) -> None:
    """No NVLink is no link that is down."""
    row = fleet.rows("gpu_health", 1)[-1]
    assert why(row, "nvlinks_active") == why(row, "nvlink_errors") == "this GPU has no NVLink"


def test_links_whose_errors_are_not_told_are_still_counted(fleet: Fleet) -> None:
    """Two links are up; that none of their counters is told is the reason of the other column alone."""
    row = fleet.rows("gpu_health", 6)[-1]
    assert row["nvlinks_active"] == 2
    assert why(row, "nvlink_errors") == "the driver tells none of its counters"


def test_links_that_could_not_be_counted_are_looked_for_again(fleet: Fleet) -> None:
    """A call that failed once leaves the number open, not one too low; the next row has it."""
    first, second = fleet.rows("gpu_health", 13)[:2]
    assert (
        why(first, "nvlinks_active")
        == why(first, "nvlink_errors")
        == "the driver did not answer in time (NVML error 10)"
    )
    assert (second["nvlinks_active"], second["nvlink_errors"], second["missing"]) == (2, 0, None)


def test_each_field_is_missing_for_a_reason_of_its_own(fleet: Fleet) -> None:
    """No fan, a fan of unknown error, a value that is not there now, no fields at all."""
    assert why(fleet.rows("gpu_health", 5)[-1], "fan_ratio") == UNSUPPORTED
    assert why(fleet.rows("gpu_health", 7)[-1], "fan_ratio") == "unknown error of the driver (NVML error 999)"
    assert why(fleet.rows("gpu_health", 1)[-1], "ecc_uncorrected") == "the driver has no value now (NVML error 6)"
    assert fleet.rows("gpu_health", 1)[-1]["ecc_corrected"] == 0
    for column in ("ecc_corrected", "ecc_uncorrected", "ecc_uncorrected_lifetime", "pcie_replays"):
        assert why(fleet.rows("gpu_health", 9)[-1], column) == UNSUPPORTED


def test_a_mig_instance_has_processes_and_no_fan(fleet: Fleet) -> None:
    """Who is on an instance is told; what is of the whole GPU stands in the GPU's own rows."""
    row = fleet.rows("gpu_health", 12, "1/0")[-1]
    assert (row["processes"], row["server_bytes"], row["foreign_processes"]) == (1, 1024**3, 0)
    for column in ("fan_ratio", "ecc_corrected", "remapping_failed", "nvlinks_active", "mig_mode"):
        assert why(row, column) == "told of the whole GPU only, in its own rows"
    user = fleet.sampling.rows("gpu_processes")
    assert {one["instance"] for one in user if one["uuid"] == row["uuid"]} == {"1/0"}
