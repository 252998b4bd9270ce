"""The kinds of outputs, told by the name of the file and by where the server lists it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class OutputKind(StrEnum):
    """What a scenario calls the kinds of what a server puts out."""

    IMAGES = "images"
    ANIMATIONS = "animations"  # several pictures in one file of a picture format
    VIDEO = "video"
    AUDIO = "audio"
    LATENTS = "latents"
    TEXT = "text"
    MODELS_3D = "3d"
    OTHER = "other"


PICTURES: Final = frozenset(
    {"png", "apng", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "exr", "hdr", "svg"}
)
_BY_EXTENSION: Final = {
    **dict.fromkeys(PICTURES, OutputKind.IMAGES),
    **dict.fromkeys(("gif", "apng"), OutputKind.ANIMATIONS),
    **dict.fromkeys(("mp4", "m4v", "mov", "webm", "mkv", "avi", "ogv", "mpg", "mpeg"), OutputKind.VIDEO),
    **dict.fromkeys(("flac", "mp3", "wav", "ogg", "oga", "opus", "m4a", "aac"), OutputKind.AUDIO),
    **dict.fromkeys(("latent", "safetensors"), OutputKind.LATENTS),
    **dict.fromkeys(("txt", "json", "csv", "md", "srt", "vtt", "html", "xml", "yaml"), OutputKind.TEXT),
    **dict.fromkeys(
        ("glb", "gltf", "obj", "ply", "stl", "fbx", "usdz", "splat", "ksplat", "spz"), OutputKind.MODELS_3D
    ),
}
# The keys of a node's output under which servers list files.
_BY_KEY: Final = {
    "images": OutputKind.IMAGES,
    "gifs": OutputKind.ANIMATIONS,
    "video": OutputKind.VIDEO,
    "videos": OutputKind.VIDEO,
    "audio": OutputKind.AUDIO,
    "latents": OutputKind.LATENTS,
    "text": OutputKind.TEXT,
    "3d": OutputKind.MODELS_3D,
}


def extension_of(filename: str) -> str:
    """What stands after the last dot, in lower case; empty where there is none."""
    return filename.rpartition(".")[2].lower() if "." in filename else ""


def kind_of(filename: str, key: str, *, animated: bool = False) -> OutputKind:
    """The kind of a file listed under `key`, which is asked only where the name says nothing.

    Servers list films under "images", with `animated` beside them, as they do with pictures that move.
    """
    kind = _BY_EXTENSION.get(extension_of(filename)) or _BY_KEY.get(key, OutputKind.OTHER)
    return OutputKind.ANIMATIONS if animated and kind is OutputKind.IMAGES else kind
