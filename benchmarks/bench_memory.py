"""Does the memory of a load process grow with the prompts it has sent? Per million of them, from a slope.

One run of Locust with our users against a simulator in a process of its own. Once a second the memory of the load
process (proportional set size, from the kernel) and the cycles so far are noted; the slope is the median of those of
all pairs (Theil-Sen), from a third of the run on, when pools and tables of strings have filled up.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import Iterator

from benchmarks.bench_load import Run, run_locust, simulator
from benchmarks.figure import Figure

LASTS_S = 90.0
LASTS_FULL_S = 500.0  # half a million prompts on a machine of ours
GOAL_BYTES = 1024 * 1024
_MIB = 1024 * 1024
_PAIRS_APART = 10  # seconds: closer ones say nothing but noise


def measure(*, full: bool) -> Iterator[Figure]:
    """The one figure."""
    lasts_s = LASTS_FULL_S if full else LASTS_S
    with simulator() as server, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = run_locust("ours", {"BENCH_DURATION_S": f"{lasts_s:g}"}, server, folder)
    slopes = _slopes(run)
    growth = 1e6 * statistics.median(slopes) / _MIB
    low, high = (1e6 * value / _MIB for value in _quartiles(slopes))
    yield Figure(
        name=f"growth of memory, from {run.cycles:,} prompts",
        value=growth,
        unit="MiB per million prompts",
        goal="within 1 of zero" + ("" if full else " (FULL=1: from half a million)"),
        met=abs(growth) * _MIB <= GOAL_BYTES if full else None,
        spread=f"{low:.2f}..{high:.2f} (quartiles of slopes)",
    )


def _slopes(run: Run) -> list[float]:
    """Bytes per prompt between moments of the later two thirds."""
    settled = run.memory[len(run.memory) // 3 :]
    return [
        (later_bytes - bytes_) / (later_cycles - cycles)
        for (index, (cycles, bytes_)), (later_index, (later_cycles, later_bytes)) in itertools.combinations(
            enumerate(settled), 2
        )
        if later_index - index >= _PAIRS_APART and later_cycles > cycles
    ]


def _quartiles(values: list[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4)
    return low, high
