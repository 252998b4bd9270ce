"""One plain synchronous client of a ComfyUI: what probes, preflight and check need, on the standard library alone.

The load does not use it. It keeps one connection alive, is not thread-safe, and says in a TargetError what is wrong
with a target: not there, not in time, not HTTP, not JSON, not a ComfyUI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote, urlencode

import orjson

from comfysoak_core.comfyui.answers import (
    Damaged,
    Queue,
    Submission,
    SystemStats,
    parse_queue,
    parse_queue_remaining,
    parse_submission,
    parse_system_stats,
)
from comfysoak_core.comfyui.history import (
    HistoryEntry,
    Job,
    NoEntry,
    NoJob,
    NoJobsRoute,
    OutputFile,
    history_entry,
    parse_history,
    parse_job,
)
from comfysoak_core.comfyui.json_text import NotJsonError, decode, excerpt
from comfysoak_core.comfyui.transport import Answer, Transport
from comfysoak_core.errors import TargetError

_OK: Final = 200
_NOT_FOUND: Final = 404
_NO_COMFYUI: Final = "Check host and port; ComfyUI answers GET /system_stats with JSON (default port 8188)."
_NO_ENTRY: Final = "It wants a token: name the environment variable that holds it in target.token_variable."
_REMEDIES: Final[Mapping[int, str]] = {401: _NO_ENTRY, 403: _NO_ENTRY}
_CLOSED: Final = (
    "Name the variable that holds a token (COMFYUI_API_KEY for a check, target.token_variable in a scenario), or have "
    "the proxy before ComfyUI pass this route on."
)
_HINTS: Final = {
    401: _CLOSED,
    403: _CLOSED,
    429: "Raise the limit of requests of the proxy before ComfyUI: one picture takes a dozen of them.",
}
_REWRITTEN: Final = "Is this address a ComfyUI, and nothing in between that rewrites answers?"
VIEW_BYTES: Final = 256 * 1024 * 1024

T = TypeVar("T")


class ComfyClient:
    """A client of the server at `base_url` (`http://host:8188`, a path before the routes is kept).

    User name and password in the URL are sent as such and stand in no message. Every method raises TargetError.
    """

    def __init__(self, base_url: str, *, timeout_s: float = 10.0, headers: Mapping[str, str] | None = None) -> None:
        self._transport = Transport(base_url, timeout_s=timeout_s, headers=headers)
        self.base_url = self._transport.base_url  # without credentials

    def __enter__(self) -> Self:
        """The client itself; closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens one."""
        self._transport.close()

    # What is it?

    def identify(self) -> SystemStats:
        """What the server says of itself; TargetError when it is no ComfyUI that is ready."""
        answer = self._transport.request("GET", "/system_stats")
        stats = parse_system_stats(answer.status, answer.body)
        if isinstance(stats, SystemStats) and (stats.comfyui_version or stats.devices):
            return stats
        what = f"expected a ComfyUI at {self.base_url}; its /system_stats came as {answer!s}"
        raise TargetError(what, _REMEDIES.get(answer.status, _NO_COMFYUI))

    def system_stats(self) -> SystemStats:
        """GET /system_stats."""
        return self._read("/system_stats", parse_system_stats)

    def features(self) -> Mapping[str, Any]:
        """GET /features: flag -> value; none of a server that is older than this route."""
        answer = self._transport.request("GET", "/features")
        return {} if answer.status == _NOT_FOUND else self._object("/features", answer)

    def object_info(self, node_class: str) -> Mapping[str, Any] | None:
        """GET /object_info/{class}: what the server knows of a node class; None: it does not have it."""
        path = f"/object_info/{quote(node_class, safe='')}"
        found = self._object(path, self._transport.request("GET", path)).get(node_class)
        return found if isinstance(found, dict) else None

    # Its queue and its history

    def queue(self) -> Queue:
        """GET /queue."""
        return self._read("/queue", parse_queue)

    def queue_remaining(self) -> int:
        """GET /prompt: how many prompts wait or run; the cheapest question there is."""
        return self._read("/prompt", parse_queue_remaining)

    def history(self, prompt_id: str) -> HistoryEntry | NoEntry:
        """GET /history/{id}."""
        path = f"/history/{quote(prompt_id, safe='')}"
        answer = self._transport.request("GET", path)
        found = parse_history(prompt_id, answer.status, answer.body)
        if isinstance(found, Damaged):
            raise self._damaged(path, found)
        return found

    def history_page(self, max_items: int, offset: int | None = None) -> tuple[HistoryEntry, ...]:
        """GET /history: entries, oldest first; without `offset` the newest `max_items`."""
        query = {"max_items": max_items} | ({} if offset is None else {"offset": offset})
        found = self.get_json(f"/history?{urlencode(query)}")
        if not isinstance(found, dict):
            raise self._unexpected("/history", "an object of entries", found)
        return tuple(history_entry(prompt_id, entry) for prompt_id, entry in found.items() if isinstance(entry, dict))

    def job(self, prompt_id: str) -> Job | NoJob | NoJobsRoute:
        """GET /api/jobs/{id}, which servers of 2026 have."""
        answer = self._transport.request("GET", f"/api/jobs/{quote(prompt_id, safe='')}")
        found = parse_job(prompt_id, answer.status, answer.body)
        if isinstance(found, Damaged):
            raise self._damaged("/api/jobs", found)
        return found

    # What it is asked to do

    def post_prompt(self, body: bytes) -> Submission:
        """POST /prompt: accepted, refused or failed; never an error for what the server answers."""
        answer = self._transport.request("POST", "/prompt", body)
        return parse_submission(answer.status, answer.body)

    def interrupt(self, prompt_id: str | None = None) -> None:
        """POST /interrupt; with an id it acts only if that prompt is running now."""
        self._post("/interrupt", {} if prompt_id is None else {"prompt_id": prompt_id})

    def delete_pending(self, prompt_id: str) -> None:
        """POST /queue: take one waiting prompt out. It leaves no history entry and no message."""
        self._post("/queue", {"delete": [prompt_id]})

    def delete_history(self, prompt_id: str) -> None:
        """POST /history: forget one prompt that has ended; its files stay."""
        self._post("/history", {"delete": [prompt_id]})

    def free(self, *, unload_models: bool = True, free_memory: bool = True) -> None:
        """POST /free: answered at once, done after the running prompt."""
        self._post("/free", {"unload_models": unload_models, "free_memory": free_memory})

    def view(self, file: OutputFile, *, max_bytes: int = VIEW_BYTES) -> bytes:
        """GET /view: a file a prompt has put out; TargetError when it is not there or larger than `max_bytes`."""
        path = f"/view?{urlencode({'filename': file.filename, 'subfolder': file.subfolder, 'type': file.type})}"
        answer = self._transport.request("GET", path, max_bytes=max_bytes)
        if answer.status != _OK:
            raise TargetError(
                f"{self.base_url} has no file {file.filename!r} ({answer.status})",
                "Check the server's output folder, its disk, and jobs that clean it.",
            )
        return answer.body

    # How it is asked

    def get_json(self, path: str) -> Any:  # a document of any shape
        """GET any route that answers 200 with JSON."""
        answer = self._transport.request("GET", path)
        if answer.status != _OK:
            raise self._refused(path, answer)
        return self._json(path, answer)

    def _post(self, path: str, document: Mapping[str, Any]) -> None:
        answer = self._transport.request("POST", path, orjson.dumps(document))
        if answer.status != _OK:
            raise self._refused(path, answer)

    def _read(self, path: str, parse: Callable[[int, bytes], T | Damaged]) -> T:
        answer = self._transport.request("GET", path)
        found = parse(answer.status, answer.body)
        if isinstance(found, Damaged):
            raise self._damaged(path, found)
        return found

    def _refused(self, path: str, answer: Answer) -> TargetError:
        what = f"expected 200 from {self.base_url}{_route(path)}, got {answer!s}"
        return TargetError(what, _HINTS.get(answer.status, "Is this address a ComfyUI?"))

    def _damaged(self, path: str, damaged: Damaged) -> TargetError:
        what = f"{self.base_url}{_route(path)}: {damaged.reason}; got {damaged.status} {damaged.excerpt!r}"
        return TargetError(what, _REWRITTEN)

    def _unexpected(self, path: str, expected: str, found: object) -> TargetError:
        what = f"expected {expected} from {self.base_url}{_route(path)}, got {excerpt(str(found))!r}"
        return TargetError(what, "Is this address a ComfyUI?")

    def _object(self, path: str, answer: Answer) -> Mapping[str, Any]:
        if answer.status != _OK:
            raise self._refused(path, answer)
        found = self._json(path, answer)
        if not isinstance(found, dict):
            raise self._unexpected(path, "an object", found)
        return found

    def _json(self, path: str, answer: Answer) -> Any:
        try:
            return decode(answer.body)
        except NotJsonError as error:
            what = f"expected JSON from {self.base_url}{_route(path)}, got {answer!s}: {error}"
            raise TargetError(what, _REWRITTEN) from None


def _route(path: str) -> str:
    """A path as it is shown: without its query."""
    return path.partition("?")[0]
