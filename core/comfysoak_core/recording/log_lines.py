"""Rows as lines for people: which socket opened and closed, which generation succeeded or failed.

One JSON object a line, times in UTC (ISO 8601), durations in seconds; what is not known is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.redaction import redact
from comfysoak_core.rows import Outcome

ERROR_LENGTH = 500
_SUCCESSES = (Outcome.SUCCESS, Outcome.CACHED)

RowByName = Mapping[str, Any]  # column -> value, as the journal had it


def opened_line(row: RowByName) -> bytes:
    """A socket that was opened."""
    return _line(
        time=iso_time(row["opened_ns"]),
        event="opened",
        **_socket(row),
        open_took_seconds=_seconds(row["opening_ns"], row["opened_ns"]),
    )


def closed_line(row: RowByName) -> bytes:
    """A socket that was closed, or could not be opened."""
    never_opened = row.get("opened_ns") is None
    return _line(
        time=iso_time(row["closed_ns"]),
        event="not opened" if never_opened else "closed",
        **_socket(row),
        closed_by=row.get("closed_by"),
        close_code=row.get("close_code"),
        reason=_text(row.get("reason")),
        code=row.get("code"),
        open_seconds=None if never_opened else _seconds(row["opened_ns"], row["closed_ns"]),
        messages=row.get("messages"),
        message_bytes=row.get("message_bytes"),
        longest_silence_seconds=_seconds(0, row.get("longest_silence_ns")),
        reopened_as=row.get("reopened_as"),
    )


def generation_line(row: RowByName) -> bytes:
    """A generation (a prompt) that came to its end."""
    finished_ns = row.get("finished_ns") or row.get("end_received_ns") or row.get("scheduled_ns")
    return _line(
        time=iso_time(finished_ns),
        generation=row["id"],
        result="success" if row["outcome"] in _SUCCESSES else "failure",
        outcome=row["outcome"],
        expected=row.get("expected"),
        code=row.get("code"),
        server=redact(str(row.get("server"))),
        workflow=row.get("workflow"),
        phase=row.get("phase"),
        worker=row.get("worker"),
        scheduled=iso_time(row.get("scheduled_ns")),
        sent=iso_time(row.get("sent_ns")),
        accepted=iso_time(row.get("accepted_ns")),
        started=iso_time(row.get("start_received_ns")),
        ended=iso_time(row.get("end_received_ns")),
        fetched=iso_time(row.get("fetched_ns")),
        latency_seconds=_seconds(row.get("scheduled_ns"), row.get("end_received_ns")),
        http_status=row.get("http_status"),
        error_type=_text(row.get("error_type")),
        error=_text(row.get("error_message")),
        node=row.get("node_id"),
        node_class=row.get("node_class"),
        outputs=row.get("outputs_received"),
        output_problem=_text(row.get("output_problem")),
    )


def iso_time(at_ns: Any) -> str | None:  # a value of the journal
    """`2026-11-22T10:15:00.123456Z`; None for what is no moment of a calendar."""
    if not isinstance(at_ns, int):
        return None
    try:
        whole = datetime.fromtimestamp(at_ns // NS_PER_S, UTC)
    except (OverflowError, OSError, ValueError):
        return None
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{at_ns % NS_PER_S // 1000:06d}Z"


def _socket(row: RowByName) -> dict[str, Any]:
    return {
        "connection": row["id"],
        "server": redact(str(row.get("server"))),
        "role": row.get("role"),
        "worker": row.get("worker"),
        "client_id": row.get("client_id"),
    }


def _seconds(since_ns: Any, until_ns: Any) -> float | None:  # values of the journal
    if not isinstance(since_ns, int) or not isinstance(until_ns, int):
        return None
    return round((until_ns - since_ns) / NS_PER_S, 6)


def _text(value: Any) -> str | None:  # a value of the journal
    return None if value is None else redact(str(value)[: 2 * ERROR_LENGTH])[:ERROR_LENGTH]


def _line(**fields: Any) -> bytes:  # JSON values
    return orjson.dumps(
        {name: value for name, value in fields.items() if value is not None}, option=orjson.OPT_APPEND_NEWLINE
    )
