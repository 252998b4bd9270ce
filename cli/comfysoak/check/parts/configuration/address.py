"""The base URL, step by step: its form, its name, its port, HTTP, WebSocket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from comfysoak.check.checking import Checking, failed, ok, skipped, warning
from comfysoak.check.conversation.access import Access
from comfysoak.check.row import Row
from comfysoak.check.settings import THE_COMMAND_LINE, Given
from comfysoak_core.comfyui.answers import SystemStats
from comfysoak_core.comfyui.reaching import Place, Trouble, connected, identified, opened, place_of, resolved
from comfysoak_core.recording.redaction import redact

_STEPS: Final = ("url.name", "url.tcp", "url.http", "url.websocket")
_ROUTES: Final = frozenset({"prompt", "ws", "queue", "history", "view", "object_info", "system_stats", "upload"})


def rows(checking: Checking, given: Given | None, *, is_foreign: bool) -> Iterator[Row]:
    """url.form to url.websocket. `is_foreign`: it is the gateway's own, and may mean nothing here."""
    if given is None:
        yield from (skipped(id_, "no base URL is set") for id_ in ("url.form", *_STEPS))
        return
    place = place_of(given.value)
    yield form_row(given, place)
    place = _without_route(place) if isinstance(place, Place) else place
    if isinstance(place, Trouble):
        yield from (skipped(id_, "the base URL is not well formed") for id_ in _STEPS)
        return
    checking.known.base_url = place.url
    checking.say(f"asking {place.url}")
    yield from _steps(checking, place, is_foreign=is_foreign)


def form_row(given: Given, place: Place | Trouble) -> Row:
    """url.form: what a gateway makes of this text."""
    id_, shown = "url.form", redact(given.value[:200])
    if isinstance(place, Trouble):
        return failed(id_, f"{given.source}: {shown!r}: {place.seen}", place.remedy, code=place.code)
    parts = urlsplit(given.value)
    if parts.username is not None or parts.password is not None:
        seen = f"{given.source}: it holds a user name or password; a gateway sends a token as well, and fails with both"
        return failed(id_, seen, f"Write {place.url}, and put a token into COMFYUI_API_KEY.")
    bare = _without_route(place)
    if bare is not place:
        seen = f"{given.source}: {shown} ends in a route, and routes are added to it"
        return failed(id_, seen, f"Write it without that path: {bare.url}")
    if given.value.endswith("/"):
        return _slash(given, place)
    if place.host in ("0.0.0.0", "::"):  # noqa: S104  # nothing is bound here
        seen = f"{given.source}: {shown}: {place.host} is what a server listens on, and no address to ask"
        return warning(id_, seen, f"Write {place.url.replace(place.host, '127.0.0.1')}, or the name of that machine.")
    note = f", under the path {place.path}" if place.path else ""
    return ok(id_, f"{given.source}: {shown}{note}")


def _without_route(place: Place) -> Place:
    """The address that was meant by one that ends in a route: the rest is looked at there."""
    last = place.path.rpartition("/")[2]
    if last not in _ROUTES:
        return place
    return replace(place, url=place.url[: -len(last) - 1], path=place.path[: -len(last) - 1])


def _slash(given: Given, place: Place) -> Row:
    seen = f"{given.source}: it ends in a slash"
    if given.source == THE_COMMAND_LINE:
        return ok("url.form", f"{seen}, which is left out here; in COMFYUI_BASE_URL it would break a gateway")
    remedy = f"Write it without the slash at its end: {place.url}"
    return failed("url.form", f"{seen}: the gateway asks {given.value}/prompt, which ComfyUI answers with 405", remedy)


def _steps(checking: Checking, place: Place, *, is_foreign: bool) -> Iterator[Row]:
    known, left = checking.known, list(_STEPS)
    addresses = resolved(place)
    if isinstance(addresses, Trouble):
        if is_foreign:
            why = f"{place.host} means something to the gateway only: name the ComfyUI as it is reached from here"
            yield from (skipped(id_, why) for id_ in left)
            return
        yield from _stopped(left, addresses, "its host name does not resolve")
        return
    what = "it is an address" if place.is_number else f"{place.host} is {', '.join(addresses[:3])}"
    yield ok(left.pop(0), f"{what}, nothing to look up" if place.is_number else what)
    took_s = connected(place)
    if isinstance(took_s, Trouble):
        yield from _stopped(left, took_s, "its port takes no connections")
        return
    yield ok(left.pop(0), f"port {place.port} took a connection in {_told(took_s)}")
    headers = Access.of(checking).headers
    stats = identified(place, headers)
    if isinstance(stats, Trouble):
        yield from _stopped(left, stats, "no ComfyUI answers by HTTP")
        return
    known.answers, known.version = True, stats.comfyui_version
    yield ok(left.pop(0), _who(stats))
    opened_s = opened(place, headers)
    if isinstance(opened_s, Trouble):
        yield from _stopped(left, opened_s, "")
        return
    known.has_socket = True
    yield ok(left.pop(0), f"{place.url}/ws was open after {_told(opened_s)}")


def _stopped(left: list[str], trouble: Trouble, why: str) -> Iterator[Row]:
    """The step that failed, and those that hang on it."""
    yield failed(left[0], trouble.seen, trouble.remedy, code=trouble.code)
    yield from (skipped(id_, why) for id_ in left[1:])


def _who(stats: SystemStats) -> str:
    device = stats.devices[0].name if stats.devices else "no device told"
    return f"ComfyUI {stats.comfyui_version or 'of an unknown version'} on {device[:80]}"


def _told(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
