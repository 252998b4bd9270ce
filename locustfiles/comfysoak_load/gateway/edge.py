"""HTTP to a gateway, and to where its pictures lie: the token goes to the gateway's own origin and nowhere else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from comfysoak_core.gateway.answers import origin_of
from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.edge.http_answers import Answer
from comfysoak_load.edge.http_edge import HttpEdge

FETCH_DEADLINE_S = 60.0
HEALTH_DEADLINE_S = 5.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024  # with all its pictures in it
MAX_PICTURE_BYTES = 64 * 1024 * 1024
ORIGINS_MOST = 8  # of pictures that lie elsewhere; the one used longest ago goes first


@dataclass(slots=True)
class _Elsewhere:
    edge: HttpEdge
    in_use: int = 0  # pictures that are under way from there


class GatewayEdge:
    """The gateway at `url`, for all users of this process; `headers` carry the token."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._origin = origin_of(url)
        self._base_path = urlsplit(url).path.rstrip("/")
        self._own = HttpEdge(self._origin, headers=headers)
        self._elsewhere: OrderedDict[str, _Elsewhere] = OrderedDict()

    def generate(self, path: str, body: bytes, deadline_s: float) -> Answer | Failure:
        """POST a request for pictures."""
        return self._own.post(f"{self._base_path}{path}", body, deadline_s=deadline_s, max_bytes=MAX_ANSWER_BYTES)

    def health(self, path: str) -> Answer | Failure:
        """GET the route that says whether the gateway is well."""
        return self._own.get(f"{self._base_path}{path}", deadline_s=HEALTH_DEADLINE_S)

    def picture(self, url: str) -> Answer | Failure:
        """GET a picture at an absolute URL."""
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        origin = origin_of(url)
        if origin == self._origin:
            return self._own.get(path, deadline_s=FETCH_DEADLINE_S, max_bytes=MAX_PICTURE_BYTES)
        place = self._place(origin)
        place.in_use += 1
        try:
            return place.edge.get(path, deadline_s=FETCH_DEADLINE_S, max_bytes=MAX_PICTURE_BYTES)
        finally:
            place.in_use -= 1

    def expire(self) -> None:
        """End what is past its deadline; to be called a few times a second."""
        for edge in self._edges():
            edge.expire()

    def close(self) -> None:
        """Close idle connections."""
        for edge in self._edges():
            edge.close()

    def _edges(self) -> Iterator[HttpEdge]:
        yield self._own
        yield from [place.edge for place in self._elsewhere.values()]

    def _place(self, origin: str) -> _Elsewhere:
        place = self._elsewhere.pop(origin, None) or _Elsewhere(HttpEdge(origin))
        idle = [name for name, other in self._elsewhere.items() if not other.in_use]  # others would lose their deadline
        for name in idle[: max(len(self._elsewhere) + 1 - ORIGINS_MOST, 0)]:
            self._elsewhere.pop(name).edge.close()
        self._elsewhere[origin] = place
        return place


def is_timeout(failure: Failure) -> bool:
    """Whether there was no answer in time, as opposed to none at all."""
    return failure.kind is FailureKind.TIMEOUT
