"""`target`: what the load goes to."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from comfysoak_core.scenario.embedded import Embedded
from comfysoak_core.scenario.routing import Route
from comfysoak_core.scenario.written.gateway import GatewaySection
from comfysoak_core.scenario.written.section import Section, Urls, one_of


class Target(Section):
    """What the load goes to: servers of yours, a gateway in front of them, or embedded simulators."""

    model_config = one_of("comfyui", "gateway", "embedded")

    comfyui: Urls | None = Field(
        None, min_length=1, description="address of one ComfyUI, or a list of them", examples=["http://gpu-1:8188"]
    )
    gateway: GatewaySection | None = Field(
        None,
        description="an image gateway in front of ComfyUI",
        examples=[{"url": "http://platform:8080", "token_variable": "PLATFORM_TOKEN"}],
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
    def _one_of_three(self) -> Self:
        if sum(part is not None for part in (self.comfyui, self.gateway, self.embedded)) != 1:
            raise ValueError(
                "expected one of `comfyui: http://gpu-1:8188`, `embedded: {servers: 1}` "
                "and `gateway: {url: http://platform:8080}`"
            )
        if self.gateway is not None and self.token_variable is not None:
            raise ValueError("expected token_variable under gateway: it is the gateway's token")
        return self

    @property
    def is_gateway(self) -> bool:
        """Whether prompts go through a gateway."""
        return self.gateway is not None or (self.embedded is not None and self.embedded.gateway is not None)
