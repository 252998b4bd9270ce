"""BAD_MESSAGE: what ComfyUI never sends, on a socket or as an answer."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.carried import carried, messages, prompts_in_words
from comfysoak_analysis.findings.evidence import counted, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.BAD_MESSAGE, _words)


def _words(_: Run, rows: Told) -> str:
    """What came on sockets, what instead of answers, and which prompts it cost."""
    said = []
    on_sockets = rows.events[rows.events["kind"] == "bad_message"]
    answers = rows.events[rows.events["kind"] != "bad_message"]
    if not on_sockets.empty:
        sockets = on_sockets["subject"].nunique()
        said.append(
            f"{counted(len(on_sockets), 'message')} on {counted(sockets, 'socket')}: {messages(on_sockets['detail'])}."
        )
    if not answers.empty:
        said.append(f"The probe was answered so {counted(len(answers), 'time')}: {messages(answers['detail'])}.")
    if not rows.sockets.empty:
        said.append(f"{counted(len(rows.sockets), 'socket')} ended by it: {messages(rows.sockets['reason'])}.")
    if not rows.prompts.empty:
        ends = mostly(rows.prompts["outcome"])
        told = messages(rows.prompts["error_message"])
        said.append(f"{prompts_in_words(rows)} were told so and ended as {ends}{': ' + told if told else ''}.")
    return " ".join(said)
