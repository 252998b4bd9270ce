"""What a server sends to its sockets: one message, to one client or to all."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, NamedTuple

import orjson

Json = Any


class Binary(IntEnum):
    """Event types of binary frames."""

    IMAGE = 1
    TEXT = 3
    IMAGE_WITH_METADATA = 4


class ImageFormat(IntEnum):
    """Formats of an image frame of type 1."""

    JPEG = 1
    PNG = 2


class Message(NamedTuple):
    """`event` with its data: an object for text frames, what follows the event type for binary ones.

    `to` is a client id; None is every socket.
    """

    event: str | Binary
    data: Json
    to: str | None

    def encoded(self) -> bytes:
        """The payload of the frame."""
        if isinstance(self.event, str):
            return orjson.dumps({"type": self.event, "data": self.data}, default=repr)
        return struct.pack(">I", self.event) + bytes(self.data)

    @property
    def is_text(self) -> bool:
        """Whether it is a text frame."""
        return isinstance(self.event, str)


def image(kind: ImageFormat, file: bytes) -> bytes:
    """The data of a frame of type 1."""
    return struct.pack(">I", kind) + file


def image_with_metadata(metadata: dict[str, Json], file: bytes) -> bytes:
    """The data of a frame of type 4."""
    encoded = orjson.dumps(metadata)
    return struct.pack(">I", len(encoded)) + encoded + file


def progress_text(node_id: str, text: str) -> bytes:
    """The data of a frame of type 3."""
    encoded = node_id.encode()
    return struct.pack(">I", len(encoded)) + encoded + text.encode()
