"""What a gateway answered, as values. Nothing here raises, and what a server wrote is cut to bounds."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

from comfysoak_core.comfyui.json_text import MAX_TEXT, NotJsonError, bounded, decode, excerpt
from comfysoak_core.gateway.api import Pictures

MAX_PICTURES: Final = 1000
MAX_URL: Final = 8192
MAX_DETAIL: Final = 300
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Link:
    """A picture that lies at a URL: absolute, or a path on the gateway."""

    url: str


@dataclass(frozen=True, slots=True)
class Inline:
    """A picture that came with the answer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """An item of the list that holds no picture."""

    reason: str


Picture = Link | Inline | Broken


@dataclass(frozen=True, slots=True)
class Generated:
    """200 with a list, however long."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Any other answer: its status, the kind of error it names (`""`: none), and its own words."""

    status: int
    kind: str
    detail: str


def parse_generation(pictures: Pictures, status: int, body: bytes) -> Generated | Refusal:
    """The answer to a request for pictures."""
    if status != _OK:
        return _refusal(status, body)
    try:
        document = decode(body)
    except NotJsonError as error:
        return Refusal(status, "", f"200, but no JSON ({error}): {excerpt(body)}")
    listed = document.get("data") if pictures != "[].url" and isinstance(document, dict) else document
    if not isinstance(listed, list):
        return Refusal(status, "", f"200, but no list of pictures at {pictures}: {excerpt(body)}")
    return Generated(tuple(_picture(item) for item in listed[:MAX_PICTURES]))


def _picture(item: object) -> Picture:
    """One item of the list. Both forms are taken in every shape: what counts is that there is a picture."""
    if isinstance(item, dict):
        encoded, url = item.get("b64_json"), item.get("url")
        if isinstance(encoded, str):
            return _decoded(encoded)
        if isinstance(url, str) and url.endswith("/None"):
            return Broken("its url ends in /None: the gateway got no picture from ComfyUI")
        if isinstance(url, str) and url:
            return Link(url) if len(url) <= MAX_URL else Broken(f"a url of {len(url)} characters")
    return Broken(f"neither url nor b64_json in {excerpt(repr(item), 80)}")


def _decoded(encoded: str) -> Inline | Broken:
    text = encoded.partition(",")[2] if encoded.startswith("data:") else encoded
    try:
        return Inline(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return Broken("its base64 cannot be decoded")


def place_of(link: Link, gateway_url: str) -> str | None:
    """Where a picture is fetched from: an absolute http(s) URL; None when the link leads nowhere."""
    try:
        absolute = urljoin(f"{gateway_url}/", link.url)
        parts = urlsplit(absolute)
        (parts.hostname or "").encode("idna")  # a name that no resolver would take
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return absolute if usable and absolute.isprintable() and " " not in absolute and absolute.isascii() else None


def origin_of(url: str) -> str:
    """`scheme://host:port` of an absolute URL: credentials go no further than this."""
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port or default}"


def _refusal(status: int, body: bytes) -> Refusal:
    try:
        document = decode(body)
    except NotJsonError:
        return Refusal(status, "", excerpt(body, MAX_DETAIL))
    if isinstance(document, dict):
        error = document.get("error")
        if isinstance(error, dict):
            return Refusal(status, _text(error.get("type"), 100), _text(error.get("message"), MAX_DETAIL))
        return Refusal(status, "", _detail(document.get("detail", error)))
    return Refusal(status, "", excerpt(body, MAX_DETAIL))


def _detail(said: object) -> str:
    """FastAPI's `detail`: a text, or a list of what is wrong with the body."""
    if isinstance(said, list):
        return bounded("; ".join(_complaint(item) for item in said[:5]), MAX_DETAIL)
    return _text(said, MAX_DETAIL)


def _complaint(item: object) -> str:
    if not isinstance(item, dict):
        return excerpt(repr(item), 80)
    place = item.get("loc")
    where = ".".join(str(part) for part in place[:10]) if isinstance(place, list) else ""
    return f"{excerpt(where, 80)}: {_text(item.get('msg'), 100)}"


def _text(value: object, characters: int) -> str:
    return excerpt(bounded(value, MAX_TEXT), characters) if isinstance(value, str) else ""
