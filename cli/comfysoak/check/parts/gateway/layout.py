"""What differs between gateways beyond how pictures are asked for: their administrator's routes, and their habits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from comfysoak_core.comfyui.json_text import document_or_none, text_or_none
from comfysoak_core.comfyui.shape import Graph, graph_or_none, is_output_class
from comfysoak_core.comfyui.vary import NodeMapping

_TAKEN_NEW: Final = frozenset({"SaveImage", "SaveImageAdvanced", "PreviewImage"})


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of gateway. A route that is None: it has none, or none that may be asked."""

    config: str | None = None  # for administrators
    models: str | None = None
    steps: str | None = None  # where IMAGE_STEPS is read, within `config` or apart
    update: str | None = None  # where what `steps` gave is posted back
    switch: str | None = None  # the key in `config` that switches generation on and off; None: it cannot be tried
    picture: str | None = None  # a picture by its id: DELETE takes it away
    version: str | None = None
    without_token: tuple[int, ...] = (401, 403)
    invalid: tuple[int, ...] = (400, 422)
    failure: tuple[int, ...] = (400, *range(500, 600))
    ignores_size: bool = False
    repeats_pictures: bool = False  # each once for every node that has put something out
    takes_from: frozenset[str] | None = None  # classes whose pictures it hands over; None: not known
    pictures_are_public: bool = False
    forbids_nobody: bool = False  # it looks neither at its switch nor at permissions when it makes pictures
    stores_what_is_written: bool = False  # an update makes values of the environment stored ones


LAYOUTS: Final[Mapping[str, Layout]] = {
    "open-webui": Layout(
        config="/api/v1/images/config",
        models="/api/v1/images/models",
        steps="/api/v1/images/config",
        update="/api/v1/images/config/update",
        switch="ENABLE_IMAGE_GENERATION",
        picture="/api/v1/files/{id}",
        version="/api/version",
        without_token=(401,),
        invalid=(422,),
        failure=(400,),
        takes_from=_TAKEN_NEW,
    ),
    # Its models and its verify route switch image generation off for all when they fail: they are never asked.
    "open-webui-old": Layout(
        config="/images/api/v1/config",
        steps="/images/api/v1/image/config",
        update="/images/api/v1/image/config/update",
        version="/api/version",
        without_token=(401, 403),
        invalid=(422,),
        failure=(400,),
        ignores_size=True,
        repeats_pictures=True,
        pictures_are_public=True,
        forbids_nobody=True,
        stores_what_is_written=True,
    ),
}


def layout_of(api_name: str) -> Layout:
    """The layout of a gateway by the name of its API; of any other API nothing is known."""
    return LAYOUTS.get(api_name, Layout())


@dataclass(frozen=True, slots=True)
class Configuration:
    """What an administrator reads, of either age; `document` is it as it came, secrets and all: never shown."""

    document: Mapping[str, Any]
    enabled: bool | None
    engine: str
    base_url: str
    workflow: str
    nodes: object

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Configuration:
        """Of the answer to GET config: new ones are flat, old ones nest."""
        nested = document.get("comfyui")
        comfyui = nested if isinstance(nested, dict) else document
        enabled = document.get("ENABLE_IMAGE_GENERATION", document.get("enabled"))
        return cls(
            document,
            enabled if isinstance(enabled, bool) else None,
            text_or_none(document.get("IMAGE_GENERATION_ENGINE", document.get("engine"))) or "",
            text_or_none(comfyui.get("COMFYUI_BASE_URL")) or "",
            _whole_text(comfyui.get("COMFYUI_WORKFLOW")),
            comfyui.get("COMFYUI_WORKFLOW_NODES"),
        )

    @property
    def graph(self) -> Graph | None:
        """Its workflow; None: it is no graph in API format."""
        return graph_or_none(document_or_none(self.workflow.encode()))

    @property
    def mappings(self) -> tuple[NodeMapping, ...] | None:
        """Its mappings as it reads them; None: they cannot be read, and every request fails."""
        if not isinstance(self.nodes, list):
            return None
        found = [mapping_of(item) for item in self.nodes]
        return None if None in found else tuple(one for one in found if one is not None)


def mapping_of(item: object) -> NodeMapping | None:
    """One entry; None: the gateway would refuse it."""
    if not isinstance(item, dict):
        return None
    kind, key, ids = item.get("type"), item.get("key", "text"), item.get("node_ids", [])
    texts = all(text is None or isinstance(text, str) for text in (kind, key, item.get("value")))
    if not texts or not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        return None
    return NodeMapping(kind, key, tuple(ids), item.get("value"))


def handed_over(layout: Layout, classes: Mapping[str, str], nodes: list[str]) -> int:
    """How many pictures a gateway of this layout makes of those of `nodes`, one for each picture ComfyUI put out."""
    if layout.repeats_pictures:
        return len(nodes) * len(set(nodes))
    if layout.takes_from is None:
        return len(nodes)
    return sum(1 for node_id in nodes if classes.get(node_id) in layout.takes_from)


def output_nodes(graph: Graph) -> list[str]:
    """The nodes that put pictures out, by their class."""
    return [node_id for node_id, node in graph.items() if is_output_class(str(node["class_type"]))]


def _whole_text(value: object) -> str:
    """A workflow is longer than the texts that are shown."""
    return value if isinstance(value, str) else ""
