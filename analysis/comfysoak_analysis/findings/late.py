"""Prompts that took too long for their deadline or for their user: what the time went on."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from comfysoak_analysis.findings.carried import between
from comfysoak_analysis.findings.causes import because
from comfysoak_analysis.findings.evidence import finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.stuck import standing_nodes
from comfysoak_analysis.findings.told import Told, told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

MOST_LOOKED_AT = 40  # prompts whose node is looked for
_LONGEST_NS = 3600 * 10**9  # nodes that began within so long before the end are looked at


def late(run: Run, states: GpuStates, code: Code, said: str) -> Iterator[Finding]:
    """At most one finding of prompts that carry `code`; `said` comes first in its evidence."""
    rows = told(run, code)
    if not rows.count:
        return
    prompts = rows.prompts
    sent = prompts["sent"].fillna(prompts["scheduled"])
    words = [said, *_where_the_time_went(run, rows), because(run, states, prompts, code, since=sent)]
    chart = "queue" if _waited(prompts).mean() > 0.5 else "service"
    evidence = " ".join(part for part in words if part)
    yield finding(code, rows.rows, evidence, states, count=rows.count, chart=chart)


def _waited(prompts: pd.DataFrame) -> pd.Series:
    """Which of them had not begun when time was up; the server may have begun them later."""
    began = prompts["started_at"].fillna(prompts["start_received"])
    return began.isna() | (began >= prompts["moment"])


def _where_the_time_went(run: Run, rows: Told) -> Iterator[str]:
    """Queue or work, and the node that ran when time was up."""
    prompts = rows.prompts
    waited = prompts[_waited(prompts)]
    began = prompts[~_waited(prompts)]
    of = "" if len(prompts) == rows.prompt_count else f" of {len(prompts):,} looked at"
    if not waited.empty:
        span = (waited["moment"] - waited["sent"].fillna(waited["scheduled"])).dt.total_seconds()
        yield f"{len(waited):,}{of} had not begun: they waited for {between(span)}: queue wait, not service time."
    if not began.empty:
        worked = (began["moment"] - began["started_at"].fillna(began["start_received"])).dt.total_seconds()
        before = began["queue_wait_s"]
        nodes = _nodes(run, began.head(MOST_LOOKED_AT))
        standing = f", then in {mostly(pd.Series(list(nodes.values())))}" if nodes else ""
        yield (
            f"{len(began):,}{of} had begun: after {between(before) or 'an unknown time'} in the queue they had "
            f"worked for {between(worked)}{standing}."
        )


def _nodes(run: Run, rows: pd.DataFrame) -> dict[str, str]:
    begins = rows["started_at"].fillna(rows["start_received"])
    spans = [
        (max(int(first.value) - 10**9, int(last.value) - _LONGEST_NS), int(last.value))
        for first, last in zip(begins, rows["moment"], strict=True)
        if pd.notna(first) and pd.notna(last)
    ]
    return standing_nodes(run, [str(name) for name in rows["id"]], spans)
