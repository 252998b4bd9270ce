"""Counters, samples and refusals as values: what is asked again, and what is not."""

from __future__ import annotations

import pynvml
import pytest

from comfysoak_core.clock import NS_PER_S
from comfysoak_probes.nvml.driver import Device, DriverError, Fault, Gate
from comfysoak_probes.nvml.fields import Fields, Rate
from comfysoak_probes.nvml.opened import OpenGpu
from comfysoak_probes.nvml.processes import GpuProcesses
from comfysoak_probes.nvml.samples import FORGET_AFTER, Newest


class Scripted(OpenGpu):
    """A GPU whose answers are given: values, or error codes to raise."""

    def __init__(self, *answers: object) -> None:
        super().__init__(Gate(), Device(0, "GPU-0", "", None, 0))
        self.answers = list(answers)
        self.asked = 0

    def ask(self, function: object, *arguments: object) -> object:  # type: ignore[override]  # any answer
        """The next answer."""
        del function, arguments
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, DriverError):
            raise answer
        return answer


@pytest.mark.parametrize("code", [2, 3, 4, 13])
def test_what_lasts_is_asked_once_and_told_always(code: int) -> None:
    """A refusal that will not change costs one call; each row after it still says why."""
    gpu = Scripted(DriverError(code))
    fields = Fields(gpu)
    for _ in range(3):
        assert fields.get("fan_ratio", pynvml.nvmlDeviceGetFanSpeed) is None
        assert str(fields.missing()).startswith("fan_ratio: ")
    assert gpu.asked == 1


def test_what_passes_is_asked_again() -> None:
    """A value after an error takes its reason away."""
    fields = Fields(Scripted(DriverError(pynvml.NVML_ERROR_TIMEOUT), 30))
    assert fields.get("fan_ratio", pynvml.nvmlDeviceGetFanSpeed) is None
    assert fields.missing() is not None
    assert fields.get("fan_ratio", pynvml.nvmlDeviceGetFanSpeed) == 30
    assert fields.missing() is None


@pytest.mark.parametrize("code", [15, 16])
def test_an_error_about_the_whole_gpu_is_raised(code: int) -> None:
    """Lost or in need of a reset: there is no row without one column, there is no row."""
    with pytest.raises(DriverError):
        Fields(Scripted(DriverError(code))).get("fan_ratio", pynvml.nvmlDeviceGetFanSpeed)


def test_an_unknown_error_is_doubted_where_the_gpu_still_tells_its_memory() -> None:
    """The second answer is that of the memory: a value, so the error is the field's own; or unknown as well."""
    fields = Fields(Scripted(DriverError(999), object()))
    assert fields.get("fan_ratio", pynvml.nvmlDeviceGetFanSpeed) is None
    with pytest.raises(DriverError):
        Fields(Scripted(DriverError(999), DriverError(999))).get("fan_ratio", len)


def test_what_cannot_change_is_asked_until_it_is_known() -> None:
    """One call that fails and one that does not."""
    gpu = Scripted(DriverError(pynvml.NVML_ERROR_TIMEOUT), 5)
    fields = Fields(gpu)
    told = [fields.get_once("pcie_generation_most", pynvml.nvmlDeviceGetMaxPcieLinkGeneration) for _ in range(4)]
    assert told == [None, 5, 5, 5]
    assert gpu.asked == 2


def test_columns_with_one_reason_are_told_together() -> None:
    """So that a row of an instance, which lacks most columns, stays short."""
    fields = Fields(Scripted())
    fields.note("a,b", "why")
    fields.note("c", "otherwise")
    fields.note("d", "why")
    assert fields.missing() == "a,b,d: why; c: otherwise"


@pytest.mark.parametrize(
    ("readings", "rates"),
    [
        ([(0, 100), (2, 300)], [None, 100.0]),
        ([(0, 100), (1, 100), (2, 101)], [None, 0.0, 1.0]),
        ([(0, 100), (1, 50), (2, 60)], [None, None, 10.0]),
        ([(0, 100), (1, None), (2, 200), (3, 300)], [None, None, None, 100.0]),
        ([(0, 100), (0, 200)], [None, None]),
    ],
)
def test_rates_of_counters(readings: list[tuple[int, int | None]], rates: list[float | None]) -> None:
    """Differences by the time between; none at first, over a gap, after a fall, or within no time."""
    rate = Rate(Fields(Scripted()), "pcie_sent_bytes_per_s")
    assert [rate.per_second(counter, at_s * NS_PER_S) for at_s, counter in readings] == rates


def test_a_clock_set_back_does_not_silence_the_samples_for_ever() -> None:
    """After so many readings without a newer sample, whatever comes next is taken as new."""
    newest = Newest()
    newest.take(5_000_000)
    for _ in range(FORGET_AFTER - 1):
        newest.nothing()
    assert newest.stamp_us == 5_000_000
    newest.nothing()
    assert newest.stamp_us == 0


def test_a_handle_of_before_is_not_used_in_a_driver_initialised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two calls of one reading another thread may do so: the second call is refused, not made."""
    for name in ("nvmlInit", "nvmlShutdown"):
        monkeypatch.setattr(pynvml, name, lambda: None)
    gate = Gate()
    gate.open()
    fields = Fields(OpenGpu(gate, Device(0, "GPU-0", "", "a handle", gate.generation)))
    assert fields.get("fan_ratio", str.upper) == "A HANDLE"
    assert gate.reopen(gate.generation)
    with pytest.raises(DriverError) as refused:
        fields.get("fan_ratio", str.upper)
    assert refused.value.fault is Fault.CLOSED


@pytest.mark.parametrize("answers", [([], DriverError(10)), (DriverError(10), [])])
def test_half_of_the_list_of_processes_is_no_list(answers: tuple[object, object]) -> None:
    """Compute or graphics could not be read: who is in the other list are not all, so there is no number."""
    fields = Fields(Scripted(*answers))
    assert GpuProcesses(fields).read() is None
    assert fields.missing() == "processes: the driver did not answer in time (NVML error 10)"


def test_a_gpu_without_graphics_misses_nobody() -> None:
    """Not supported is no process of that kind."""
    assert GpuProcesses(Fields(Scripted([], DriverError(3)))).read() == []
