"""From a recording, and nothing else, to figures, findings, a verdict and a report.

from comfysoak_analysis import open_run
run = open_run("runs/20261122-101500-demo")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comfysoak_analysis.frames import Run, open_run

__all__ = ["Run", "open_run"]


def __getattr__(name: str) -> Any:
    """Recordings take pandas; what only wants a page's style (`comfysoak check`) does not wait for that."""
    if name in __all__:
        return getattr(import_module("comfysoak_analysis.frames"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
