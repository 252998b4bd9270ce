"""The pictures of one prompt that come as messages: those that SaveImageWebsocket sends."""

from __future__ import annotations

from typing import Final

MAX_BYTES: Final = 256 * 1024 * 1024  # of one prompt


class HeardPictures:
    """By node, as they came, up to a bound."""

    __slots__ = ("_bytes", "by_node")

    def __init__(self) -> None:
        self.by_node: dict[str, list[bytes]] = {}
        self._bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether one more would be kept; if not, some may have been left out."""
        return self._bytes < MAX_BYTES

    def keep(self, node_id: str, picture: bytes) -> None:
        """A picture of this node has come."""
        kept = self.by_node.setdefault(node_id, [])
        if self.has_room:
            kept.append(picture)
            self._bytes += len(picture)
