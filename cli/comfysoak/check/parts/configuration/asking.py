"""What is asked of the server about a workflow; nothing is sent that runs."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from comfysoak.check.checking import Checking
from comfysoak.check.conversation.access import Access
from comfysoak_core.comfyui.judgement import FileInput, file_inputs
from comfysoak_core.comfyui.known_classes import Classes, classes_of
from comfysoak_core.comfyui.node_classes import NodeClass
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.errors import TargetError

_TIMEOUT_S = 10.0
_NOT_FOUND = 404
_FOLDERS = ("output", "input", "temp")


def ask_classes(checking: Checking, graph: Graph) -> Classes:
    """Which of its classes the server knows. TargetError when it does not answer any longer."""
    with Access.of(checking).client(_TIMEOUT_S) as client:
        return classes_of(client, graph)


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
