"""Once a second: what a GPU did and drew since the row before, and why a column is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfysoak_core.clock import NS_PER_S
from tests.probes.conftest import Sample
from tests.probes.fleet import Fleet, why
from tests.probes.sampling import at_least

pytestmark = pytest.mark.compiler

GPM = ("graphics_active_ratio", "sm_active_ratio", "sm_occupancy_ratio", "tensor_active_ratio", "memory_active_ratio")


def test_values_are_in_the_units_of_their_columns(fleet: Fleet) -> None:
    """Milliwatts, millijoules, MHz and nanoseconds of the driver are watts, joules, hertz and seconds in the rows."""
    row = fleet.rows("gpu_slow", 0)[-1]
    assert (row["name"], row["source"], row["instance"]) == ("Stand-in GPU 0", "nvml", None)
    assert (row["power_watts"], row["power_limit_watts"], row["energy_joules"]) == (300.0, 700.0, 5000.0)
    assert (row["temperature_celsius"], row["memory_temperature_celsius"]) == (51.0, 60.0)
    assert (row["sm_clock_hertz"], row["memory_clock_hertz"]) == (1_980_000_000, 2_619_000_000)
    assert (row["performance_state"], row["event_reasons"]) == (0, "software_power_cap,software_thermal")
    assert row["thermal_throttled_s"] == 2.5
    assert row["missing"] is None


def test_counters_become_rates(fleet: Fleet) -> None:
    """PCIe counts bytes and NVLink KiB of all links together; both are bytes a second, from the second row on."""
    first, second = fleet.rows("gpu_slow", 0)[:2]
    assert second["pcie_sent_bytes_per_s"] == pytest.approx(5_000_000, rel=0.2)
    assert second["pcie_received_bytes_per_s"] == 0.0
    assert second["nvlink_sent_bytes_per_s"] == pytest.approx(2000 * 1024, rel=0.2)
    assert second["nvlink_received_bytes_per_s"] == pytest.approx(1000 * 1024, rel=0.2)
    assert why(first, "nvlink_sent_bytes_per_s") == "a rate needs two readings of its counter"


def test_time_throttled_grows_by_what_was_throttled(fleet: Fleet) -> None:
    """Half of each second is half a second more in all: no short one between two rows is missed."""
    first, *_, last = fleet.rows("gpu_slow", 0)
    seconds = (last["at_ns"] - first["at_ns"]) / NS_PER_S
    assert last["power_throttled_s"] - first["power_throttled_s"] == pytest.approx(seconds / 2, rel=0.1)


def test_every_sample_of_the_driver_is_counted_once(fleet: Fleet) -> None:
    """One every 100 ms, each fourth a peak: ten a second over any number of rows, of which the highest is told."""
    first, *rows = fleet.rows("gpu_slow", 0)
    assert why(first, "utilisation_samples") == "counted from the first row on"
    seconds = (rows[-1]["at_ns"] - first["at_ns"]) / NS_PER_S
    assert sum(row["utilisation_samples"] for row in rows) == pytest.approx(seconds * 10, abs=2)
    assert {row["utilisation_highest_ratio"] for row in rows} == {1.0}
    mean = sum(row["utilisation_mean_ratio"] * row["utilisation_samples"] for row in rows) / (seconds * 10)
    assert mean == pytest.approx(0.55, abs=0.05)


@pytest.mark.parametrize("index", [8, 11])
def test_samples_are_read_by_the_type_they_come_with(fleet: Fleet, index: int) -> None:
    """As doubles, or as whole numbers of 64 bits: the same shares."""
    row = fleet.rows("gpu_slow", index)[-1]
    assert (row["utilisation_mean_ratio"], row["utilisation_highest_ratio"]) == (0.4, 0.4)


def test_no_new_sample_is_no_error(fleet: Fleet) -> None:
    """A driver without samples tells that there were none, and no share."""
    row = fleet.rows("gpu_slow", 4)[-1]
    assert row["utilisation_samples"] == 0
    assert why(row, "utilisation_mean_ratio") == "the driver has no sample since the row before"
    assert why(row, "utilisation_highest_ratio") == "the driver has no sample since the row before"


def test_a_gpu_without_samples_says_so_for_all_three(fleet: Fleet) -> None:
    """Not supported is asked once, and told in each row."""
    for row in fleet.rows("gpu_slow", 13):
        for column in ("utilisation_samples", "utilisation_mean_ratio", "utilisation_highest_ratio"):
            assert why(row, column) == "not supported by this GPU (NVML error 3)"


def test_gpm_metrics_are_those_between_two_rows(fleet: Fleet) -> None:
    """None in the first row, which has nothing before it; percent are shares."""
    first, *rows = fleet.rows("gpu_slow", 0)
    assert {why(first, column) for column in GPM} == {"measured between two rows"}
    assert [rows[-1][column] for column in GPM] == [0.1, 0.2, 0.3, 0.5, 1.0]


def test_a_chip_without_gpm_says_which_have_it(fleet: Fleet) -> None:
    """All five are missing, in each row."""
    for row in fleet.rows("gpu_slow", 2):
        assert {why(row, column) for column in GPM} == {"GPM metrics are there on Hopper and newer GPUs only"}


def test_each_gpm_metric_fails_by_itself(fleet: Fleet) -> None:
    """Not a number is no value, and a metric with a code of its own leaves the others as they are."""
    row = fleet.rows("gpu_slow", 3)[-1]
    assert why(row, "sm_active_ratio") == "the chip counted nothing (not a number)"
    assert why(row, "tensor_active_ratio") == "not supported by this GPU (NVML error 3)"
    assert (row["graphics_active_ratio"], row["memory_active_ratio"]) == (0.1, 1.0)


def test_gpm_goes_on_after_an_error_that_passes(fleet: Fleet) -> None:
    """A call that failed once leaves one row without, one to begin anew, and metrics after that."""
    rows = fleet.rows("gpu_slow", 10)
    assert [row["sm_active_ratio"] for row in rows[:2]] == [None, 0.2]
    assert why(rows[2], "sm_active_ratio") == "the driver did not answer in time (NVML error 10)"
    assert why(rows[3], "sm_active_ratio") == "measured between two rows"
    assert rows[4]["sm_active_ratio"] == 0.2


def test_each_field_is_missing_for_a_reason_of_its_own(fleet: Fleet) -> None:
    """Refused calls and refused values of one call: the columns they fill are None beside the reason, no others."""
    row = fleet.rows("gpu_slow", 1)[-1]
    assert why(row, "power_watts") == "not supported by this GPU (NVML error 3)"
    assert why(row, "energy_joules") == "no permission (NVML error 4)"
    assert why(row, "performance_state") == "the driver does not know the question (NVML error 2)"
    assert why(row, "memory_temperature_celsius") == "not supported by this GPU (NVML error 3)"
    assert why(row, "pcie_sent_bytes_per_s") == "the driver does not know the question (NVML error 2)"
    assert why(row, "nvlink_sent_bytes_per_s") == "not supported by this GPU (NVML error 3)"
    assert row["pcie_received_bytes_per_s"] == 0.0
    assert row["temperature_celsius"] == 51.0


def test_a_state_the_driver_does_not_know_is_none(fleet: Fleet) -> None:
    """32 stands for unknown, not for a thirty-second state."""
    assert why(fleet.rows("gpu_slow", 8)[-1], "performance_state") == "the driver does not know it"


def test_a_counter_that_falls_back_gives_no_rate(fleet: Fleet) -> None:
    """It began anew, or ran over: one row without a rate, which says so, and never one below zero."""
    rows = fleet.rows("gpu_slow", 5)
    told = [why(row, "pcie_sent_bytes_per_s") for row in rows]
    assert told.count("the counter fell back since the row before") == 1
    assert [row["pcie_sent_bytes_per_s"] for row in rows if row["pcie_sent_bytes_per_s"] is not None]
    assert all(row["pcie_sent_bytes_per_s"] in (0.0, None) for row in rows)


def test_time_throttled_has_an_older_way_to_be_asked_for(fleet: Fleet) -> None:
    """Where the field is not told, the driver's older call is asked."""
    row = fleet.rows("gpu_slow", 6)[-1]
    assert (row["power_throttled_s"], row["thermal_throttled_s"]) == (4.0, 0.0)
    assert row["missing"] is None


def test_an_unknown_error_of_one_field_loses_no_gpu(fleet: Fleet) -> None:
    """Some boards answer so for what they do not have, while the GPU tells its memory: it is that field's own."""
    row = fleet.rows("gpu_slow", 7)[-1]
    assert why(row, "power_watts") == "unknown error of the driver (NVML error 999)"
    assert row["temperature_celsius"] == 51.0
    fast = fleet.rows("gpu", 7)[-1]
    assert fast["memory_used_bytes"]
    assert why(fast, "utilisation_ratio") == "unknown error of the driver (NVML error 999)"


def test_a_value_that_says_the_gpu_is_lost_is_believed(sample: Sample, driver: Path) -> None:
    """The code of a single value counts as that of a call would."""
    run = sample(driver=driver, script="gpus 2\nset 1 code_82 15\n")
    assert run.event("gpu_lost")["subject"] == "GPU-00000000-0000-0000-0000-000000000001"


def test_a_gpu_that_tells_no_fields_at_all_is_read_on(fleet: Fleet) -> None:
    """The call for many fields is refused: what only it tells is missing, what throttled it is asked the older way."""
    row = fleet.rows("gpu_slow", 9)[-1]
    assert why(row, "pcie_sent_bytes_per_s") == "not supported by this GPU (NVML error 3)"
    assert why(row, "memory_temperature_celsius") == "not supported by this GPU (NVML error 3)"
    assert (row["power_throttled_s"], row["power_watts"]) == (0.0, 300.0)


def test_a_mig_instance_has_its_own_units_and_its_gpus_power_is_not_its_own(fleet: Fleet) -> None:
    """GPM is told of an instance; what is of the whole GPU stands in the GPU's rows only."""
    other, instance = fleet.rows("gpu_slow", 12, "1/0")[-1], fleet.rows("gpu_slow", 12, "2/0")[-1]
    assert (other["sm_active_ratio"], instance["sm_active_ratio"]) == (0.2, 0.7)
    assert why(instance, "power_watts") == "told of the whole GPU only, in its own rows"
    assert why(instance, "pcie_sent_bytes_per_s") == "told of the whole GPU only, in its own rows"
    fast = fleet.rows("gpu", 12, "2/0")[-1]
    assert why(fast, "utilisation_ratio") == "the driver tells no utilisation of MIG instances"
    assert fast["memory_used_bytes"]


def test_a_gpu_with_mig_on_has_power_and_no_utilisation(fleet: Fleet) -> None:
    """Its own rows have what no instance can have, and say what the driver does not tell with MIG on."""
    row = fleet.rows("gpu_slow", 12)[-1]
    assert row["power_watts"] == 300.0
    assert why(row, "sm_active_ratio") == "not supported by this GPU (NVML error 3)"
    assert why(fleet.rows("gpu", 12)[-1], "utilisation_ratio") == "not supported by this GPU (NVML error 3)"


def test_an_old_driver_is_asked_by_the_older_names(sample: Sample, old_driver: Path) -> None:
    """Without memory v2, event reasons, the newer temperature and fields, the older functions fill the columns."""
    script = "set 0 event_reasons 64\nset 0 power_throttled 1500000000\nprocess 0 1 1000000\n"
    run = sample(driver=old_driver, script=script)
    slow = run.wait_for("gpu_slow", at_least(2))[-1]
    assert (slow["temperature_celsius"], slow["event_reasons"]) == (51.0, "hardware_thermal")
    assert slow["power_throttled_s"] == 1.5
    for column in ("pcie_sent_bytes_per_s", "utilisation_samples", "sm_active_ratio", "memory_temperature_celsius"):
        assert why(slow, column) == "the driver is too old for it (NVML error 13)"
    fast = run.rows("gpu")[-1]
    assert fast["memory_used_bytes"] == 2 * 1024**3 + 1024**3 // 2
    assert why(fast, "memory_reserved_bytes") == "the driver is too old to tell it apart: it is in memory_used_bytes"
    assert run.rows("gpu_processes")[0]["memory_bytes"] == 1_000_000
    assert "Xids of GPU 0 cannot be heard: the driver is too old" in run.event("xid_unheard")["detail"]


def test_a_driver_initialised_anew_gets_its_samples_back(sample: Sample, driver: Path) -> None:
    """999 of all calls is cured by it. GPM goes on for every GPU: there is no room for samples that nobody freed."""
    run = sample(driver=driver, script="gpus 16\nfail * * 999 1000 init\n")
    event = run.event("gpu_vanished")
    assert event["code"] == "GPU_VANISHED"
    lost_ns = event["at_ns"]
    rows = run.wait_for(
        "gpu_slow",
        lambda rows: len({row["index"] for row in rows if row["at_ns"] > lost_ns and row["sm_active_ratio"]}) == 16,
    )
    assert not [row for row in rows if "error 20" in (row["missing"] or "")]
