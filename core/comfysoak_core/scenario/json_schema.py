"""The JSON Schema of a scenario as it is written, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any, Final

from comfysoak_core.scenario.model import Scenario

# Bounds on what a text was read as are given by pydantic under names of its own, which no editor knows.
_BOUNDS: Final = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def scenario_json_schema() -> dict[str, Any]:
    """All keys with their descriptions and examples, and all forms in which their values may be written.

    It refuses nothing that `read_scenario` takes in the forms of docs/scenario.md; what needs more than one value to
    judge, it lets pass.
    """
    schema: dict[str, Any] = _for_editors(Scenario.model_json_schema(by_alias=True))
    return schema


def _for_editors(part: Any) -> Any:
    if isinstance(part, list):
        return [_for_editors(item) for item in part]
    if not isinstance(part, dict):
        return part
    titled = isinstance(part.get("title"), str)  # `In Flight Most` for in_flight_most
    return {
        _BOUNDS.get(key, key): _for_editors(value) for key, value in part.items() if not (titled and key == "title")
    }
