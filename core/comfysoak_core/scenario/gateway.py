"""The gateway of a plan: where it is, how it is spoken to, and which environment variables hold its secrets."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from comfysoak_core.gateway.api import Api


class Gateway(BaseModel):
    """What prompts are sent through. `url` is empty until an embedded one has started; variables by name only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    api: Api
    token_variable: str | None = None
    email_variable: str | None = None
    password_variable: str | None = None
