"""`probes`: what watches, and how often."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from comfysoak_core.scenario.quantities import Seconds
from comfysoak_core.scenario.written.section import Section, Url


def _as_source(value: object) -> object:
    return {"nvml": True} if value == "nvml" else value


class GpuSourceSection(Section):
    """Where GPU samples come from: the driver on this host, or an exporter of DCGM series."""

    nvml: bool = Field(default=False, examples=[True])
    dcgm: Url | None = Field(None, examples=["http://gpu-1:9400/metrics"])

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.nvml == (self.dcgm is not None):
            raise ValueError("expected `nvml`, or `{dcgm: http://gpu-1:9400/metrics}`")
        return self


GpuSource = Annotated[
    GpuSourceSection, BeforeValidator(_as_source, json_schema_input_type=Literal["nvml"] | GpuSourceSection)
]


class ProbesSection(Section):
    """What watches, and how often."""

    gpu: tuple[GpuSource, ...] | None = Field(
        None,
        description="default: nvml; for embedded servers their own exporter",
        examples=[["nvml", {"dcgm": "http://gpu-1:9400/metrics"}]],
    )
    every: Seconds = Field(0.1, ge=0.01, le=60, description="between two GPU samples", examples=["100ms"])
    host: Seconds = Field(1.0, ge=0.1, le=600, description="between two samples of host and processes", examples=["1s"])
    server: Seconds = Field(1.0, ge=0.1, le=600, description="between two looks at /queue", examples=["1s"])
    log: str = Field(
        "socket", description="the server's log lines: socket, off, or a log file on this host", examples=["socket"]
    )
