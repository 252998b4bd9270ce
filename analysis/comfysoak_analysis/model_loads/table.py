"""Loads by model, for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.model_loads.load import ModelLoad, Origin


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """All loads of one model; None where nothing tells it of any of them."""

    model: str
    files: tuple[str, ...]
    count: int
    cold: int
    warm: int
    partial: int
    staged: int
    moved_median_s: float | None
    moved_longest_s: float | None
    read_median_s: float | None  # of the cold ones: what the loader node took
    sizes_bytes: tuple[float, float] | None  # the least and the most (of several files, or partially); staged, or moved
    sources: str

    @property
    def unknown(self) -> int:
        """Of how many it is not known whether a file was read."""
        return self.count - self.cold - self.warm


def figures_by_model(loads: Sequence[ModelLoad]) -> tuple[LoadFigures, ...]:
    """The figures of each model, that with the most loads first."""
    groups: dict[str, list[ModelLoad]] = {}
    for load in loads:
        groups.setdefault(load.label, []).append(load)
    found = [_figures(model, group) for model, group in groups.items()]
    return tuple(sorted(found, key=lambda one: (-one.count, one.model)))


def _figures(model: str, loads: list[ModelLoad]) -> LoadFigures:
    origins = Counter(load.origin for load in loads)
    moved = [load.moved_s for load in loads if load.moved_s is not None]
    sizes = [load.size_bytes for load in loads if load.size_bytes is not None]
    return LoadFigures(
        model=model,
        files=tuple(sorted({load.file for load in loads if load.file})),
        count=len(loads),
        cold=origins[Origin.COLD],
        warm=origins[Origin.WARM],
        partial=sum(load.partial for load in loads),
        staged=sum(load.staged for load in loads),
        moved_median_s=_median(moved),
        moved_longest_s=max(moved, default=None),
        read_median_s=_median([load.read_s for load in loads if load.read_s is not None]),
        sizes_bytes=(min(sizes), max(sizes)) if sizes else None,
        sources=", ".join(sorted({load.source.value for load in loads})),
    )


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None
