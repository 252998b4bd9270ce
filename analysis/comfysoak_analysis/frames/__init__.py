"""A recording as pandas frames on one clock. In a notebook it starts in one line.

    from comfysoak_analysis import open_run
    run = open_run("runs/20261122-101500-demo")
    run.prompts.groupby("workflow", observed=True).latency_s.quantile(0.95)

Frames have the columns of `comfysoak_core.rows`, with two changes: a moment `x_ns` is the column `x`, datetime64[ns]
in UTC without a zone (so that numpy works on it), and a duration `x_ns` is `x_s`, float seconds. Missing values are
NaT, NaN or None. `run.prompts` is lean, see `comfysoak_analysis.prompts`; `run.frame(table, columns)` is any table.
"""

from comfysoak_analysis.frames.columns import DURATIONS, to_frame, told_once
from comfysoak_analysis.frames.run import Phase, Run, open_run

__all__ = ["DURATIONS", "Phase", "Run", "open_run", "to_frame", "told_once"]
