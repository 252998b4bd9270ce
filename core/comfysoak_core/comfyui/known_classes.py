"""Which node classes of a graph a server knows.

The whole of /object_info is asked for only where a class is missing: it is made anew for every answer, and blocks the
server's loop meanwhile.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.errors import TargetError


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a workflow: what the server says of those it has, and the names of those it has not.

    `names` has all that it knows, and `successors` what old classes became: both only where one is missing.
    """

    found: Mapping[str, Mapping[str, Any]]
    missing: tuple[str, ...] = ()
    names: frozenset[str] = field(default_factory=frozenset)
    successors: Mapping[str, str] = field(default_factory=dict)

    @property
    def lost(self) -> tuple[str, ...]:
        """Those that the server has not, and has nothing in the place of."""
        return tuple(name for name in self.missing if name not in self.successors)

    def nearest(self, name: str) -> list[str]:
        """The names it knows that come nearest, whatever their capitals."""
        folded: dict[str, str] = {}
        for known in self.names:
            folded.setdefault(known.lower(), known)
        return [folded[found] for found in difflib.get_close_matches(name.lower(), sorted(folded), 3, 0.7)]

    def nearest_told(self) -> str:
        """The same for all that are lost, as the beginning of a remedy."""
        near = {name: self.nearest(name) for name in self.lost}
        told = "; ".join(f"for {name[:60]}: {', '.join(found)}" for name, found in near.items() if found)
        return f"The nearest it has: {told}. " if told else ""


def classes_of(client: ComfyClient, graph: Graph) -> Classes:
    """One question a class, one after the other. TargetError when the server does not answer."""
    found: dict[str, Mapping[str, Any]] = {}
    missing = []
    for name in dict.fromkeys(node["class_type"] for node in graph.values()):
        info = client.object_info(name)
        if info is None:
            missing.append(name)
        else:
            found[name] = info
    if not missing:
        return Classes(found)
    successors = _successors(client, missing)
    names = frozenset() if set(missing) <= set(successors) else _names(client)
    return Classes(found, tuple(missing), names, successors)


def _names(client: ComfyClient) -> frozenset[str]:
    try:
        known = client.get_json("/object_info")
    except TargetError:
        return frozenset()
    return frozenset(known) if isinstance(known, dict) else frozenset()


def _successors(client: ComfyClient, missing: list[str]) -> dict[str, str]:
    """What servers of 2026 put in the place of classes that are no longer there."""
    try:
        known = client.get_json("/node_replacements")
    except TargetError:
        return {}
    found = {}
    for name in missing if isinstance(known, dict) else ():
        entries = known.get(name)
        first = entries[0] if isinstance(entries, list) and entries else None
        new = first.get("new_node_id") if isinstance(first, dict) else None
        if isinstance(new, str):
            found[name] = new
    return found
