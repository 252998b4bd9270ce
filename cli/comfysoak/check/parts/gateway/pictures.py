"""The pictures a gateway has made: fetched with the token, looked at, and tried without it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from urllib.parse import urlsplit

from comfysoak.check.parts.gateway.behind import Behind
from comfysoak.check.parts.gateway.door import PICTURE_BYTES, TIMEOUT_S, Door, Silence, Who, asked, said
from comfysoak_core.comfyui.json_text import document_or_none
from comfysoak_core.comfyui.transport import Answer, Transport
from comfysoak_core.gateway.answers import Broken, Inline, Picture, origin_of, place_of
from comfysoak_core.gateway.traces import Trace
from comfysoak_core.outputs.check import problem_of

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fetched:
    """One picture. `problem`: why it is none; `size` in pixels, where it can be read."""

    place: str  # its URL; empty: it came with the answer
    data: bytes = b""
    size: Size | None = None
    kind: str = ""
    problem: str | None = None


def fetched(door: Door, picture: Picture) -> Fetched:
    """The picture, wherever it lies; the token goes to the gateway's own address only."""
    if isinstance(picture, Broken):
        return Fetched("", problem=picture.reason)
    if isinstance(picture, Inline):
        return _looked_at("", picture.data, "")
    place = place_of(picture, door.url)
    if place is None:
        return Fetched(picture.url, problem="its url leads nowhere")
    answer = fetch(door, place, Who.USER)
    if not isinstance(answer, Answer) or answer.status != 200:
        return Fetched(place, problem=said(answer))
    return _looked_at(place, answer.body, answer.content_type)


def fetch(door: Door, place: str, who: Who) -> Answer | Silence:
    """GET a URL; a token of this gateway is sent nowhere else."""
    token = door.token(who) if is_at_gateway(door, place) else None
    parts = urlsplit(place)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    transport = Transport(origin_of(place), timeout_s=TIMEOUT_S, headers=door.access.api.headers(token))
    try:
        return asked(lambda: transport.request("GET", path, max_bytes=PICTURE_BYTES))
    finally:
        transport.close()


def is_at_gateway(door: Door, place: str) -> bool:
    """Whether a URL is on the gateway's own address."""
    return origin_of(place) == origin_of(door.url)


def made_by_comfyui(behind: Behind, trace: Trace) -> Size | None:
    """The size of the first picture that ComfyUI made for it."""
    files = trace.entry.files if trace.entry is not None else ()
    file = next((one for one in files if one.kind == "images"), None)
    data = behind.picture(file) if file is not None else None
    return None if data is None else _size_and_kind(data)[0]


def ids_of(body: bytes) -> tuple[str, ...]:
    """The ids an answer gives its pictures, where it gives any."""
    document = document_or_none(body)
    items = document if isinstance(document, list) else []
    ids = (item.get("id") for item in items if isinstance(item, dict))
    return tuple(one for one in ids if isinstance(one, str) and one.replace("-", "").isalnum())


def _looked_at(place: str, data: bytes, content_type: str) -> Fetched:
    size, kind = _size_and_kind(data)
    extension = kind.lower() or content_type.partition(";")[0].partition("/")[2] or "png"
    return Fetched(place, data, size, kind, problem_of(f"picture.{extension}", data))


def _size_and_kind(data: bytes) -> tuple[Size | None, str]:
    from PIL import Image

    from comfysoak_core.outputs.pictures import BROKEN

    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size, image.format or ""
    except BROKEN:
        return None, ""
