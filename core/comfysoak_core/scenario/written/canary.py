"""`canary`: a fixed prompt whose pictures must stay the same."""

from __future__ import annotations

from pydantic import Field

from comfysoak_core.scenario.quantities import Ratio, Seconds
from comfysoak_core.scenario.written.section import Section


class CanarySection(Section):
    """The golden canary: sent to each server at intervals, beside the load, and compared with its own first picture."""

    workflow: str | None = Field(
        None,
        description="a workflow file in API format with fixed seeds; default: a built-in one that needs no model",
        examples=["workflows/golden.json"],
    )
    every: Seconds = Field(300.0, ge=1, description="from one to the next, on each server", examples=["5m"])
    deadline: Seconds | None = Field(
        None, gt=0, description="when it gives up waiting and is taken back; default: `every`", examples=["2m"]
    )
    tolerance: int = Field(
        2, ge=0, le=254, description="by how many of 255 steps a colour of a pixel may differ", examples=[2]
    )
    differing: Ratio = Field(
        0.0, lt=1, description="the share of the pixels that may differ by more than that", examples=["0.1%"]
    )
    baseline: str | None = Field(
        None,
        description="compare with this picture, or with the folder `canary` of an earlier run; default: the first one",
        examples=["golden.png"],
    )
