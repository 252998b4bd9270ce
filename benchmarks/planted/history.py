"""The history that each server keeps: how long it is, and what it takes in the memory of its process."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.planted.course import NEVER, Course
from benchmarks.planted.graphs import kept_bytes
from benchmarks.planted.world import World

Array = NDArray[Any]

MOST: Final = 10_000  # entries that ComfyUI keeps


def started(world: World, course: Course, index: int, at: Array) -> Array:
    """When the server's process had been started that there was at each moment; 0 for the one before the run."""
    backs = [one.back_s for one in world.script.outages if one.server == index and one.back_s is not None]
    begins = np.array([0.0, *sorted(backs)])
    return begins[np.searchsorted(begins[1:], at, side="right")]


def length(world: World, course: Course, index: int, at: Array) -> Array:
    """How many entries it has: nothing from before its last start."""
    before, upto = _span(world, course, index, at)
    return np.asarray(upto - before, dtype=np.float64)


def taken(world: World, course: Course, index: int, at: Array) -> Array:
    """The bytes that its entries have taken; for one that is dropped the next one takes its place."""
    before, upto = _span(world, course, index, at)
    sizes = np.array([kept_bytes(world, flow) for flow in world.workflows])
    workflows = np.array([flow for _, flow in _done(course, index)], dtype=np.int64)
    total = np.concatenate([[0.0], np.cumsum(sizes[workflows])])
    return np.asarray(total[upto] - total[before], dtype=np.float64)


def _span(world: World, course: Course, index: int, at: Array) -> tuple[Array, Array]:
    """How many prompts had ended before its process was started, and until then, as far as they were kept."""
    ends = np.array([ended for ended, _ in _done(course, index)])
    before = np.searchsorted(ends, started(world, course, index, at), side="right")
    upto = np.searchsorted(ends, at, side="right")
    return before, np.clip(upto, before, before + MOST)


def _done(course: Course, index: int) -> list[tuple[float, int]]:
    """When each of its prompts ended, and of which workflow it was."""
    return sorted((life.ended, life.workflow) for life in course.lives if life.server == index and life.ended < NEVER)
