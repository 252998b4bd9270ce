"""Quantities as people write them, in base units: `90s`, `24 GiB`, `30/min`, `1%`.

Each annotated type takes the written form or a plain number in the base unit: `Seconds` (float), `Bytes` (int),
`Rate` (float, per second), `Ratio` (float, 0.01 for 1 %). Their JSON Schema says so to editors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from comfysoak_core.scenario.units import (
    DURATION_PATTERN,
    RATE_PATTERN,
    RATIO_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_ratio,
    format_size,
    parse_duration,
    parse_rate,
    parse_ratio,
    parse_size,
)

__all__ = [
    "DURATION_PATTERN",
    "RATE_PATTERN",
    "RATIO_PATTERN",
    "SIZE_PATTERN",
    "AlsoText",
    "Bytes",
    "Rate",
    "Ratio",
    "Seconds",
    "format_duration",
    "format_ratio",
    "format_size",
    "parse_duration",
    "parse_rate",
    "parse_ratio",
    "parse_size",
]


@dataclass(frozen=True)
class AlsoText:
    """Says in the JSON Schema that a number from 0 to `most` may be a text of this pattern as well."""

    pattern: str
    most: float | None = None

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        number = handler(schema)
        bounds = {"minimum": 0} if self.most is None else {"minimum": 0, "maximum": self.most}
        return {**bounds, **number, "type": [number["type"], "string"], "pattern": f"^{self.pattern}$"}


Seconds = Annotated[float, BeforeValidator(parse_duration), AlsoText(DURATION_PATTERN)]
Bytes = Annotated[int, BeforeValidator(parse_size), AlsoText(SIZE_PATTERN)]
Rate = Annotated[float, BeforeValidator(parse_rate), AlsoText(RATE_PATTERN)]
Ratio = Annotated[float, BeforeValidator(parse_ratio), AlsoText(RATIO_PATTERN, most=1)]
