"""From a recording, and nothing else, to figures, findings, a verdict and a report.

from comfysoak_analysis import open_run
run = open_run("runs/20261122-101500-demo")
"""

from comfysoak_analysis.frames import Run, open_run

__all__ = ["Run", "open_run"]
