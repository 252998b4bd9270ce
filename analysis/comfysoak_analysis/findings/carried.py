"""From a code that rows carry to its finding: what all detectors of such codes share. Each has its own words."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.causes import because
from comfysoak_analysis.findings.evidence import counted, finding, most_of
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.told import Told, told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.text import bounded
from comfysoak_core.codes import Code

Words = Callable[[Run, Told], str]
LONGEST = 140  # characters of a message shown


def carried(
    run: Run,
    states: GpuStates,
    code: Code,
    words: Words,
    *,
    certainty: Certainty = Certainty.CERTAIN,
    unless: str = "",
    chart: str = "incidents",
    caused: bool = True,
) -> Iterator[Finding]:
    """At most one finding, of the rows that carry `code`. `caused`: a stronger finding may be what they follow from."""
    rows = told(run, code)
    if not rows.count:
        return
    said = [words(run, rows), because(run, states, rows.rows, code) if caused else ""]
    evidence = " ".join(part for part in said if part)
    yield finding(code, rows.rows, evidence, states, count=rows.count, certainty=certainty, unless=unless, chart=chart)


def prompts_in_words(rows: Told) -> str:
    """`12 prompts of portrait-sdxl (9), sketch (3)`."""
    counts = rows.mix.groupby(rows.mix["workflow"].map(bounded), sort=False)["count"].sum()
    looked_at = len(rows.prompts)
    some = "" if looked_at >= rows.prompt_count else f", {looked_at:,} of them looked at"
    return f"{counted(rows.prompt_count, 'prompt')} of {most_of(counts)}{some}"


def messages(values: pd.Series, most: int = 2) -> str:
    """The most frequent texts, numbers in them apart, with their counts: `"disk full" (3), "no such file"`."""
    texts = values.dropna().astype(str).map(lambda text: bounded(text, LONGEST))
    texts = texts[texts != ""]
    if texts.empty:
        return ""
    kinds = texts.str.replace(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "#", regex=True)
    counts = kinds.value_counts()
    shown = [(texts[kinds == kind].iloc[0], int(count)) for kind, count in counts.head(most).items()]
    named = [f"“{text}”" + (f" ({count:,})" if len(counts) > 1 else "") for text, count in shown]
    return ", ".join(named) + (f" and {len(counts) - most} other messages" if len(counts) > most else "")


def shares(run: Run, rows: Told, most: int = 3) -> str:
    """Whether it hits all prompts of a workflow on a server or some: `all 12 of sdxl on A`, `3 of 40 of sdxl on B`."""
    prompts, hit, said = run.prompts, rows.mix, []
    for workflow, server, count in hit.head(most).itertuples(index=False):
        same = (prompts["workflow"] == workflow) & (prompts["server"] == server)
        whole = int((same & prompts["intended"]).sum())
        number = f"all {count:,}" if count >= whole else f"{count:,} of {whole:,}"
        said.append(f"{number} of {bounded(workflow, 60)} on {bounded(server, 80)}")
    return ", ".join(said) + (f" and {len(hit) - most} more" if len(hit) > most else "")


def when(run: Run, moments: pd.Series) -> str:
    """`12 s into the run`, `from 12 s to 40 s into the run`."""
    seconds = run.since_start_s(moments.dropna())
    if not len(seconds):
        return ""
    first, last = max(float(np.min(seconds)), 0.0), max(float(np.max(seconds)), 0.0)
    return f"{first:.0f} s into the run" if last - first < 1 else f"from {first:.0f} s to {last:.0f} s into the run"


def between(values: pd.Series, unit: str = "s") -> str:
    """`5.0 s to 12 s`, or one number where they are alike; empty without any."""
    known = values.dropna()
    if known.empty:
        return ""
    low, high = float(known.min()), float(known.max())
    return f"{low:.3g} {unit}" if high - low < 0.05 * max(high, 0.1) else f"{low:.3g} {unit} to {high:.3g} {unit}"
