"""When prompts came, by the access log of a gateway, a proxy or a server: one request a line.

Read are the common and the combined format (nginx, Apache), JSON lines (nginx, Caddy, uvicorn and others), and lines
that begin with a date and hold the request in quotes. Counted are POSTs to paths that take prompts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Final

import orjson

from comfysoak_core.comfyui.json_text import bounded
from comfysoak_core.trace.happening import Happening
from comfysoak_core.trace.lines import MAX_LINE_BYTES
from comfysoak_core.trace.moments import Moments, date_of

PROMPT_PATHS: Final = ("/prompt", "/images/generations", "/images/edits", "/images/api/v1/generations")
LONGEST_NAME: Final = 200

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_REQUEST: Final = re.compile(r'(?:^|")([A-Z]{3,10}) (\S+) HTTP/[0-9.]+"?(?: (\d{3}))?')
_COMMON: Final = re.compile(r"(\S+) \S+ ([^\[]{1,200}) \[(\d\d)/([A-Z][a-z]{2})/(\d{4}):([\d:]{8}) ([+-]\d\d)(\d\d)\] ")
_DATED: Final = re.compile(r"\W?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?")
_TIMES: Final = ("time", "timestamp", "ts", "@timestamp", "time_iso8601", "time_local", "asctime", "msec", "date")
_METHODS: Final = ("method", "request_method", "http_method", "verb")
_PATHS: Final = ("path", "uri", "request_uri", "url", "http_path", "target")
_CLIENTS: Final = ("user", "remote_user", "client", "client_ip", "remote_addr", "remote_ip", "client_addr")
_TEXTS: Final = ("request", "message", "msg", "event")


@dataclass(slots=True)
class LogReading:
    """Makes happenings of the lines of a log, and counts what it met."""

    with_identities: bool
    paths: tuple[str, ...] = PROMPT_PATHS
    requests: int = 0  # lines that are requests at all
    prompts: int = 0
    refused: int = 0  # of those: answered with 400 and above
    without_time: int = 0
    unread: int = 0  # lines that are no requests

    def happenings(self, lines: Iterable[bytes]) -> Iterator[Happening]:
        """The prompts among the requests of a log."""
        moments = Moments()
        for line in lines:
            if not line.strip():
                continue
            found = _read(line, moments) if len(line) <= MAX_LINE_BYTES else None
            if found is None:
                self.unread += 1
            elif (happening := self._prompt(found)) is not None:
                yield happening

    def _prompt(self, found: _Request) -> Happening | None:
        self.requests += 1
        path = found.path.partition("?")[0].rstrip("/")
        if found.method != "POST" or not path.endswith(self.paths):
            return None
        if found.time_s is None:
            self.without_time += 1
            return None
        self.prompts += 1
        self.refused += found.status >= 400
        client = bounded(found.client, LONGEST_NAME) if self.with_identities and found.client else None
        return Happening(found.time_s, client=client, is_whole=found.time_s.is_integer())


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    status: int
    time_s: float | None
    client: str | None


def _read(line: bytes, moments: Moments) -> _Request | None:
    if line.lstrip()[:1] == b"{":
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        return _from_fields(fields, moments) if isinstance(fields, dict) else None
    return _from_text(line.decode("utf-8", "replace"))


def _from_text(line: str) -> _Request | None:
    request = _REQUEST.search(line)
    if request is None:
        return None
    method, path, status = request[1], request[2], int(request[3] or 0)
    common = _COMMON.match(line)
    if common is not None:
        client = common[2] if common[2] != "-" else common[1]
        return _Request(method, path, status, _common_time(*common.groups()[2:]), client)
    return _Request(method, path, status, _dated(line), None)


def _from_fields(fields: Mapping[str, Any], moments: Moments) -> _Request | None:
    nested = fields.get("request")
    inner = {**fields, **nested} if isinstance(nested, dict) else fields
    method, path = _first(inner, _METHODS), _first(inner, _PATHS)
    status = _first(inner, ("status", "status_code"))
    if not (isinstance(method, str) and isinstance(path, str)):
        texts = (fields[key] for key in _TEXTS if isinstance(fields.get(key), str))
        request = next(filter(None, map(_REQUEST.search, texts)), None)
        if request is None:
            return None
        method, path, status = request[1], request[2], status or request[3]
    client = _first(inner, _CLIENTS)
    number = int(status) if isinstance(status, str | int) and str(status).isdecimal() and len(str(status)) == 3 else 0
    return _Request(method.upper(), path, number, _time_of(_first(fields, _TIMES), moments),
                    client if isinstance(client, str) else None)  # fmt: skip


def _first(fields: Mapping[str, Any], names: Iterable[str]) -> object:
    return next((fields[name] for name in names if fields.get(name) not in (None, "", "-")), None)


def _time_of(written: object, moments: Moments) -> float | None:
    if isinstance(written, str) and (common := _COMMON.match(f"- - [{written}] ")) is not None:
        return _common_time(*common.groups()[2:])
    if isinstance(written, str) and (dated := _dated(written)) is not None:
        return dated
    try:
        return moments.seconds(written)
    except ValueError:
        return None


@lru_cache(maxsize=16)
def _common_time(day: str, month: str, year: str, clock: str, zone_hours: str, zone_minutes: str) -> float | None:
    """`10/Oct/2026:13:55:36 -0700`; requests of one second come together."""
    try:
        hour, minute, second = (int(part) for part in clock.split(":"))
        ahead = timedelta(hours=int(zone_hours), minutes=int(zone_hours[0] + zone_minutes))
        number = _MONTHS.index(month) + 1
        return datetime(int(year), number, int(day), hour, minute, min(second, 59), tzinfo=timezone(ahead)).timestamp()
    except (ValueError, OverflowError):
        return None


def _dated(text: str) -> float | None:
    found = _DATED.match(text)
    if found is None:
        return None
    whole_s = date_of(f"{found[1]}{found[3] or ''}")
    return None if whole_s is None else whole_s + float(f"0.{found[2] or 0}")
