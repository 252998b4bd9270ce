"""A checker of JSON Schema (2020-12) for the keywords that ours uses, and no others."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_SAY_NOTHING = {"description", "examples", "default", "title", "discriminator", "format", "$defs"}


def mistakes(value: Any, schema: dict[str, Any], root: dict[str, Any], place: str = "") -> Iterator[str]:
    """What is wrong with `value`, each with its place; NotImplementedError for a keyword that is not known here."""
    for keyword, rule in schema.items():
        if keyword in _SAY_NOTHING:
            continue
        if keyword == "$ref":
            yield from mistakes(value, root["$defs"][rule.removeprefix("#/$defs/")], root, place)
        elif keyword in ("anyOf", "oneOf"):
            yield from _choices(value, keyword, rule, root, place)
        elif isinstance(value, dict) and keyword in ("properties", "additionalProperties"):
            yield from _keys(value, keyword, schema, root, place)
        elif isinstance(value, list) and keyword in ("items", "prefixItems"):
            rules = rule if keyword == "prefixItems" else [rule] * len(value)
            for index, (item, of_item) in enumerate(zip(value, rules, strict=False)):
                yield from mistakes(item, of_item, root, f"{place}[{index}]")
        elif not _holds(value, keyword, rule):
            yield f"{place}: {value!r} against {keyword} {rule!r}"


def _choices(value: Any, keyword: str, rules: list[dict[str, Any]], root: dict[str, Any], place: str) -> Iterator[str]:
    found = [list(mistakes(value, rule, root, place)) for rule in rules]
    fitting = found.count([])
    if fitting == 0 or (keyword == "oneOf" and fitting > 1):
        yield f"{place}: {fitting} of {keyword} fit {value!r}: {found}"


def _keys(
    value: dict[str, Any], keyword: str, schema: dict[str, Any], root: dict[str, Any], place: str
) -> Iterator[str]:
    known = schema.get("properties", {})
    for key, item in value.items():
        if keyword == "properties" and key in known:
            yield from mistakes(item, known[key], root, f"{place}.{key}")
        elif keyword == "additionalProperties" and key not in known:
            others = schema[keyword]
            if others is False:
                yield f"{place}: unknown key {key!r}"
            elif others is not True:
                yield from mistakes(item, others, root, f"{place}.{key}")


def _holds(value: Any, keyword: str, rule: Any) -> bool:
    """Whether a keyword about a value by itself holds; one about another type always does."""
    if keyword in _ELSEWHERE:
        return True
    if keyword not in _CHECKS:
        raise NotImplementedError(keyword)
    kind, check = _CHECKS[keyword]
    return not isinstance(value, kind) or (isinstance(value, bool) and kind is not object) or check(value, rule)


_ELSEWHERE = {"properties", "additionalProperties", "items", "prefixItems"}
_NUMBER = (int, float)
_CHECKS: dict[str, tuple[type | tuple[type, ...], Callable[[Any, Any], bool]]] = {
    "type": (
        object,
        lambda value, rule: any(_is_of(value, name) for name in ([rule] if isinstance(rule, str) else rule)),
    ),
    "enum": (object, lambda value, rule: value in rule),
    "const": (object, operator.eq),
    "required": (dict, lambda value, rule: set(rule) <= value.keys()),
    "pattern": (str, lambda value, rule: re.search(rule, value) is not None),
    "minimum": (_NUMBER, operator.ge),
    "maximum": (_NUMBER, operator.le),
    "exclusiveMinimum": (_NUMBER, operator.gt),
    "exclusiveMaximum": (_NUMBER, operator.lt),
    "minLength": (str, lambda value, rule: len(value) >= rule),
    "maxLength": (str, lambda value, rule: len(value) <= rule),
    "minItems": (list, lambda value, rule: len(value) >= rule),
    "maxItems": (list, lambda value, rule: len(value) <= rule),
    "maxProperties": (dict, lambda value, rule: len(value) <= rule),
}


def _is_of(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name]) or (name == "integer" and isinstance(value, float) and value.is_integer())
