"""Whether the weights of a load were read from a file for it, or only moved.

Cold: a node that reads the model's file ran in the same prompt before it (or is the one it happened in); or it is the
first load of that model since the server began or let all its memory go. Warm: those nodes are known, and none of them
ran. Where no node of the prompt was seen (it was somebody else's), the log may tell: a loader prints what kind of
model it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from comfysoak_analysis.model_loads.load import ModelLoad, Origin
from comfysoak_analysis.model_loads.loaders import Graph, Loader, is_loader_class, reads_kind

# What a loader's line calls a kind of model, and the input by which a loader of that kind names its file.
_READ_KINDS = {"diffusion model": "unet_name", "VAE": "vae_name", "text encoder": "clip_name"}


class Origins:
    """Tells it of the loads of one server, in order of time."""

    def __init__(
        self,
        nodes: pd.DataFrame,
        graphs: Mapping[str, Graph],
        variations: Mapping[str, str],
        log: pd.DataFrame,
        fresh: list[pd.Timestamp],
    ) -> None:
        """`fresh`: when all that this server held was gone, in order of time."""
        self._nodes = _Nodes(nodes)
        self._graphs, self._variations = graphs, variations
        reads = log[log["kind"] == "model_read"]
        self._reads = {str(kind): part["at"].to_numpy() for kind, part in reads.groupby("model")}
        self._fresh = np.array([moment.to_datetime64() for moment in fresh], dtype="datetime64[ns]")
        self._last_of_kind: dict[str, pd.Timestamp] = {}
        self._since: dict[str, int] = {}  # label -> index of the stretch between two of `fresh` it was last loaded in

    def tell(self, load: ModelLoad) -> ModelLoad:
        """The load with its origin, its file and what reading took."""
        loaders = self._loaders(load)
        file = loaders[0].file if len({one.file for one in loaders or ()}) == 1 and loaders else None
        load = replace(load, file=file)
        ran, read_s = self._ran(load, loaders)
        first = self._is_first(load)
        by_log = self._by_log(load)
        if ran or (ran is None and by_log):
            return replace(load, origin=Origin.COLD, read_s=read_s)
        if first:
            return replace(load, origin=Origin.COLD)
        known = ran is not None or by_log is not None
        return replace(load, origin=Origin.WARM if known else Origin.UNKNOWN)

    def _is_first(self, load: ModelLoad) -> bool:
        """Of this model since all was gone; what was before the recording nobody knows."""
        stretch = int(np.searchsorted(self._fresh, load.started.to_datetime64(), side="right"))
        before = self._since.get(load.label)
        self._since[load.label] = stretch
        return stretch > 0 and before != stretch

    def _loaders(self, load: ModelLoad) -> tuple[Loader, ...] | None:
        """Those of its workflow; None where the workflow is not known."""
        place = load.place
        graph = self._graphs.get(place.workflow) if place is not None else None
        if place is None or graph is None:
            return None
        return graph.loaders(place.node_id, load.model, self._variations.get(place.prompt_id, "{}")) or None

    def _ran(self, load: ModelLoad, loaders: tuple[Loader, ...] | None) -> tuple[bool | None, float | None]:
        """Whether a loader ran in the prompt before the load, None where it cannot be told; and how long it took."""
        if load.place is None:
            return None, None
        nodes = self._nodes.of_prompt(load.place.prompt_id)
        mine = {one.node_id for one in loaders} if loaders is not None else None
        ran = [
            node
            for node in nodes
            if node.started <= load.place.started
            and (node.node_id in mine if mine is not None else _reads(node.node_class, load.model))
        ]
        return bool(ran), self._read_s(load, ran)

    def _read_s(self, load: ModelLoad, ran: list[_Node]) -> float | None:
        """What the loaders took; of one that moves the weights itself what it took until then."""
        if not ran or not all(node.is_timed for node in ran):
            return None
        took_s = (
            ((load.started if pd.isna(node.ended) else min(node.ended, load.started)) - node.started).total_seconds()
            for node in ran
        )
        return float(sum(max(one, 0.0) for one in took_s))

    def _by_log(self, load: ModelLoad) -> bool | None:
        """Whether a loader said that it read such a model since the load before; None where no line tells."""
        kind = next((kind for kind, name in _READ_KINDS.items() if reads_kind(name, load.model)), None)
        if load.model is None or kind is None:
            return None
        before = self._last_of_kind.get(kind, pd.Timestamp(0))
        self._last_of_kind[kind] = load.started
        lines = self._reads.get(kind)
        if lines is None:
            return None
        last = int(np.searchsorted(lines, load.started.to_datetime64(), side="right")) - 1
        return None if last < 0 else bool(lines[last] > before.to_datetime64())


def _reads(node_class: str | None, model: str | None) -> bool:
    """Whether a node of this class reads such a model, by its name."""
    return is_loader_class(node_class) and reads_kind(str(node_class), model)


@dataclass(frozen=True, slots=True)
class _Node:
    """What has to be known of a node that may have read a file."""

    node_id: str
    node_class: str | None
    started: pd.Timestamp
    ended: pd.Timestamp  # NaT: not told
    is_timed: bool


class _Nodes:
    """The nodes of each prompt."""

    def __init__(self, nodes: pd.DataFrame) -> None:
        self._ids, self._classes = (nodes[name].tolist() for name in ("node_id", "node_class"))
        self._started, self._ended = (nodes[name].to_numpy() for name in ("started", "ended"))
        self._is_timed = nodes["lasted_s"].notna().to_numpy()
        codes, ids = pd.factorize(nodes["prompt_id"])
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(len(ids) + 1))
        self._of = {str(name): order[edges[place] : edges[place + 1]] for place, name in enumerate(ids)}

    def of_prompt(self, prompt_id: str) -> list[_Node]:
        """In the order of their start; KeyError for a prompt without nodes."""
        return [self._node(place) for place in self._of[prompt_id].tolist()]

    def _node(self, place: int) -> _Node:
        name = self._classes[place]
        return _Node(
            str(self._ids[place]),
            None if pd.isna(name) else str(name),
            pd.Timestamp(self._started[place]),
            pd.Timestamp(self._ended[place]),
            bool(self._is_timed[place]),
        )
