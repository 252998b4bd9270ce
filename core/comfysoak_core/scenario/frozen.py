"""What all parts of a plan are: values that nobody changes, without keys that nobody knows."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A part of a plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")
