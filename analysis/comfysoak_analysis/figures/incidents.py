"""The strip of what went wrong: each failure and each drop as a mark, with the GPU's state beside it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.figures.chart import Chart, Dots
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import PLANTED, event_rows, prompt_rows, socket_rows
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.text import bounded, for_chart
from comfysoak_core.codes import CATALOGUE

MOST_MARKS = 400  # a code
PLANTED_ROW = "planted fault"


def incidents(run: Run, states: GpuStates, findings: tuple[Finding, ...]) -> Chart:
    """One row a code."""
    marks = [*_told(run, states), *_derived(run, findings)]
    marks += _planted(run)
    rows = tuple(dict.fromkeys(str(mark.y[0]) for mark in marks))
    note = (
        "Failures of prompts, drops of sockets and other findings. Point at a mark for the state of the GPU within 2 s."
    )
    empty = "" if marks else "Nothing went wrong in this run."
    return Chart(
        "incidents",
        "What went wrong, and when",
        note,
        dots=tuple(marks),
        empty=empty,
        rows=rows,
        height=70 + 28 * min(len(rows), 14),
    )


def _told(run: Run, states: GpuStates) -> Iterator[Dots]:
    parts = [
        _labelled(prompt_rows(run), "prompt"),
        _labelled(socket_rows(run), "socket"),
        _labelled(event_rows(run), "event"),
    ]
    present = [part for part in parts if not part.empty]
    if not present:
        return
    rows = pd.concat(present, ignore_index=True)
    for code, part in rows.groupby("code", sort=True):
        shown = part.sort_values("moment")
        shown = shown if len(shown) <= MOST_MARKS else shown.iloc[:: -(-len(shown) // MOST_MARKS)]
        words = [
            f"{said}<br>{for_chart(states.at(moment, server).in_words())}"
            for said, moment, server in zip(shown["words"], shown["moment"], shown["server"], strict=True)
        ]
        about = tuple(server if isinstance(server, str) else "" for server in shown["server"])
        yield _dots(run, str(code), shown["moment"], words, about)


def _labelled(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """Code, moment, server, and a line of words for each row."""
    if rows.empty:
        return rows
    if what == "prompt":
        words = [
            _prompt_words(*values)
            for values in zip(rows["workflow"], rows["id"], rows["error_type"], rows["error_message"], strict=True)
        ]
    elif what == "socket":
        words = [_socket_words(*values) for values in zip(rows["role"], rows["id"], rows["close_code"], strict=True)]
    else:
        words = [
            for_chart(f"{source}: {detail}", 120) for source, detail in zip(rows["source"], rows["detail"], strict=True)
        ]
    return pd.DataFrame(
        {"code": rows["code"], "moment": rows["moment"], "server": rows["server"].astype(object), "words": words}
    )


def _prompt_words(workflow: str, prompt_id: str, kind: object, message: object) -> str:
    said = ": ".join(bounded(part, 90) for part in (kind, message) if isinstance(part, str) and part)
    return for_chart(f"{bounded(workflow, 60)} · {prompt_id[:8]}" + (f" · {said}" if said else ""), 200)


def _socket_words(role: str, name: str, close_code: float) -> str:
    code = "no close code" if pd.isna(close_code) else f"close code {int(close_code)}"
    return f"socket of {for_chart(role, 20)} {for_chart(name, 8)} ended, {code}"


def _derived(run: Run, findings: tuple[Finding, ...]) -> Iterator[Dots]:
    """Findings no row carries a code for."""
    told = {*prompt_rows(run)["code"], *socket_rows(run)["code"], *event_rows(run)["code"]}
    for finding in findings:
        if finding.code.value not in told and finding.moments_ns:
            moments = pd.Series(pd.to_datetime(list(finding.moments_ns)))
            yield _dots(run, finding.code.value, moments, [for_chart(finding.meaning, 120)] * len(moments))


def _planted(run: Run) -> list[Dots]:
    rows = run.events[run.events["kind"] == PLANTED]
    if rows.empty:
        return []
    words = [
        for_chart(f"planted: {subject} {detail}", 120)
        for subject, detail in zip(rows["subject"].fillna(""), rows["detail"].fillna(""), strict=True)
    ]
    shown = rows.head(MOST_MARKS)
    return [
        Dots(
            PLANTED_ROW,
            "planted",
            run.since_start_s(shown["at"]),
            (PLANTED_ROW,) * len(shown),
            tuple(words[: len(shown)]),
            symbol="diamond-open",
        )
    ]


def _dots(run: Run, code: str, moments: pd.Series, words: list[str], about: tuple[str, ...] = ()) -> Dots:
    entry = next((entry for entry in CATALOGUE.values() if entry.code.value == code), None)
    severity = entry.severity.value if entry is not None else "warning"
    seconds = np.asarray(run.since_start_s(moments))
    name = for_chart(code, 40)
    return Dots(name, severity, seconds, (name,) * len(moments), tuple(words), of=about)
