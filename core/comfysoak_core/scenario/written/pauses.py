"""Within `load`: what is done to the servers while nothing is sent, a settle or a cold start."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from comfysoak_core.scenario.quantities import Seconds
from comfysoak_core.scenario.written.section import Section


def _as_settle(value: object) -> object:
    """`90m` as {every: 90m}."""
    return {"every": value} if isinstance(value, str | int | float) else value


def _as_cold_start(value: object) -> object:
    """`wait` as a cold start without a command."""
    return {} if value == "wait" else value


class SettleSection(Section):
    """Every so often: no load, all models and caches let go, and some time for the probes to read what is left."""

    every: Seconds = Field(gt=0, description="so much load between two of them", examples=["90m"])
    wait: Seconds = Field(
        30.0, ge=0, description="how long servers stand idle after they have let go", examples=["60s"]
    )


class ColdStartSection(Section):
    """Servers start anew: from process start to readiness to the first picture."""

    command: tuple[str, ...] | str | None = Field(
        None,
        description="what restarts the server: a list of a program and its arguments, or text for a shell",
        examples=[["docker", "restart", "comfy"]],
    )
    workload: str | None = Field(
        None, description="the workload of the first picture; default: one of each", examples=["sdxl"]
    )

    @field_validator("command")
    @classmethod
    def _not_empty(cls, command: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
        if command is not None and not (command if isinstance(command, str) else "".join(command[:1])).strip():
            raise ValueError("expected a command such as [docker, restart, comfy], got an empty one")
        return command


Settle = Annotated[SettleSection, BeforeValidator(_as_settle, json_schema_input_type=Seconds | SettleSection)]
ColdStart = Annotated[
    ColdStartSection, BeforeValidator(_as_cold_start, json_schema_input_type=Literal["wait"] | ColdStartSection)
]
