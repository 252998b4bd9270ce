"""Which node classes a server knows, and what each takes and gives: the content of GET /object_info.

The built-in set (`data/nodes.json`) holds stock nodes of the usual image workflows and the nodes of a load test
(`Harness...`); a dump of /object_info of another server may take its place. In the data `@folder` stands for the
model files of a folder, `@input` for uploaded images, `$name` for a list told once.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from comfysoak_core.comfyui.node_classes import NodeClass
from comfysoak_core.scenario.embedded import Version
from comfysoak_simulator.models import ModelFiles

Json = Any  # whatever JSON may hold
_NEWER_FLAGS = ("deprecated", "experimental", "api_node")


class Catalogue:
    """All node classes of one server."""

    def __init__(self, classes: dict[str, NodeClass], replacements: dict[str, Json] | None = None) -> None:
        self.classes = classes
        self.replacements = replacements or {}  # the answer to GET /node_replacements (0.33)

    @classmethod
    def built_in(cls, version: Version, models: ModelFiles) -> Catalogue:
        """The built-in set as a server of `version` with these model files has it."""
        data = json.loads(files("comfysoak_simulator").joinpath("data/nodes.json").read_text(encoding="utf-8"))
        lists = _Lists(data["lists"], models)
        return cls(
            {
                name: NodeClass(name, _object_info(name, _of_version(entry, version), version, lists))
                for name, entry in data["nodes"].items()
                if entry.get("only", version) == version
            },
            data["replacements"],
        )

    @classmethod
    def from_dump(cls, dump: dict[str, Json]) -> Catalogue:
        """What a server said at GET /object_info."""
        return cls({name: NodeClass(name, info) for name, info in dump.items()})

    def get(self, name: object) -> NodeClass | None:
        """The class of this name; None when there is none."""
        return self.classes.get(name) if isinstance(name, str) else None

    def object_info(self) -> dict[str, Json]:
        """The answer to GET /object_info."""
        return {name: node.info for name, node in self.classes.items()}


def _of_version(entry: dict[str, Json], version: Version) -> dict[str, Json]:
    newer = entry.get("since 0.33.0", {})
    return {**entry, **newer} if version == "0.33.0" else entry


class _Lists:
    """Puts lists in the place of their names."""

    def __init__(self, named: dict[str, list[str]], models: ModelFiles) -> None:
        self._named = named
        self._models = models

    def filled(self, value: Json) -> Json:
        if isinstance(value, str) and value.startswith("$"):
            return self._named[value[1:]]
        if value == "@input":
            return []
        if isinstance(value, str) and value.startswith("@"):
            return self._models.choices(value[1:])
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if isinstance(value, dict):
            return {key: self.filled(item) for key, item in value.items()}
        return value


def _object_info(name: str, entry: dict[str, Json], version: Version, lists: _Lists) -> dict[str, Json]:
    newer_style = entry.get("newer_style", False)
    inputs = lists.filled(entry["input"])
    hidden = entry.get("hidden")
    if hidden:
        inputs["hidden"] = {
            key: [kind] if newer_style and version == "0.33.0" else kind for key, kind in hidden.items()
        }
    info = {
        "input": inputs,
        "input_order": {group: list(members) for group, members in inputs.items()},
        "output": entry["output"],
        "output_is_list": entry.get("output_is_list", [False] * len(entry["output"])),
        "output_name": entry.get("output_name", entry["output"]),
        "name": name,
        "display_name": entry["display"],
        "description": "",
        "python_module": "custom_nodes.harness_nodes" if name.startswith("Harness") else "nodes",
        "category": entry["category"],
        "output_node": entry.get("output_node", False),
    }
    if newer_style:
        info.update(dict.fromkeys(_NEWER_FLAGS, False))
    if version == "0.33.0":
        info["is_input_list"] = False
        info["has_intermediate_output"] = entry.get("intermediate_output", False)
        info["search_aliases"] = None
        if newer_style:
            info.update({"dev_only": False, "price_badge": None, "output_matchtypes": None})
    return info
