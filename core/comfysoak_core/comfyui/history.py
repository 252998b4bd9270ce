"""What a ComfyUI says of a prompt that has ended: its history entry, its files, its failure; and its job (0.33).

As in `answers`, nothing here raises, and what the server wrote is cut to bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from comfysoak_core.comfyui.answers import Damaged, object_of
from comfysoak_core.comfyui.json_text import (
    MAX_ID,
    MAX_TEXT,
    both_ends,
    bounded,
    document_or_none,
    excerpt,
    number_or_none,
    text_or_none,
    texts_or_none,
    whole_or_none,
)
from comfysoak_core.value import value

MAX_FILES: Final = 10_000

_NOT_FOUND: Final = frozenset({404, 405})


@value()
class OutputFile:
    """One file a node has put out: what GET /view asks for."""

    node_id: str
    kind: str  # the key it stands under: "images", "latents", "audio", "gifs", ...
    filename: str
    subfolder: str
    type: str  # "output", "temp" or "input"
    animated: bool = False  # the node says that it moves


@value()
class OutputText:
    """One text a node shows (PreviewAny and its like), cut to a bound."""

    node_id: str
    text: str


@value()
class Failure:
    """What ended a prompt before its time: an error of a node, or an interrupt (`interrupted`)."""

    interrupted: bool
    node_id: str | None
    node_class: str | None
    error_type: str | None
    message: str | None


@value()
class HistoryEntry:
    """What GET /history/{id} says of a prompt that has ended."""

    prompt_id: str
    number: float | None
    succeeded: bool | None  # None: the entry has no readable status
    failure: Failure | None
    started_ms: int | None  # the server's clock
    ended_ms: int | None
    cached: tuple[str, ...] | None  # node ids; None: not told
    files: tuple[OutputFile, ...]
    texts: tuple[OutputText, ...] = ()
    created_ms: int | None = None  # when the server took it; 0.33 and newer


@value()
class NoEntry:
    """`{}`: the prompt is not known, waits, or runs."""


def parse_history(prompt_id: str, status: int, body: bytes) -> HistoryEntry | NoEntry | Damaged:
    """The answer to GET /history/{prompt_id}."""
    document = object_of(status, body)
    if isinstance(document, Damaged):
        return document
    entry = document.get(prompt_id)
    if entry is None:
        return NoEntry() if not document else Damaged(status, "an entry of another prompt", excerpt(body))
    if not isinstance(entry, dict):
        return Damaged(status, "the entry is no object", excerpt(body))
    return history_entry(prompt_id, entry)


def history_entry(prompt_id: str, entry: Mapping[str, Any]) -> HistoryEntry:
    """One entry of /history, whatever of it can be read."""
    item = entry.get("prompt")
    number = number_or_none(item[0]) if isinstance(item, list) and item else None
    status = entry.get("status")
    status = status if isinstance(status, dict) else {}
    told = dict(_status_messages(status.get("messages")))
    end = next((told[kind] for kind in _ENDS if kind in told), {})
    return HistoryEntry(
        prompt_id=prompt_id,
        number=number,
        succeeded=_succeeded(status, told),
        failure=failure_of(told),
        started_ms=whole_or_none(told.get("execution_start", {}).get("timestamp")),
        ended_ms=whole_or_none(end.get("timestamp")),
        cached=texts_or_none(told.get("execution_cached", {}).get("nodes")),
        files=files_of_outputs(entry.get("outputs")),
        texts=texts_of_outputs(entry.get("outputs")),
        created_ms=_created_ms(item),
    )


def _created_ms(item: object) -> int | None:
    """`create_time` in the extra_data of a queue item: (number, id, graph, extra_data, outputs)."""
    extra = item[3] if isinstance(item, list) and len(item) > 3 else None
    return whole_or_none(extra.get("create_time")) if isinstance(extra, dict) else None


_ENDS: Final = ("execution_error", "execution_interrupted", "execution_success")


def _status_messages(said: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for message in said[:1000] if isinstance(said, list) else []:
        if isinstance(message, list) and len(message) == 2 and isinstance(message[0], str):
            data = message[1]
            yield message[0], data if isinstance(data, dict) else {}


def _succeeded(status: Mapping[str, Any], told: Mapping[str, object]) -> bool | None:
    if "execution_error" in told or "execution_interrupted" in told:
        return False
    if "execution_success" in told:
        return True
    return {"success": True, "error": False}.get(str(status.get("status_str")))


def failure_of(told: Mapping[str, Mapping[str, Any]]) -> Failure | None:
    """The failure among the messages of a prompt, by kind; data as on the socket."""
    for kind in ("execution_error", "execution_interrupted"):
        data = told.get(kind)
        if data is not None:
            return Failure(
                interrupted=kind == "execution_interrupted",
                node_id=text_or_none(data.get("node_id")),
                node_class=text_or_none(data.get("node_type")),
                error_type=text_or_none(data.get("exception_type")),
                message=both_ends(data["exception_message"])
                if isinstance(data.get("exception_message"), str)
                else None,
            )
    return None


def files_of_outputs(outputs: object) -> tuple[OutputFile, ...]:
    """The files in `outputs` of a history entry (node id -> ui object), at most `MAX_FILES`."""
    found: list[OutputFile] = []
    for node_id, shown in outputs.items() if isinstance(outputs, dict) else ():
        found.extend(files_of_node(node_id, shown))
        if len(found) > MAX_FILES:
            break
    return tuple(found[:MAX_FILES])


def files_of_node(node_id: str, shown: object) -> Iterator[OutputFile]:
    """The files in the `ui` object of one node (also `output` of an `executed` message)."""
    node_id = bounded(node_id, MAX_ID)
    moves = isinstance(shown, dict) and _says_so(shown.get("animated"))
    for kind, items in shown.items() if isinstance(shown, dict) else ():
        for item in items[:MAX_FILES] if isinstance(items, list) else ():
            if isinstance(item, dict) and isinstance(item.get("filename"), str):
                subfolder, folder = item.get("subfolder"), item.get("type")
                yield OutputFile(
                    node_id,
                    bounded(str(kind), 100),
                    bounded(item["filename"], MAX_TEXT),
                    bounded(subfolder, MAX_TEXT) if isinstance(subfolder, str) else "",
                    folder if isinstance(folder, str) and len(folder) <= 20 else "output",
                    moves,
                )


def _says_so(flags: object) -> bool:
    """Servers write `animated` as a list of one."""
    return flags is True or (isinstance(flags, list) and True in flags[:1])


def texts_of_outputs(outputs: object) -> tuple[OutputText, ...]:
    """The texts in `outputs` of a history entry, at most `MAX_FILES`."""
    found: list[OutputText] = []
    for node_id, shown in outputs.items() if isinstance(outputs, dict) else ():
        found.extend(texts_of_node(node_id, shown))
        if len(found) > MAX_FILES:
            break
    return tuple(found[:MAX_FILES])


def texts_of_node(node_id: str, shown: object) -> Iterator[OutputText]:
    """The texts in the `ui` object of one node."""
    items = shown.get("text") if isinstance(shown, dict) else None
    for item in items[:MAX_FILES] if isinstance(items, list) else [items]:
        if isinstance(item, str):
            yield OutputText(bounded(node_id, MAX_ID), bounded(item.lstrip(), MAX_TEXT))


@value()
class Job:
    """GET /api/jobs/{id} (0.33 and newer): where the prompt is, and what came of it."""

    prompt_id: str
    state: str  # "pending", "in_progress", "completed", "failed" or "cancelled"
    entry: HistoryEntry | None  # None while it waits or runs


@value()
class NoJob:
    """404 from this route: the prompt is not known, or was deleted while it waited."""


@value()
class NoJobsRoute:
    """A 404 of the server itself: it is older than this route."""


_JOB_OPEN: Final = frozenset({"pending", "in_progress"})
_JOB_ENDED: Final = frozenset({"completed", "failed", "cancelled"})


def parse_job(prompt_id: str, status: int, body: bytes) -> Job | NoJob | NoJobsRoute | Damaged:
    """The answer to GET /api/jobs/{prompt_id}."""
    if status in _NOT_FOUND:
        refusal = document_or_none(body)
        return NoJob() if isinstance(refusal, dict) and "error" in refusal else NoJobsRoute()
    document = object_of(status, body)
    if isinstance(document, Damaged):
        return document
    state = text_or_none(document.get("status"))
    if state in _JOB_OPEN:
        return Job(prompt_id, str(state), None)
    if state is None or state not in _JOB_ENDED:
        return Damaged(status, "expected a status of a job", excerpt(body))
    return Job(prompt_id, state, _entry_of_job(prompt_id, state, document))


def _entry_of_job(prompt_id: str, state: str, job: Mapping[str, Any]) -> HistoryEntry:
    """A job that has ended, as the history entry it is made from."""
    entry = {
        "prompt": [job.get("priority")],
        "outputs": job.get("outputs"),
        "status": job.get("execution_status"),
    }
    found = history_entry(prompt_id, entry)
    if found.succeeded is not None:
        return found
    return HistoryEntry(
        prompt_id=prompt_id,
        number=found.number,
        succeeded=state == "completed",
        failure=_failure_of_job(state, job.get("execution_error")),
        started_ms=whole_or_none(job.get("execution_start_time")),
        ended_ms=whole_or_none(job.get("execution_end_time")),
        cached=None,
        files=found.files,
        texts=found.texts,
    )


def _failure_of_job(state: str, said: object) -> Failure | None:
    data = said if isinstance(said, dict) else {}
    if state == "completed":
        return None
    return failure_of({"execution_interrupted" if state == "cancelled" else "execution_error": data})
