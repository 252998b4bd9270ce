"""What a check is about: from the command line, an env file and the environment, each with where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field

from comfysoak_core.gateway.api import Api


@dataclass(frozen=True, slots=True)
class Given:
    """One value and where it came from: `the command line`, `the environment`, `.env:3`."""

    value: str
    source: str


@dataclass(frozen=True, slots=True)
class GatewayAccess:
    """A gateway. Secrets stand in the variables these fields name, and nowhere else."""

    url: str
    api: Api
    api_name: str
    token_variable: str | None = None
    admin_token_variable: str | None = None  # of an administrator, where the token is a user's
    forbidden_token_variable: str | None = None  # of somebody who may not make pictures


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a check was told. A variable that is not set is not there: `variables` has what was found, by name."""

    variables: dict[str, Given] = field(default_factory=dict)  # COMFYUI_* and what else the gateway reads, as found
    base_url: Given | None = None  # the target: argument, else COMFYUI_BASE_URL
    workflow: Given | None = None  # its text
    nodes: Given | None = None  # the mapping's text
    api_key_variable: str | None = None  # set where it holds something
    gateway: GatewayAccess | None = None
    provoke_errors: bool = False
    hold_s: float = 0.0
    idle_s: float = 20.0
    deadline_s: float = 300.0  # of one prompt
