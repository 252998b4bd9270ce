"""From a scenario file to a plan: every mistake found, each with its line and an example of what is right."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from comfysoak_core.errors import Problem, ScenarioError
from comfysoak_core.scenario.model import Scenario
from comfysoak_core.scenario.yaml_text import load_yaml

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed YAML file: its value, and the line of each key and item in it."""

    name: str
    value: Any
    lines: Mapping[Path_, int]

    def where(self, path: Path_) -> str:
        """`file:line` of the deepest part of `path` that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        line = self.lines.get(path)
        return f"{self.name}:{line}" if line else self.name


def read_scenario(path: Path, settings: Sequence[str] = ()) -> tuple[Scenario, Document]:
    """The scenario in a file, after each of `settings` (`load.0.for=10s`); ScenarioError for all its mistakes."""
    document = read_document(path)
    for setting in settings:
        apply_setting(document.value, setting)
    return check(document), document


def read_document(path: Path) -> Document:
    """The YAML of a file with its line numbers; ScenarioError when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScenarioError(
            f"there is no scenario {path}", "Name a YAML file; scenarios/demo.yaml is one that needs no server."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path} cannot be read: {error}", "A scenario is a YAML file in UTF-8.") from None
    try:
        root, value = load_yaml(text)
    except yaml.YAMLError as error:
        raise _broken_yaml(path, error) from None
    if not isinstance(value, dict) or root is None:
        raise ScenarioError(
            f"expected keys such as name, target, workload and load; got {type(value).__name__}",
            "scenarios/demo.yaml shows a whole scenario.",
            where=str(path),
        )
    lines: dict[Path_, int] = {}
    twice: list[Problem] = []
    for at, line in _walk(root, ()):
        if at in lines:
            twice.append(Problem(f"{at[-1]!r} stands here a second time (first in line {lines[at]})",
                                 "Keep one of the two.", f"{path}:{line}"))  # fmt: skip
        lines.setdefault(at, line)
    if twice:
        raise ScenarioError.of(twice)
    return Document(str(path), value, lines)


def check(document: Document) -> Scenario:
    """The scenario a document holds; ScenarioError for all that is wrong in it."""
    try:
        return Scenario.model_validate(document.value)
    except ValidationError as error:
        problems = [_problem(details, document) for details in error.errors() if not _follows_from_another(details)]
        unique = list(dict.fromkeys(problems))
        raise ScenarioError.of(unique) from None


def apply_setting(value: dict[str, Any], setting: str) -> None:
    """Set `path=value` in a parsed scenario, the value read as YAML; ScenarioError when the path leads nowhere."""
    path, equals, text = setting.partition("=")
    parts = path.split(".")
    if not equals or not all(parts):
        raise ScenarioError(f"expected path=value, got {setting!r}", "For example: --set load.0.for=30s")
    place: Any = value
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        key: str | int = part
        if isinstance(place, list):
            if not part.isdigit() or int(part) >= len(place):
                raise ScenarioError(
                    f"--set {setting}: {'.'.join(parts[:depth])} is a list of {len(place)}; {part!r} is not in it",
                    "Items count from 0: --set load.0.for=30s",
                )
            key = int(part)
        elif not isinstance(place, dict):
            raise ScenarioError(f"--set {setting}: {'.'.join(parts[:depth])} holds a value, not keys",
                                "For example: --set load.0.for=30s")  # fmt: skip
        if last:
            place[key] = _yaml_value(text)
        else:
            place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]


def _yaml_value(text: str) -> Any:
    try:
        return load_yaml(text)[1]
    except yaml.YAMLError:
        return text


def _broken_yaml(path: Path, error: yaml.YAMLError) -> ScenarioError:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
    remedy = "Check indentation, quotes and brackets here and in the line before."
    return ScenarioError(f"this is not YAML: {what}", remedy, where=where)


def _walk(node: yaml.Node, path: Path_) -> Iterator[tuple[Path_, int]]:
    """Every key and item under a YAML node, with its line."""
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            here = (*path, key.value)
            yield here, key.start_mark.line + 1
            yield from _walk(child, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            here = (*path, index)
            yield here, child.start_mark.line + 1
            yield from _walk(child, here)


def _follows_from_another(details: ErrorDetails) -> bool:
    """A list counts as too short when its items are wrong; those are told already."""
    return details["type"] == "too_short" and bool(details["input"])


def _problem(details: ErrorDetails, document: Document) -> Problem:
    path = tuple(details["loc"])
    place, model, field = _follow(path)
    name = ".".join(str(part) for part in place)
    where = document.where(place)
    kind = details["type"]
    if kind == "extra_forbidden":
        return Problem(f"unknown key {place[-1]!r}{_in(place)}", _known_keys(str(place[-1]), model), where)
    if kind == "missing":
        return Problem(f"missing key {place[-1]!r}{_in(place)}", _example(str(place[-1]), field), where)
    message = _message(details)
    key = next((part for part in reversed(place) if isinstance(part, str)), "")
    return Problem(f"{name}: {message}" if name else message, _example(key, field), where)


def _message(details: ErrorDetails) -> str:
    """What was expected and what came, in our words where pydantic's are about Python."""
    came = _short(details["input"])
    if details["type"] == "value_error":
        return details["msg"].removeprefix("Value error, ")
    if details["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"expected keys with values, got {came}"
    if details["type"] in ("tuple_type", "list_type"):
        return f"expected a list, got {came}"
    if details["type"] == "too_short":
        return "expected a list with at least one item, got an empty one"
    return details["msg"].replace("Input should be", "expected", 1) + f", got {came}"


def _follow(path: Path_) -> tuple[Path_, type[BaseModel], FieldInfo | None]:
    """The part of an error's path that stands in the file, the model of its last section and the field in it."""
    model: type[BaseModel] = Scenario
    kept: list[str | int] = []
    field: FieldInfo | None = None
    inside: type[BaseModel] | None = Scenario
    for part in path:
        if isinstance(part, int):
            kept.append(part)
            continue
        if inside is not None and (chosen := _of_kind(field, part)) is not None:
            model = inside = chosen  # what pydantic names there is the kind of section, not a key
        elif inside is not None:
            model = inside
            field = _field(model, part)
            kept.append(part)
            inside = next(_sections_of(field.annotation), None) if field else None
        elif "[" not in part and part not in ("str", "int", "float", "bool", "tuple", "dict"):
            kept.append(part)
    return tuple(kept), model, field


def _field(model: type[BaseModel], key: str) -> FieldInfo | None:
    for name, field in model.model_fields.items():
        if key in (name, field.alias):
            return field
    return None


def _of_kind(field: FieldInfo | None, kind: str) -> type[BaseModel] | None:
    """The section of that kind, where a field holds one of several."""
    for section in _sections_of(field.annotation) if field is not None else ():
        told = section.model_fields.get("kind")
        if told is not None and kind in typing.get_args(told.annotation):
            return section
    return None


def _sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections a field may hold, also within a list, a choice or an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        for argument in typing.get_args(annotation):
            yield from _sections_of(argument)


def _known_keys(key: str, model: type[BaseModel]) -> str:
    names = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(key, names, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known here: {', '.join(names)}."


def _example(key: str, field: FieldInfo | None) -> str:
    if field is None:
        return ""
    about = f"{field.description[0].upper()}{field.description[1:]}. " if field.description else ""
    if not field.examples:
        return about.strip()
    written = json.dumps(field.examples[0], ensure_ascii=False).replace('"', "")
    return f"{about}For example: {key}: {written}"


def _in(place: Path_) -> str:
    section = ".".join(str(part) for part in place[:-1])
    return f" in {section}" if section else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."  # a line of a terminal
