"""Whether what came agrees with what was recorded, wherever the contract says anything."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Any

Json = Any
# Moments, sizes and wordings of the machine that was recorded: of these the type has to agree, not the value.
_LOOSE = frozenset(
    {
        "timestamp", "create_time", "execution_start_time", "execution_end_time", "ram_total", "ram_free",
        "vram_total", "vram_free", "torch_vram_total", "torch_vram_free", "python_version", "pytorch_version", "argv",
        "comfy_package_versions", "traceback", "current_inputs", "description", "python_module", "category",
        "display_name", "image_bytes", "metadata_length", "deploy_environment",
    }
)  # fmt: skip
_SETS = frozenset({"executed", "current_outputs", "dependent_outputs"})  # in an order of their own at each start
_DECORATION = frozenset({"tooltip", "output_tooltips", "search_aliases", "essentials_category", "advanced",
                         "output_matchtypes"})  # fmt: skip
# What 0.33 says besides, where a recording of 0.3.64 stands for it.
_ADDED = frozenset(
    {"create_time", "supports_model_type_tags", "extension", "node_replacements", "assets", "is_input_list"}
)
ADDITIONS_ALLOWED: ContextVar[bool] = ContextVar("ADDITIONS_ALLOWED", default=False)
_COUNTER = re.compile(r"_\d{5}_\.|ComfyUI_temp_[a-z]{5}")


def differences(recorded: Json, came: Json, where: str = "") -> list[str]:
    """What does not agree, each with its place; empty when all does."""
    key = where.rsplit(".", 1)[-1]
    if key in _LOOSE:
        same = type(recorded) is type(came) or _are_numbers(recorded, came)
        return [] if same else [f"{where}: {type(recorded).__name__} was recorded, {type(came).__name__} came"]
    if isinstance(recorded, dict) and isinstance(came, dict):
        return _of_objects(recorded, came, where)
    if isinstance(recorded, list) and isinstance(came, list):
        return _of_lists(recorded, came, where)
    if _plain(recorded) == _plain(came):
        return []
    return [f"{where}: {_short(recorded)} was recorded, {_short(came)} came"]


def _of_objects(recorded: dict[str, Json], came: dict[str, Json], where: str) -> list[str]:
    found: list[str] = []
    wanted = recorded.keys() - _DECORATION
    there = came.keys() - _DECORATION - (_ADDED - wanted if ADDITIONS_ALLOWED.get() else frozenset())
    if wanted != there:
        found.append(f"{where}: without {sorted(wanted - there)}, with {sorted(there - wanted)} besides")
    for key in sorted(wanted & there):
        found += differences(recorded[key], came[key], f"{where}.{key}")
    return found


def _of_lists(recorded: list[Json], came: list[Json], where: str) -> list[str]:
    key = where.rsplit(".", 1)[-1]
    if len(recorded) != len(came):
        return [f"{where}: {len(recorded)} items were recorded, {len(came)} came: {_short(recorded)} / {_short(came)}"]
    if key in _SETS or key == "errors":
        recorded, came = sorted(recorded, key=_order), sorted(came, key=_order)
    found: list[str] = []
    for index, (one, other) in enumerate(zip(recorded, came, strict=True)):
        found += differences(one, other, f"{where}[{index}]")
    return found


def _order(item: Json) -> str:
    return f"{item['type']} {item['extra_info'].get('input_name')}" if isinstance(item, dict) else str(item)


def _plain(value: Json) -> Json:
    return _COUNTER.sub("#", value) if isinstance(value, str) else value


def _are_numbers(one: Json, other: Json) -> bool:
    return isinstance(one, int | float) and isinstance(other, int | float)


def _short(value: Json) -> str:
    text = repr(value)
    return text if len(text) < 160 else text[:157] + "..."
