"""What all sections of a scenario share: strictness, and the ways addresses, spans and lists are written."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from comfysoak_core.scenario.address import check_url
from comfysoak_core.scenario.goals import parse_goal
from comfysoak_core.scenario.quantities import DURATION_PATTERN, Rate, parse_duration

RATE_MOST_PER_S = 10_000.0
USERS_MOST = 1_000_000


class Section(BaseModel):
    """A part of a scenario: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def one_of(*sets_of_keys: str) -> ConfigDict:
    """For the JSON Schema of a section: one of these sets of keys is there (`one_of("users for", "trace")`).

    No two of them are, and no other key is needed.
    """

    def extend(schema: dict[str, Any]) -> None:
        schema.pop("required", None)
        schema["oneOf"] = [{"required": keys.split()} for keys in sets_of_keys]

    return ConfigDict(json_schema_extra=extend)


def as_list(value: object) -> object:
    """One text as a list of one."""
    return [value] if isinstance(value, str) else value


def as_span(value: object) -> object:
    """`1s..3s` or `2s` as (low, high) in seconds."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str) and ".." in value:
        low, high = (parse_duration(part) for part in value.split("..", 1))
        if low > high:
            raise ValueError(f"expected the shorter time first, as in 1s..3s, got {value!r}")
        return (low, high)
    seconds = parse_duration(value)  # type: ignore[arg-type]  # refuses what is no duration
    return (seconds, seconds)


def check_goal(text: str) -> str:
    """`text` when it is a goal; ValueError with the nearest right name when it is none."""
    parse_goal(text)
    return text


_URL_PATTERN = r"^([hH][tT][tT][pP][sS]?://[^\s/?#@][^\s?#@]*|\$[A-Za-z_][A-Za-z0-9_]*)$"
_GOAL_PATTERN = r"^\s*[A-Za-z_.0-9]+\s*(\{[^{}]*\})?\s*(<=|>=|==|=|<|>)\s*[^\s<>=].*$"
_Span = Annotated[str, Field(pattern=rf"^{DURATION_PATTERN}(\.\.{DURATION_PATTERN})?$")]
_Time = Annotated[float, Field(ge=0)]

Url = Annotated[str, AfterValidator(check_url), Field(json_schema_extra={"pattern": _URL_PATTERN})]
Urls = Annotated[tuple[Url, ...], BeforeValidator(as_list, json_schema_input_type=Url | tuple[Url, ...])]
Users = Annotated[int, Field(ge=0, le=USERS_MOST)]
PromptRate = Annotated[Rate, Field(ge=0, le=RATE_MOST_PER_S)]
Goal = Annotated[str, AfterValidator(check_goal), Field(json_schema_extra={"pattern": _GOAL_PATTERN})]
Span = Annotated[
    tuple[float, float], BeforeValidator(as_span, json_schema_input_type=_Span | _Time | tuple[_Time, _Time])
]
