"""The gateway of a plan: where it is, how it is spoken to, and which environment variables hold its secrets."""

from __future__ import annotations

from comfysoak_core.gateway.api import Api
from comfysoak_core.scenario.frozen import Frozen


class Gateway(Frozen):
    """What prompts are sent through. `url` is empty until an embedded one has started; variables by name only."""

    url: str
    api: Api
    token_variable: str | None = None
    email_variable: str | None = None
    password_variable: str | None = None
