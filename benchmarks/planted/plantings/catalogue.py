"""All plantings, and why a code has none."""

from __future__ import annotations

from typing import Final

from benchmarks.planted.plantings.execution import EXECUTION
from benchmarks.planted.plantings.machine import MACHINE
from benchmarks.planted.plantings.memory import MEMORY
from benchmarks.planted.plantings.planting import Planting
from benchmarks.planted.plantings.wire import WIRE
from comfysoak_core.codes import Code

PLANTINGS: Final[dict[Code, Planting]] = {one.code: one for one in (*WIRE, *EXECUTION, *MEMORY, *MACHINE)}
NOT_PLANTED: Final[dict[Code, str]] = {}
