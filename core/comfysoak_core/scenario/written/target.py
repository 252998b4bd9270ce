"""`target`: what the load goes to."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from comfysoak_core.scenario.embedded import Embedded
from comfysoak_core.scenario.routing import Route
from comfysoak_core.scenario.written.section import Section, Url, as_list


class Target(Section):
    """What the load goes to: servers of yours, or embedded simulators."""

    comfyui: Annotated[tuple[Url, ...], BeforeValidator(as_list)] | None = Field(
        None, min_length=1, description="address of one ComfyUI, or a list of them", examples=["http://gpu-1:8188"]
    )
    embedded: Embedded | None = Field(
        None, description="simulators started with the run; needs no ComfyUI and no GPU", examples=[{"servers": 1}]
    )
    route: Route = Field("round-robin", description="which of several servers a prompt goes to", examples=["affinity"])
    token_variable: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="the environment variable that holds a token, sent as `Authorization: Bearer`",
        examples=["COMFYUI_API_KEY"],
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.comfyui is None) == (self.embedded is None):
            raise ValueError("expected one of `comfyui: http://gpu-1:8188` and `embedded: {servers: 1}`")
        return self
