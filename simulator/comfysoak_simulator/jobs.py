"""The jobs of 0.33 (/api/jobs): queue and history of a server in one answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfysoak_simulator.prompt_queue import Item, PromptQueue, is_canonical_uuid

Json = Any
STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
_SORT_BY = ("created_at", "execution_duration")
_SORT_ORDER = ("asc", "desc")
_PREVIEWABLE = ("images", "video", "audio", "3d", "gifs")
_ENDS = ("execution_success", "execution_error", "execution_interrupted")
_NO_MEDIA = ("animated", "text")


class BadQueryError(ValueError):
    """A query that is refused; its text is the answer's `error`, beside the ids that were wrong."""

    def __init__(self, message: str, invalid_ids: list[str] | None = None) -> None:
        super().__init__(message)
        self.invalid_ids = invalid_ids

    def as_json(self) -> dict[str, Json]:
        """The answer."""
        return {"error": str(self), **({"invalid_ids": self.invalid_ids} if self.invalid_ids else {})}


def job(queue: PromptQueue, prompt_id: str) -> dict[str, Json] | None:
    """The answer to GET /api/jobs/{id}; None when there is no such job."""
    if prompt_id in queue.history:
        return _ended(queue.history[prompt_id], whole=True)
    for item, status in _waiting(queue):
        if item.prompt_id == prompt_id:
            return _of_item(item, status)
    return None


def jobs(queue: PromptQueue, query: Mapping[str, str]) -> dict[str, Json]:
    """The answer to GET /api/jobs. Raises BadQueryError."""
    statuses = _statuses(query.get("status", ""))
    by, order = query.get("sort_by", "created_at"), query.get("sort_order", "desc").lower()
    if by not in _SORT_BY:
        raise BadQueryError("sort_by must be 'created_at' or 'execution_duration'")
    if order not in _SORT_ORDER:
        raise BadQueryError("sort_order must be 'asc' or 'desc'")
    limit, offset = _limit(query.get("limit")), _offset(query.get("offset"))
    found = _listed(queue, statuses)
    workflow_id = query.get("workflow_id")
    if workflow_id:
        found = [entry for entry in found if entry.get("workflow_id") == workflow_id]
    found.sort(key=_created if by == "created_at" else _duration, reverse=order == "desc")
    page = found[offset:] if limit is None else found[offset : offset + limit]
    more = offset + len(page) < len(found)
    pagination = {"offset": offset, "limit": limit, "total": len(found), "has_more": more}
    return {"jobs": page, "pagination": pagination}


def _listed(queue: PromptQueue, statuses: tuple[str, ...]) -> list[dict[str, Json]]:
    found = [_of_item(item, status) for item, status in _waiting(queue) if status in statuses]
    if not {"completed", "failed", "cancelled"}.isdisjoint(statuses):
        found += [entry for entry in map(_ended, queue.history.values()) if entry["status"] in statuses]
    return found


def _waiting(queue: PromptQueue) -> list[tuple[Item, str]]:
    running = [(queue.running, "in_progress")] if queue.running is not None else []
    return running + [(item, "pending") for item in queue.pending]


def _of_item(item: Item, status: str) -> dict[str, Json]:
    entry = {
        "id": item.prompt_id,
        "status": status,
        "priority": item.number,
        "create_time": item.extra_data.get("create_time"),
        "outputs_count": 0,
        "previewable_outputs_count": 0,
        "workflow_id": _workflow_id(item.extra_data),
    }
    return _without_nulls(entry)


def _ended(history: dict[str, Json], *, whole: bool = False) -> dict[str, Json]:
    number, prompt_id, prompt, extra_data, _ = history["prompt"]
    messages = dict(history["status"]["messages"])
    ends = (messages[name] for name in _ENDS if name in messages)
    last: dict[str, Json] = next(ends, {})
    status = "completed" if history["status"]["status_str"] == "success" else "failed"
    if "execution_interrupted" in messages:
        status = "cancelled"
    items = _items(history["outputs"])
    entry = {
        "id": prompt_id,
        "status": status,
        "priority": number,
        "create_time": extra_data.get("create_time"),
        "execution_start_time": messages.get("execution_start", {}).get("timestamp"),
        "execution_end_time": last.get("timestamp"),
        "execution_error": messages.get("execution_error"),
        "outputs_count": len(items),
        "previewable_outputs_count": sum(item["mediaType"] in _PREVIEWABLE for item in items),
        "preview_output": _preview(items),
        "workflow_id": _workflow_id(extra_data),
    }
    if whole:
        entry["outputs"] = history["outputs"]
        entry["execution_status"] = history["status"]
        entry["workflow"] = {"prompt": prompt, "extra_data": extra_data}
    return _without_nulls(entry)


def _items(outputs: dict[str, Json]) -> list[dict[str, Json]]:
    return [
        {**item, "nodeId": node_id, "mediaType": media}
        for node_id, ui in outputs.items()
        for media, entries in ui.items()
        if media not in _NO_MEDIA
        for item in entries
        if isinstance(item, dict)
    ]


def _preview(items: list[dict[str, Json]]) -> dict[str, Json] | None:
    previewable = [item for item in items if item["mediaType"] in _PREVIEWABLE]
    saved = (item for item in previewable if item.get("type") == "output")
    return next(saved, previewable[0] if previewable else None)


def _workflow_id(extra_data: dict[str, Json]) -> Json:
    """Fails where the real one does: on `extra_pnginfo`, or its `workflow`, that is null."""
    return extra_data.get("extra_pnginfo", {}).get("workflow", {}).get("id")


def _without_nulls(entry: dict[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in entry.items() if value is not None}


def _created(entry: dict[str, Json]) -> float:
    return float(entry.get("create_time") or 0)


def _duration(entry: dict[str, Json]) -> float:
    return float(entry.get("execution_end_time", 0)) - float(entry.get("execution_start_time", 0))


def _statuses(text: str) -> tuple[str, ...]:
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    unknown = [part for part in wanted if part not in STATUSES]
    if unknown:
        raise BadQueryError(f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}")
    return tuple(wanted) or STATUSES


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError:
        raise BadQueryError("limit must be an integer") from None
    if number <= 0:
        raise BadQueryError("limit must be a positive integer")
    return number


def _offset(text: str | None) -> int:
    if text is None:
        return 0
    try:
        return max(int(text), 0)
    except ValueError:
        raise BadQueryError("offset must be an integer") from None


def ids_to_cancel(body: Json) -> list[str]:
    """The ids of POST /api/jobs/cancel. Raises BadQueryError: one bad id spoils all."""
    wanted = body.get("job_ids") if isinstance(body, dict) else None
    if not isinstance(wanted, list):
        raise BadQueryError("job_ids must be a list")
    bad = [str(prompt_id) for prompt_id in wanted if not is_canonical_uuid(prompt_id)]
    if bad:
        raise BadQueryError("job_ids contains invalid id(s)", bad)
    return wanted
