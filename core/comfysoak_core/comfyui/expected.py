"""What a graph will put out, told from the graph alone; None where it cannot be told.

Sizes are followed from the node that makes an empty latent, picture or sound through the stock nodes in between. A
class that is not known here makes everything after it unknown, never wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from comfysoak_core.comfyui.shape import Graph, GraphShape, is_link, upstream
from comfysoak_core.outputs.expected import ANYTHING, Expected

_LATENT: Final = 8  # pixels a latent cell stands for, in each direction
_LARGEST_CELL: Final = 32  # of any VAE
_MAX_DEPTH: Final = 200


@dataclass(frozen=True, slots=True)
class ExpectedFiles:
    """What one node puts out: how many files (None: cannot be told), and what each of them must be.

    `by_socket`: they come as messages, and history knows nothing of them.
    """

    count: int | None = None
    each: Expected = ANYTHING
    by_socket: bool = False


UNKNOWN: Final = ExpectedFiles()


def expected_outputs(graph: Graph) -> dict[str, ExpectedFiles]:
    """Output node id -> what it will put out, for the stock nodes that save or show files."""
    return _put_out(_Walk(graph), graph)


def files_expected(expected: Mapping[str, ExpectedFiles]) -> int | None:
    """How many files all output nodes give together; None if one cannot tell."""
    counts = [files.count for files in expected.values()]
    return None if not counts or None in counts else sum(count for count in counts if count is not None)


def sampled_outputs(graph: Graph) -> frozenset[str]:
    """The nodes that put out what a sampler made: a picture of a single colour there is a failure, not a choice."""
    samplers = {node_id for node_id, node in graph.items() if "sampler_name" in node["inputs"]}
    return frozenset(node for node in GraphShape.of(graph).outputs if samplers & upstream(graph, frozenset({node})))


def size_inputs(graph: Graph) -> frozenset[tuple[str, str]]:
    """The (node id, input) pairs that the expectation of this graph rests on: vary one, and it changes."""
    walk = _Walk(graph)
    _put_out(walk, graph)
    return frozenset(walk.read)


Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """What flows along a link: so many pictures or latents of one size, or sounds of one length; None: cannot be told.

    Of latents, `width` and `height` are those of the pictures they stand for.
    """

    count: int | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None


_NO_BATCH: Final = Batch()


class _Walk:
    """One look at a graph; remembers the inputs it has read."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._ids = {id(node): node_id for node_id, node in graph.items()}
        self._depth = 0
        self.read: set[tuple[str, str]] = set()

    def linked(self, node: Node, name: str) -> Batch:
        """What comes in at input `name`."""
        value = self._value(node, name)
        source = self._graph.get(value[0]) if is_link(value) else None
        rule = _RULES.get(source["class_type"]) if source is not None else None
        if source is None or rule is None or self._depth >= _MAX_DEPTH:
            return _NO_BATCH
        self._depth += 1
        try:
            return rule(self, source)
        finally:
            self._depth -= 1

    def whole(self, node: Node, name: str) -> int | None:
        """The whole number at input `name`, also through a node that holds nothing else."""
        number = self.number(node, name)
        return None if number is None else int(number)

    def number(self, node: Node, name: str) -> float | None:
        """The number at input `name`, also through a node that holds nothing else."""
        value = self._value(node, name)
        if is_link(value):
            source = self._graph.get(value[0])
            if source is None or source["class_type"] not in _NUMBER_NODES:
                return None
            value = self._value(source, "value")
        return value if type(value) in {int, float} else None

    def _value(self, node: Node, name: str) -> Any:
        self.read.add((self._ids[id(node)], name))
        return node["inputs"].get(name)


_NUMBER_NODES: Final = frozenset({"PrimitiveInt", "PrimitiveFloat"})


def _empty(cell: int) -> Callable[[_Walk, Node], Batch]:
    def rule(walk: _Walk, node: Node) -> Batch:
        width, height = walk.whole(node, "width"), walk.whole(node, "height")
        return Batch(walk.whole(node, "batch_size"), _floored(width, cell), _floored(height, cell))

    return rule


def _floored(pixels: int | None, cell: int) -> int | None:
    return None if pixels is None or pixels <= 0 else pixels // cell * cell


def _same(name: str) -> Callable[[_Walk, Node], Batch]:
    return lambda walk, node: walk.linked(node, name)


def _encoded(walk: _Walk, node: Node) -> Batch:
    """A VAE cuts off what fills no whole cell, and how large its cells are is not known here."""
    source = walk.linked(node, "pixels")
    if (source.width or 0) % _LARGEST_CELL == 0 and (source.height or 0) % _LARGEST_CELL == 0:
        return source
    return replace(source, width=None, height=None)


def _scaled(walk: _Walk, node: Node) -> Batch:
    """Width and height given; a zero keeps the proportions, two zeros keep the size."""
    source = walk.linked(node, "image")
    width, height = walk.whole(node, "width"), walk.whole(node, "height")
    if width is None or height is None:
        return replace(source, width=None, height=None)
    if width == 0 and height == 0:
        return source
    if source.width and source.height:
        width = width or max(1, round(source.width * height / source.height))
        height = height or max(1, round(source.height * width / source.width))
    return replace(source, width=width or None, height=height or None)


def _scaled_latent(walk: _Walk, node: Node) -> Batch:
    source = walk.linked(node, "samples")
    width, height = walk.whole(node, "width"), walk.whole(node, "height")
    if not width or not height:  # a zero has rules of its own there
        return replace(source, width=None, height=None)
    return replace(source, width=_floored(max(width, 64), _LATENT), height=_floored(max(height, 64), _LATENT))


def _scaled_by(walk: _Walk, node: Node) -> Batch:
    source, factor = walk.linked(node, "image"), walk.number(node, "scale_by")
    if factor is None or source.width is None or source.height is None:
        return replace(source, width=None, height=None)
    return replace(source, width=round(source.width * factor), height=round(source.height * factor))


def _repeated(name: str) -> Callable[[_Walk, Node], Batch]:
    def rule(walk: _Walk, node: Node) -> Batch:
        source, amount = walk.linked(node, name), walk.whole(node, "amount")
        count = None if source.count is None or amount is None else source.count * amount
        return replace(source, count=count)

    return rule


def _together(walk: _Walk, node: Node) -> Batch:
    """Two batches in one, of the size of the first."""
    first, second = walk.linked(node, "image1"), walk.linked(node, "image2")
    count = None if first.count is None or second.count is None else first.count + second.count
    return replace(first, count=count)


def _empty_audio(walk: _Walk, node: Node) -> Batch:
    return Batch(1, seconds=walk.number(node, "duration"))


def _empty_latent_audio(walk: _Walk, node: Node) -> Batch:
    """Latents stand for 2,048 samples at 44.1 kHz each, and are even in number."""
    seconds = walk.number(node, "seconds")
    whole = None if seconds is None else round(seconds * 44_100 / 2048 / 2) * 2 * 2048 / 44_100
    return Batch(walk.whole(node, "batch_size"), seconds=whole)


_RULES: Final[Mapping[str, Callable[[_Walk, Node], Batch]]] = {
    "EmptyImage": _empty(1),
    "EmptyLatentImage": _empty(_LATENT),
    "EmptySD3LatentImage": _empty(_LATENT),
    "KSampler": _same("latent_image"),
    "KSamplerAdvanced": _same("latent_image"),
    "SamplerCustom": _same("latent_image"),
    "SamplerCustomAdvanced": _same("latent_image"),
    "VAEDecode": _same("samples"),
    "VAEDecodeTiled": _same("samples"),
    "VAEEncode": _encoded,
    "ImageInvert": _same("image"),
    "ImageBlur": _same("image"),
    "ImageSharpen": _same("image"),
    "ImageQuantize": _same("image"),
    "ImageScale": _scaled,
    "LatentUpscale": _scaled_latent,
    "ImageScaleBy": _scaled_by,
    "RepeatImageBatch": _repeated("image"),
    "RepeatLatentBatch": _repeated("samples"),
    "ImageBatch": _together,
    "EmptyAudio": _empty_audio,
    "EmptyLatentAudio": _empty_latent_audio,
    "VAEDecodeAudio": _same("samples"),
    "CreateVideo": _same("images"),  # its batch are its pictures
}


def _put_out(walk: _Walk, graph: Graph) -> dict[str, ExpectedFiles]:
    return {
        node_id: _SAVERS[node["class_type"]](walk, node)
        for node_id, node in graph.items()
        if node["class_type"] in _SAVERS
    }


def _pictures(walk: _Walk, node: Node) -> ExpectedFiles:
    batch = walk.linked(node, "images")
    return ExpectedFiles(batch.count, Expected(batch.width, batch.height))


def _socket_pictures(walk: _Walk, node: Node) -> ExpectedFiles:
    return replace(_pictures(walk, node), by_socket=True)


def _animation(walk: _Walk, node: Node) -> ExpectedFiles:
    batch, fps = walk.linked(node, "images"), walk.number(node, "fps")
    frame_ms = int(1000.0 / fps) if fps else None  # as the savers round it
    return ExpectedFiles(1, Expected(batch.width, batch.height, batch.count, frame_ms))


def _film(name: str) -> Callable[[_Walk, Node], ExpectedFiles]:
    """One file, however many pictures it has."""

    def rule(walk: _Walk, node: Node) -> ExpectedFiles:
        batch = walk.linked(node, name)
        return ExpectedFiles(1, Expected(batch.width, batch.height, batch.count))

    return rule


def _sounds(walk: _Walk, node: Node) -> ExpectedFiles:
    batch = walk.linked(node, "audio")
    return ExpectedFiles(batch.count, Expected(seconds=batch.seconds))


def _latents(walk: _Walk, node: Node) -> ExpectedFiles:
    batch = walk.linked(node, "samples")
    return ExpectedFiles(1, Expected(batch.width, batch.height, batch=batch.count))


_SAVERS: Final[Mapping[str, Callable[[_Walk, Node], ExpectedFiles]]] = {
    **dict.fromkeys(("SaveImage", "PreviewImage", "SaveImageAdvanced"), _pictures),
    **dict.fromkeys(("SaveAnimatedWEBP", "SaveAnimatedPNG"), _animation),
    **dict.fromkeys(("SaveAudio", "SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced", "PreviewAudio"), _sounds),
    "SaveImageWebsocket": _socket_pictures,
    "SaveWEBM": _film("images"),
    "SaveVideo": _film("video"),
    "SaveLatent": _latents,
}
