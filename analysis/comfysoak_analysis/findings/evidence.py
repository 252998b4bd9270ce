"""From rows that carry a code to a finding: which, when, how often, and what the GPU did meanwhile."""

from __future__ import annotations

import pandas as pd

from comfysoak_analysis.findings.finding import EXAMPLES, Certainty, Finding
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

MARKS = 500  # moments kept a finding; charts draw no more


def finding(
    code: Code,
    rows: pd.DataFrame,
    words: str,
    states: GpuStates,
    *,
    count: int | None = None,
    certainty: Certainty = Certainty.CERTAIN,
    unless: str = "",
    chart: str = "incidents",
) -> Finding:
    """`rows` (not empty) have `id`, `moment` and `server`; `words` are the evidence.

    `count`: how many there were, where `rows` are not all of them. The others as in `Finding`.
    """
    rows = rows.sort_values("moment")
    chosen = rows.head(EXAMPLES)
    servers = [None if pd.isna(server) else str(server) for server in chosen["server"]]
    moments = rows["moment"].dropna()
    return Finding(
        code=code,
        count=len(rows) if count is None else count,
        first_ns=int(moments.min().value),
        last_ns=int(moments.max().value),
        evidence=words,
        examples=tuple(str(name) for name in chosen["id"] if not pd.isna(name)),
        states=states.each(list(chosen["moment"]), servers),
        moments_ns=tuple(int(moment.value) for moment in _thinned(moments)),
        certainty=certainty,
        unless=unless,
        chart=chart,
        subjects=_subjects(rows),
    )


def _subjects(rows: pd.DataFrame) -> tuple[str, ...]:
    """The servers of the rows, or what events are about; none where one of them does not tell."""
    about = rows["server"].astype(object)
    about = about.fillna(rows["subject"]) if "subject" in rows else about
    return () if about.isna().any() else tuple(sorted({str(one) for one in about}))


def _thinned(moments: pd.Series) -> pd.Series:
    """At most MARKS of them."""
    return moments.iloc[evenly(len(moments), MARKS)]


def evenly(count: int, most: int) -> list[int]:
    """The places of at most `most` of `count`, evenly chosen, the first and the last among them; of one the first."""
    if count <= most:
        return list(range(count))
    step = (count - 1) / max(most - 1, 1)
    return [round(index * step) for index in range(most)]


def counted(count: int, what: str) -> str:
    """`1 prompt`, `3 prompts`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def mostly(values: pd.Series, most: int = 3) -> str:
    """The most frequent values with their counts: `KSampler (3), VAEDecode (1)`; a single one without."""
    return most_of(values.dropna().value_counts(), most)


def most_of(counts: pd.Series, most: int = 3) -> str:
    """As `mostly`, of numbers by name."""
    counts = counts[counts > 0]  # of a categorical also those there are none of
    counts = counts.sort_values(ascending=False, kind="stable")
    if len(counts) == 1:
        return str(counts.index[0])
    named = [f"{value} ({count:,})" for value, count in counts.head(most).items()]
    return ", ".join(named + (["…"] if len(counts) > most else []))
