"""`sessions`: sockets beside those of the users."""

from __future__ import annotations

from pydantic import Field

from comfysoak_core.scenario.written.section import Section


class SessionsSection(Section):
    """Sockets beside those of the users."""

    watchers: int = Field(0, ge=0, description="sockets that only listen", examples=[50])
