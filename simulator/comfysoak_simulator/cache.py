"""Results that need not be worked out again, as ComfyUI keeps them: by what a node does, never by its id."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from comfysoak_core.scenario.embedded import CacheKind
from comfysoak_simulator.graph import Graph, is_link
from comfysoak_simulator.values import Value

Json = Any
Signature = bytes
_SIZE = 16


@dataclass(frozen=True, slots=True)
class Result:
    """What a node gave: its outputs and what it shows to the user (None: nothing)."""

    outputs: tuple[Value, ...]
    ui: dict[str, Json] | None


class Signatures:
    """What each node of one graph does, as a digest of its class, its values and those of all it depends on.

    `changed` tells what else a node depends on (the bytes of a file); a value never seen before keeps it from
    ever being cached. An input that the class does not declare makes another node of it for the cache, though its
    work is the same: with `only_declared`, the digest is that of the work.
    """

    def __init__(
        self, graph: Graph, changed: Callable[[str, dict[str, Json]], bytes], *, only_declared: bool = False
    ) -> None:
        self._graph = graph
        self._only_declared = only_declared
        self._changed = changed
        self._known: dict[str, Signature] = {}

    def of(self, node_id: str) -> Signature:
        """The digest of a node; KeyError for a node that is not in the graph."""
        known = self._known.get(node_id)
        if known is None:
            self._known[node_id] = b"cycle"  # what a node that depends on itself sees of itself
            known = self._known[node_id] = self._worked_out(node_id)
        return known

    def _worked_out(self, node_id: str) -> Signature:
        node = self._graph.nodes[node_id]
        parts: list[Json] = [node.node_class.name, node_id if node.node_class.knows_its_id else ""]
        for name in sorted(node.inputs):
            if self._only_declared and name not in node.node_class.inputs:
                continue
            value = node.inputs[name]
            if is_link(value):
                source = value[0]
                parts.append((name, self.of(source).hex() if source in self._graph.nodes else "", value[1]))
            else:
                parts.append((name, value))
        digest = blake2b(orjson.dumps(parts, default=repr, option=orjson.OPT_NON_STR_KEYS), digest_size=_SIZE)
        digest.update(self._changed(node.node_class.name, node.inputs))
        return digest.digest()


class Cache:
    """Results by signature; `kind` decides how long they stay.

    classic: those of the last prompt's nodes. lru: the last `lru_size` used. none: within one prompt only. The
    default of 0.33 drops by free memory and in effect keeps what classic keeps.
    """

    def __init__(self, kind: CacheKind, lru_size: int) -> None:
        self._kind = kind
        self._lru_size = lru_size
        self._results: OrderedDict[Signature, Result] = OrderedDict()

    def begin(self, signatures: Collection[Signature]) -> None:
        """A prompt with these nodes is about to run."""
        if self._kind == "none":
            self._results.clear()
        elif self._kind == "lru":
            for signature in signatures:
                if signature in self._results:
                    self._results.move_to_end(signature)
            while len(self._results) > self._lru_size:
                self._results.popitem(last=False)
        else:
            kept = set(signatures)
            for signature in [known for known in self._results if known not in kept]:
                del self._results[signature]

    def get(self, signature: Signature) -> Result | None:
        """The result of this signature; None when there is none."""
        return self._results.get(signature)

    def put(self, signature: Signature, result: Result) -> None:
        """Keep a result."""
        self._results[signature] = result

    def clear(self) -> None:
        """Forget all, as POST /free with free_memory does."""
        self._results.clear()
