"""Graphs that must fail, made of stock nodes, and one that does little: each harmless, and known by its mark. Pure.

The mark stands in an input that no class declares: servers accept such a one, and it keeps the cache away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, Final

from comfysoak.check.fault_proxy.faults import Rewrite
from comfysoak.check.parts.gateway.wishes import range_in

Described = Callable[[str], Mapping[str, Any] | None]  # a class as /object_info has it; None: the server lacks it
INPUT: Final = "comfysoak_check"
UNKNOWN_CLASS: Final = "ComfySoakNodeThatNobodyHas"
RAISES, TELLS, VIDEO, EMPTY, PREVIEW = (
    "RegexReplace",
    "PreviewAny",
    "EmptyHunyuanLatentVideo",
    "EmptyImage",
    "PreviewImage",
)
# More than any process can address (128 TiB on x86-64 and Windows, 256 TiB on ARM), so that no setting of the kernel
# makes of the request an allocation: where overcommitting is allowed, what merely exceeds the memory would be granted.
ADDRESSES_BYTES: Final = 2**49
_NUMBER_BYTES: Final = 2  # of the smallest type that latents come in


def little(mark: str) -> dict[str, Any]:
    """A small picture in the temp folder, which the server empties when it starts."""
    side = {"width": 64, "height": 64, "batch_size": 1, "color": 0x336699, INPUT: mark}
    return {
        "1": {"class_type": EMPTY, "inputs": side},
        "2": {"class_type": PREVIEW, "inputs": {"images": ["1", 0], INPUT: mark}},
    }


def broken(mark: str) -> dict[str, Any]:
    """An output node that lacks the pictures it puts out. It has `inputs`: without, old servers' workers die of it."""
    return {"1": {"class_type": PREVIEW, "inputs": {INPUT: mark}}}


def unknown(mark: str) -> dict[str, Any]:
    """A class that no server has."""
    return {"1": {"class_type": UNKNOWN_CLASS, "inputs": {INPUT: mark}}}


def raising(mark: str) -> dict[str, Any]:
    """A pattern that is none: the node raises when it runs, and nothing else does."""
    inputs = {"string": "x", "regex_pattern": "(", "replace": "", INPUT: mark}
    return {
        "1": {"class_type": RAISES, "inputs": inputs},
        "2": {"class_type": TELLS, "inputs": {"source": ["1", 0], INPUT: mark}},
    }


def small(described: Described) -> bool:
    """Whether the server has the classes of `little`."""
    return all(described(name) is not None for name in (EMPTY, PREVIEW))


def raising_or_why(described: Described) -> Rewrite | str:
    """The graph that raises; in words, why there is none for this server."""
    missing = [name for name in (RAISES, TELLS) if described(name) is None]
    return (
        f"the server lacks {' and '.join(missing)}: no other stock node is known to raise harmlessly"
        if missing
        else raising
    )


def too_large_or_why(described: Described, memory_bytes: int) -> Rewrite | str:
    """A graph that asks at once for more than can be addressed; in words, why there is none.

    `memory_bytes`: of the machine and its devices, together. The size is worked out from the limits that the server
    declares: one that could really be allocated is never sent.
    """
    described_video = described(VIDEO)
    if described_video is None or described(TELLS) is None:
        return f"the server lacks {VIDEO if described_video is None else TELLS}"
    if not str(described_video.get("python_module", "")).startswith(("nodes", "comfy_extras.")):
        return f"its {VIDEO} is not the stock one, so what it would do is not known"
    most = {name: range_in(described_video, name)[1] for name in ("width", "height", "length", "batch_size")}
    limits = {name: int(value) for name, value in most.items() if value is not None}
    if len(limits) < len(most):
        return f"its {VIDEO} declares no limits, so what it would ask for is not known"
    wanted = latent_bytes(**limits)
    if wanted < max(ADDRESSES_BYTES, 100 * memory_bytes):
        return f"its {VIDEO} takes at most {wanted / 2**40:.1f} TiB: that could perhaps be allocated, so it is not sent"

    def too_large(mark: str) -> dict[str, Any]:
        return {
            "1": {"class_type": VIDEO, "inputs": {**limits, INPUT: mark}},
            "2": {"class_type": TELLS, "inputs": {"source": ["1", 0], INPUT: mark}},
        }

    return too_large


def latent_bytes(width: int, height: int, length: int, batch_size: int) -> int:
    """What EmptyHunyuanLatentVideo allocates, in one piece: 16 channels, a frame in four, a pixel in 8 x 8."""
    return prod((batch_size, 16, (length - 1) // 4 + 1, height // 8, width // 8, _NUMBER_BYTES))
