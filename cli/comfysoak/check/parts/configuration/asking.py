"""What is asked of the server about a workflow.

The whole of /object_info is asked for only where a class is missing: it is made anew for every answer, and blocks the
server's loop meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from comfysoak.check.checking import Checking
from comfysoak.check.conversation.access import Access
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.judgement import FileInput, file_inputs
from comfysoak_core.comfyui.node_classes import NodeClass
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.errors import TargetError

_TIMEOUT_S = 10.0
_NOT_FOUND = 404
_FOLDERS = ("output", "input", "temp")


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a workflow: what the server says of those it has, and the names of those it has not.

    `names` has all that it knows, and `successors` what old classes became: both only where one is missing.
    """

    found: Mapping[str, Mapping[str, Any]]
    missing: tuple[str, ...] = ()
    names: frozenset[str] = field(default_factory=frozenset)
    successors: Mapping[str, str] = field(default_factory=dict)


def ask_classes(checking: Checking, graph: Graph) -> Classes:
    """One question a class; a class that could not be asked for counts as neither found nor missing."""
    with Access.of(checking).client(_TIMEOUT_S) as client:
        return classes_of(client, graph)


def classes_of(client: ComfyClient, graph: Graph) -> Classes:
    """The same, by a client. TargetError when the server does not answer any longer."""
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


def absent_files(checking: Checking, graph: Graph, classes: Mapping[str, NodeClass]) -> set[FileInput]:
    """The inputs that name an uploaded file which the server does not have."""
    named = file_inputs(graph, classes)
    if not named:
        return set()
    transport = Access.of(checking).transport()
    try:
        return {place for place, name in named.items() if transport.request("HEAD", _view(name)).status == _NOT_FOUND}
    except TargetError:
        return set()
    finally:
        transport.close()


def _view(name: str) -> str:
    """Where the file lies: `picture.png`, `folder/picture.png`, `picture.png [output]`."""
    folder = next((kind for kind in _FOLDERS if name.endswith(f"[{kind}]")), None)
    path = name.removesuffix(f"[{folder}]").strip() if folder is not None else name
    subfolder, _, filename = path.rpartition("/")
    return f"/view?{urlencode({'filename': filename, 'subfolder': subfolder, 'type': folder or 'input'})}"
