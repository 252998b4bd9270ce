"""SUBMIT_ERROR: POST /prompt (or a request to a gateway) failed otherwise than by validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from comfysoak_analysis.findings.carried import carried, messages, prompts_in_words
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

_MEANS = {
    401: "no token, or a wrong one",
    403: "forbidden: an Origin header, or rights",
    404: "no such route: a wrong address or path",
    413: "too large a body: --max-upload-size, or a proxy's limit",
    429: "a proxy that limits requests",
    500: "the server failed at it: its log says where",
    502: "a proxy could not reach the server",
    503: "a proxy had no server",
    504: "a proxy waited too long for the server",
}
_MOST = 4


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.SUBMIT_ERROR, _words)


def _words(_: Run, rows: Told) -> str:
    """By status, what each means, and what was said."""
    statuses = rows.prompts["http_status"]
    counts = Counter(int(status) for status in statuses.dropna())
    named = [_named(status, count) for status, count in counts.most_common(_MOST)]
    unanswered = int(statuses.isna().sum())
    if unanswered:
        named.append(f"no answer, the connection broke ({unanswered:,})")
    told = messages(rows.prompts["error_message"])
    return f"{prompts_in_words(rows)}: {', '.join(named)}{'. Said: ' + told if told else ''}."


def _named(status: int, count: int) -> str:
    means = _MEANS.get(status, "")
    return f"status {status} ({count:,}{', ' + means if means else ''})"
