"""Is this file what was asked for? A 200 is not a picture, nor a sound, nor a film.

What a file should be is known from its name and from what the workflow says; where neither says anything, nothing is
claimed. Any bytes get a verdict, in bounded time and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from comfysoak_core.outputs import flac, glb, mp3, mp4, ogg, safetensors, wav, webm
from comfysoak_core.outputs.expected import ANYTHING, Expected
from comfysoak_core.outputs.kinds import extension_of
from comfysoak_core.outputs.media import BrokenError, Media
from comfysoak_core.outputs.pictures import FORMATS, Run, at_once, problem_of_picture

_MEDIA: Final[Mapping[str, Callable[[bytes], Media]]] = {
    **dict.fromkeys(("mp4", "m4v", "mov", "m4a"), mp4.read),
    **dict.fromkeys(("webm", "mkv"), webm.read),
    **dict.fromkeys(("ogg", "oga", "opus", "ogv"), ogg.read),
    "flac": flac.read,
    "mp3": mp3.read,
    "wav": wav.read,
}
_TEXTS: Final = frozenset({"txt", "json", "csv", "md", "srt", "vtt", "yaml", "html", "htm", "xml", "svg"})
_LONGEST_TEXT: Final = 4 * 1024 * 1024  # bytes of a text that are looked at
_CELLS: Final = (4, 8, 16, 32)  # pixels a cell of a latent may stand for, in each direction
_SECONDS_OFF: Final = 0.25  # encoders pad sounds to whole frames, and add silence before


def problem_of(filename: str, data: bytes, expected: Expected = ANYTHING, run: Run = at_once) -> str | None:
    """Why `data` is not what a file of this name should be; None when it is.

    `run` does what takes memory or time: it is told how many pixels will be held.
    """
    if not data:
        return "empty file"
    extension = extension_of(filename)
    if extension not in _TEXTS and _is_page(data):
        return f"a web page under the name of {extension.upper() or 'a file'}"
    if extension in FORMATS:
        return problem_of_picture(extension, data, expected, run)
    reader = _MEDIA.get(extension)
    if reader is not None:
        return run(0, lambda: _wrong_media(reader, data, expected))
    if extension in ("latent", "safetensors"):
        return run(0, lambda: _wrong_latents(data, expected))
    if extension == "glb":
        return _wrong_model(data)
    return _wrong_text(data) if extension in _TEXTS else None


def problem_of_text(text: str) -> str | None:
    """Why a text that a node shows is not what was asked for."""
    return None if text.strip() else "empty text"


def _is_page(data: bytes) -> bool:
    """What a proxy answers in the place of a file, with a status that says all is well."""
    return data[:256].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _wrong_media(reader: Callable[[bytes], Media], data: bytes, expected: Expected) -> str | None:
    try:
        media = reader(data)
    except BrokenError as error:
        return str(error)
    if expected.noise and media.silent:
        return "nothing but silence"
    if media.width is not None and media.height is not None:
        wrong = expected.wrong_size(media.width, media.height)
        if wrong is not None:
            return wrong
    if None not in (media.frames, expected.frames) and media.frames != expected.frames:
        return f"{media.frames} frames instead of {expected.frames}"
    if media.seconds is not None and expected.seconds is not None:
        off_s = abs(media.seconds - expected.seconds)
        if off_s > _SECONDS_OFF + 0.01 * expected.seconds:
            return f"{media.seconds:.2f} s instead of {expected.seconds:.2f} s"
    return None


def _wrong_latents(data: bytes, expected: Expected) -> str | None:
    try:
        tensors = safetensors.read(data)
    except BrokenError as error:
        return str(error)
    latent = next((tensor for tensor in tensors if tensor.name == safetensors.LATENT), None)
    if latent is None:
        return None if tensors else "no tensor in it"
    if expected.noise and safetensors.is_all_zero(data, latent):
        return "a latent of nothing but zeros"
    return _wrong_shape(latent.shape, expected)


def _wrong_shape(shape: tuple[int, ...], expected: Expected) -> str | None:
    """Latents are batch x channels x (frames x) height x width; how many pixels a cell is, is up to the model."""
    said = "x".join(str(side) for side in shape)
    if 0 in shape or not shape:
        return f"a latent of shape {said or '()'}, with nothing in it"
    if expected.batch is not None and shape[0] != expected.batch:
        return f"a latent of shape {said}: {shape[0]} in a batch instead of {expected.batch}"
    if expected.width is None or expected.height is None or len(shape) < 4:
        return None
    fits = any((expected.height // cell, expected.width // cell) == shape[-2:] for cell in _CELLS)
    return None if fits else f"a latent of shape {said}, which is none of {expected.width}x{expected.height} pixels"


def _wrong_model(data: bytes) -> str | None:
    try:
        glb.check(data)
    except BrokenError as error:
        return str(error)
    return None


def _wrong_text(data: bytes) -> str | None:
    part = data[:_LONGEST_TEXT]
    try:
        text = part.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(part) == len(data) or error.start < len(part) - 4:
            return "not UTF-8"
        return None
    return problem_of_text(text)
