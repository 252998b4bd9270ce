"""VALIDATION_REJECTED: the server refused the workflow (400), and nobody had broken it on purpose."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.carried import carried, messages, prompts_in_words, shares
from comfysoak_analysis.findings.evidence import mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code
from comfysoak_core.rows import Outcome


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.VALIDATION_REJECTED, _words)


def _words(run: Run, rows: Told) -> str:
    """Which errors, at which nodes, and whether a workflow never fits or only with some inputs."""
    prompts = rows.prompts
    errors = mostly(prompts["error_type"])
    nodes = mostly(prompts["node_class"])
    said = f"{prompts_in_words(rows)}: {errors or 'no error named'}" + (f", in {nodes}" if nodes else "")
    told = messages(prompts["error_message"])
    return f"{said}{': ' + told if told else ''}. Refused: {shares(run, rows)}.{_conclusion(run, prompts)}"


def _conclusion(run: Run, prompts: pd.DataFrame) -> str:
    """A workflow that is always refused does not fit; one that is refused at times has inputs that do not."""
    same = run.prompts["intended"] & run.prompts["workflow"].isin(prompts["workflow"].unique())
    here = same & run.prompts["server"].isin(prompts["server"].unique())
    if (here & (run.prompts["outcome"] != Outcome.REJECTED.value)).any():
        return " The same workflows were accepted there with other inputs: look at what was varied."
    where = "these servers" if here.sum() < same.sum() else "the server"
    other = ", while other servers took them" if here.sum() < same.sum() else ""
    return f" They were refused every time{other}: a node or a file they name is missing on {where}."
