"""Rows of a server's log and of its nodes, made of lines as real servers print them."""

from __future__ import annotations

import pandas as pd

from comfysoak_analysis.model_loads import ModelLoad
from comfysoak_analysis.model_loads.by_log import by_log
from comfysoak_core.rows import NodeRun, ServerLog
from comfysoak_probes.log.lines import parse_line
from tests.analysis.planted import SERVER, START_NS

S = 1_000_000_000
COLUMNS = ["at", "server", "source", "kind", "model", "loaded_bytes", "text"]


def said(text: str, *, from_s: float = 1.0, every_s: float = 1.0, server: str = SERVER) -> tuple[ServerLog, ...]:
    """What a probe keeps of these lines, printed one after the other; an empty line lets the time pass."""
    rows = []
    for index, line in enumerate(text.strip("\n").split("\n")):
        kept = parse_line(line.strip(" "))
        if kept is not None:
            rows.append(
                ServerLog(
                    at_ns=START_NS + round((from_s + index * every_s) * S), server=server, source="socket",
                    kind=kept.kind, model=kept.model, loaded_bytes=kept.loaded_bytes, duration_s=kept.duration_s,
                    text=kept.text,
                )
            )  # fmt: skip
    return tuple(rows)


def loads_of(text: str, *, gaps_s: tuple[float, ...] = ()) -> list[ModelLoad]:
    """The loads that these lines tell, one a second from the first second on."""
    rows = [
        (pd.Timestamp(row.at_ns), row.server, row.source, row.kind, row.model, row.loaded_bytes, row.text)
        for row in said(text)
    ]
    gaps = [pd.Timestamp(START_NS + round(gap * S)) for gap in gaps_s]
    return list(by_log(pd.DataFrame(rows, columns=COLUMNS), gaps, SERVER))


def told(loads: list[ModelLoad]) -> list[tuple[str | None, float | None]]:
    """The model of each, and how long it moved."""
    return [(load.model, load.moved_s) for load in loads]


def node(
    prompt: int, node_id: str, node_class: str, started_s: float, ended_s: float, *,
    workflow: str = "portrait-sdxl", server: str = SERVER, first_s: float | None = None,
) -> NodeRun:  # fmt: skip
    """One node of a prompt, its times in seconds after the start."""
    prompt_id = f"00000000-0000-4000-8000-{prompt:012d}"
    return NodeRun(
        id=f"{prompt_id}/{node_id}", prompt_id=prompt_id, node_id=node_id, node_class=node_class, server=server,
        workflow=workflow, started_ns=START_NS + round(started_s * S), ended_ns=START_NS + round(ended_s * S),
        first_progress_ns=None if first_s is None else START_NS + round(first_s * S),
    )  # fmt: skip
