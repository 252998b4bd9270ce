"""Figures as rows say them."""

from __future__ import annotations

from comfysoak_core.comfyui.answers import Device, SystemStats
from comfysoak_core.comfyui.shape import GraphShape

_KIB = 1024
_MOST_NAMED = 3


def seconds(value: float) -> str:
    """`12 ms`, `3.42 s`, `214 s`."""
    if value < 0.001:
        return "under 1 ms"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def size(value: float) -> str:
    """`312 bytes`, `41.3 KiB`, `1.7 MiB`, `22.4 GiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(value) < _KIB:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= _KIB
    return f"{value:.1f} GiB"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 prompt`, `3 prompts`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def some(names: list[str], most: int = _MOST_NAMED) -> str:
    """The first few, and how many there are besides."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def node(shape: GraphShape, node_id: str | None, node_class: str | None = None) -> str:
    """`KSampler (node 3)`."""
    name = node_class or shape.classes.get(node_id or "")
    return f"{name} (node {node_id})" if name else f"node {node_id}"


def memory_free(before: SystemStats | None, after: SystemStats | None) -> str | None:
    """`23.5 GiB free before, 17.0 GiB after, of 24.0 GiB of cuda:0 NVIDIA L4`; None: the server does not say."""
    then, now = _main_device(before), _main_device(after)
    if then is None or now is None or then.vram_free_bytes is None or now.vram_free_bytes is None:
        return None
    place = "RAM, as it computes on the CPU" if now.type == "cpu" else now.name.partition(" : ")[0]
    total = f", of {size(now.vram_total_bytes)} of {place}" if now.vram_total_bytes is not None else f" of {place}"
    return f"{size(then.vram_free_bytes)} free before, {size(now.vram_free_bytes)} after{total}"


def _main_device(stats: SystemStats | None) -> Device | None:
    return stats.devices[0] if stats is not None and stats.devices else None
