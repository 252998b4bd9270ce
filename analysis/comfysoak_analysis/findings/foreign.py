"""GPU_FOREIGN: processes that are not the server's held memory on its GPU."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

LEAST_BYTES = 256 * 1024**2  # a desktop or a monitor holds less


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    rows = run.gpu_processes
    rows = rows[(rows["is_server"] == False) & (rows["memory_bytes"] >= LEAST_BYTES)]  # noqa: E712  # a column, with nulls
    if not rows.empty:
        most = rows["memory_bytes"].max() / 1024**3
        pids = rows["pid"].nunique()
        words = f"{counted(pids, 'foreign process')} held up to {most:.1f} GiB: {mostly(rows['name'])}.".replace(
            "processs", "processes"
        )
        named = rows.assign(id=rows["name"], moment=rows["at"], server=None)
        yield finding(Code.GPU_FOREIGN, named, words, states)
