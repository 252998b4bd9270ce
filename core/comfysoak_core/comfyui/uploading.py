"""Uploads of input pictures as bytes: the form that POST /upload/image takes, its answer, and content that is new."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from zlib import crc32

from comfysoak_core.comfyui.answers import Damaged
from comfysoak_core.comfyui.json_text import document_or_none, excerpt, text_or_none

_OK: Final = 200
_PNG_END: Final = b"IEND"
_JPEG_START: Final = b"\xff\xd8"
_JPEG_COMMENT: Final = b"\xff\xfe"


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form, ready to be sent."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Where the server has put a picture."""

    name: str
    subfolder: str

    @property
    def value(self) -> str:
        """What the input of LoadImage takes."""
        return f"{self.subfolder}/{self.name}" if self.subfolder else self.name


def form(filename: str, content: bytes, fields: Mapping[str, str]) -> Form:
    """The body that uploads `content` under this name; `fields`: `type`, `subfolder`, `overwrite`."""
    boundary = b"comfysoak" + blake2b(content, digest_size=16).hexdigest().encode()
    kind = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    parts = [_part(f'name="{name}"', value.encode()) for name, value in fields.items()]
    parts.append(_part(f'name="image"; filename="{_quoted(filename)}"\r\nContent-Type: {kind}', content))
    lines = b"".join(b"--" + boundary + b"\r\n" + part for part in parts)
    return Form(f"multipart/form-data; boundary={boundary.decode()}", lines + b"--" + boundary + b"--\r\n")


def _part(head: str, content: bytes) -> bytes:
    return b"Content-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def _quoted(filename: str) -> str:
    """As browsers write a name into a form."""
    return filename.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def parse_upload(status: int, body: bytes) -> Uploaded | Damaged:
    """The answer to POST /upload/image. The name may be another than the one asked for: `in (1).png`."""
    document = document_or_none(body)
    name = text_or_none(document.get("name")) if isinstance(document, dict) else None
    if status != _OK or not isinstance(document, dict) or not name:
        return Damaged(status, "expected 200 with the name of the file", excerpt(body))
    return Uploaded(name, text_or_none(document.get("subfolder")) or "")


def made_new(content: bytes, mark: str) -> bytes:
    """The same picture as other bytes, by a comment in it: a server that has seen it has not seen this one.

    PNG and JPEG have a place for it; of other formats readers take no notice of what comes after the end.
    """
    comment = mark.encode("ascii")
    if content.startswith(b"\x89PNG") and content[-8:-4] == _PNG_END:
        data = b"tEXt" + b"Comment\0" + comment
        chunk = (len(data) - 4).to_bytes(4, "big") + data + crc32(data).to_bytes(4, "big")
        return content[:-12] + chunk + content[-12:]
    if content.startswith(_JPEG_START):
        return _JPEG_START + _JPEG_COMMENT + (len(comment) + 2).to_bytes(2, "big") + comment + content[2:]
    return content + comment
