"""The golden canary of a plan: one fixed graph, sent to each server at intervals, whose pictures must stay the same."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from comfysoak_core.scenario.frozen import Frozen

# Needs no model: an edge blurred by padding and enlarged, so that there is something in it to differ.
BUILT_IN: Final[dict[str, Any]] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 40, "height": 40, "batch_size": 1, "color": 0xE08020}},
    "2": {"class_type": "EmptyImage", "inputs": {"width": 24, "height": 24, "batch_size": 1, "color": 0x2060C0}},
    "3": {
        "class_type": "ImageCompositeMasked",
        "inputs": {"destination": ["1", 0], "source": ["2", 0], "x": 9, "y": 5, "resize_source": False},
    },
    "4": {
        "class_type": "ImageScale",
        "inputs": {"image": ["3", 0], "width": 256, "height": 256, "upscale_method": "bicubic", "crop": "disabled"},
    },
    "5": {"class_type": "ImageInvert", "inputs": {"image": ["4", 0]}},
    "6": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
}
BUILT_IN_NAME: Final = "built-in"


class KnownPicture(Frozen):
    """A picture of an earlier time to compare with: `png` is its file in base64.

    `server` is the folder name of the server it is of, `place` says which of its pictures; None: any.
    """

    server: str | None = None
    place: str | None = None
    png: str


class Canary(Frozen):
    """A picture is corrupt when more than the share `differing` of its pixels is off by more than `tolerance` steps."""

    name: str = BUILT_IN_NAME
    graph: dict[str, Any] = BUILT_IN
    every_s: float = 300.0
    deadline_s: float = 300.0
    tolerance: int = 2
    differing: float = 0.0
    baseline: tuple[KnownPicture, ...] = ()


def folder_of(server: str) -> str:
    """The name of the folder in which the pictures of a server are kept: `gpu-1-8188` for `http://gpu-1:8188`."""
    parts = urlsplit(server)
    return re.sub(r"[^A-Za-z0-9.]+", "-", parts.netloc.rpartition("@")[2] + parts.path).strip("-.") or "server"
