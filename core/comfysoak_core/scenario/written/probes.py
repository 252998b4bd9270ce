"""`probes`: what watches, and how often."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from comfysoak_core.scenario.quantities import Seconds
from comfysoak_core.scenario.written.section import Section, Url


def _as_log(value: object) -> object:
    return "off" if value is False else value  # what YAML makes of a bare `off`


def _as_source(value: object) -> object:
    return {"nvml": True} if value == "nvml" else value


class GpuSourceSection(Section):
    """Where GPU samples come from: this host's driver, an exporter of DCGM series, or a probe on the GPU's host."""

    nvml: bool = Field(default=False, examples=[True])
    dcgm: Url | None = Field(None, examples=["http://gpu-1:9400/metrics"])
    probe: Url | None = Field(
        None, description="where `comfysoak probe --listen` was started", examples=["http://gpu-2:9410"]
    )
    token_variable: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="the environment variable that holds the token of the probe",
        examples=["COMFYSOAK_PROBE_TOKEN"],
    )

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if [self.nvml, self.dcgm is not None, self.probe is not None].count(True) != 1:
            raise ValueError(
                "expected `nvml`, `{dcgm: http://gpu-1:9400/metrics}`, or `{probe: http://gpu-2:9410}`, one of them"
            )
        if self.token_variable is not None and self.probe is None:
            raise ValueError("expected `token_variable` beside `probe` only")
        return self


GpuSource = Annotated[
    GpuSourceSection, BeforeValidator(_as_source, json_schema_input_type=Literal["nvml"] | GpuSourceSection)
]


_PAUSE = re.compile(r"\s*every\s+(\S+)\s+for\s+(\S+)\s*")


def _as_pause(value: object) -> object:
    """`every 10m for 1m` as {every: 10m, for: 1m}."""
    if not isinstance(value, str):
        return value
    match = _PAUSE.fullmatch(value)
    if match is None:
        raise ValueError(f"expected a pause such as 'every 10m for 1m', got {value!r}")
    return {"every": match[1], "for": match[2]}


class PauseSection(Section):
    """Each so often one kind of probe is switched off for a while, the next time another, to learn what they cost."""

    every: Seconds = Field(gt=0, description="from the beginning of one pause to that of the next", examples=["10m"])
    lasts: Seconds = Field(gt=0, alias="for", description="how long one lasts", examples=["1m"])

    @model_validator(mode="after")
    def _shorter_than_its_period(self) -> Self:
        if self.lasts > self.every / 2:
            raise ValueError("expected a pause of at most half its period, such as 'every 10m for 1m'")
        return self


Pause = Annotated[PauseSection, BeforeValidator(_as_pause, json_schema_input_type=str | PauseSection)]


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
    log: Annotated[str, BeforeValidator(_as_log)] = Field(
        "socket", description="the server's log lines: socket, off, or a log file on this host", examples=["socket"]
    )
    pause: Pause | None = Field(
        None,
        description="switch the probes off in turn, so that the report can say what watching costs the server",
        examples=["every 10m for 1m"],
    )
