"""PROMPT_VANISHED: prompts that were queued, and then in neither queue nor history."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.carried import between, carried, messages, prompts_in_words, when
from comfysoak_analysis.findings.evidence import mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

TOGETHER_S = 2.0  # so many at one moment were cleared, not deleted one by one


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.PROMPT_VANISHED, _words)


def _words(run: Run, rows: Told) -> str:
    """When, how long they had waited, and whether it was all at once."""
    prompts = rows.prompts.sort_values("moment")
    waited = between((prompts["moment"] - prompts["sent"].fillna(prompts["scheduled"])).dt.total_seconds())
    at_once = prompts.groupby("server", observed=True)["moment"].agg(lambda moments: _is_one_moment(moments.tolist()))
    how = " All of a server at one moment: somebody cleared the queue." if len(prompts) > 1 and at_once.all() else ""
    told = messages(prompts["error_message"])
    return (
        f"{prompts_in_words(rows)} on {mostly(prompts['server'])}, missed {when(run, prompts['moment'])} after "
        f"{waited}{': ' + told if told else ''}. No request of this run deleted them.{how}"
    )


def _is_one_moment(moments: list[pd.Timestamp]) -> bool:
    return (max(moments) - min(moments)).total_seconds() <= TOGETHER_S
