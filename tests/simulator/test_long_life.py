"""A server that lives for days holds no more than what can still be asked of it."""

from __future__ import annotations

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.embedded import VirtualGpu
from comfysoak_simulator.files import MOST_FILES, Files, Place
from comfysoak_simulator.gpu import Activity, Gpu


def test_work_is_forgotten_although_no_probe_ever_reads_the_gpu() -> None:
    """`comfysoak sim` alone: nobody asks for /metrics, and each step of each prompt is work."""
    gpu = Gpu(VirtualGpu(), 0)
    for second in range(10_000):
        gpu.busy(second * NS_PER_S, second * NS_PER_S + NS_PER_S // 2, Activity(1.0))
    assert len(gpu._busy) < 10  # what must not grow is seen from inside only
    assert gpu.read(10_000 * NS_PER_S).utilisation == 0.5


def test_names_of_files_are_counted_for_as_long_as_there_are_files() -> None:
    """Each preview has a prefix of its own; those of files long gone are not kept."""
    files = Files()
    for number in range(2 * MOST_FILES):
        files.put(files.next_place("temp", f"once-{number}", "png"), b"x")
        files.put(files.next_place("output", "always", "png"), b"x")
    assert len(files._counters) <= MOST_FILES  # as above
    assert files.next_place("output", "always", "png").filename == f"always_{2 * MOST_FILES + 1:05}_.png"


def test_uploads_that_made_room_for_others_do_not_count_any_more() -> None:
    """Otherwise a server that took many small pictures would in the end keep only the last one."""
    files = Files()
    kilobyte = bytes(1024)
    for number in range(MOST_FILES + 2_000):
        files.upload(Place(f"{number}.png", "", "input"), kilobyte, overwrite=False)
    assert len(files.input_names()) == MOST_FILES
    assert files._uploaded_bytes == MOST_FILES * len(kilobyte)  # it decides what is thrown away
