"""A scenario as it is written: the keys there are, what each takes, an example of each.

`read.py` turns a file of this shape into a `Plan`. Field descriptions and examples are what errors, the JSON Schema
and `docs/scenario.md` show.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from comfysoak_core.scenario.quantities import Seconds
from comfysoak_core.scenario.written.canary import CanarySection
from comfysoak_core.scenario.written.goals import AcceptSection, Goals
from comfysoak_core.scenario.written.probes import ProbesSection
from comfysoak_core.scenario.written.section import Section
from comfysoak_core.scenario.written.sessions import SessionsSection
from comfysoak_core.scenario.written.stages import StageSection
from comfysoak_core.scenario.written.target import Target
from comfysoak_core.scenario.written.workload import WorkloadSection


class Scenario(Section):
    """What to run, against what, watched how, and what must hold."""

    name: str | None = Field(None, min_length=1, max_length=80, description="default: the file's name")
    target: Target = Field(examples=[{"comfyui": "http://gpu-1:8188"}])
    workload: tuple[WorkloadSection, ...] = Field(min_length=1, examples=[[{"workflow": "workflows/sdxl.json"}]])
    load: tuple[StageSection, ...] = Field(min_length=1, examples=[[{"users": 4, "for": "5m"}]])
    max_duration: Seconds | None = Field(
        None, gt=0, description="the run ends at the latest then, whatever stage is on", examples=["2h"]
    )
    sessions: SessionsSection = Field(SessionsSection(), examples=[{"watchers": 50}])
    canary: CanarySection | None = Field(
        None, description="a fixed prompt on each server, whose pictures must stay the same",
        examples=[{"workflow": "workflows/golden.json", "every": "5m"}],
    )  # fmt: skip
    probes: ProbesSection = Field(ProbesSection(), examples=[{"gpu": ["nvml"], "every": "100ms"}])
    goals: tuple[Goals, ...] = Field(
        (), description="what must hold; default: prompts.failed < 1%, findings.critical = 0",
        examples=[["prompts.failed < 1%"]],
    )  # fmt: skip
    accept: tuple[AcceptSection, ...] = Field(
        (), description="findings that are known, and do not count until a date",
        examples=[[{"finding": "WS_ABNORMAL", "reason": "TICKET-12: the proxy is replaced", "until": "2027-01-31"}]],
    )  # fmt: skip
    on_undecided: Literal["fail", "pass"] = Field("fail", description="what too few prompts to tell means")
    seed: int = Field(0, ge=0, description="fixes mix and variation", examples=[42])
