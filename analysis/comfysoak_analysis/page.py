"""The page: one file that needs nothing else, and that nothing in it can make ask for anything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from comfysoak_analysis import style
from comfysoak_analysis.figures import in_words
from comfysoak_analysis.text import bounded, for_script
from comfysoak_analysis.tiles import number_text, seconds_text, share_text, size_text
from comfysoak_analysis.view import View
from comfysoak_core.comfyui.vary import Range
from comfysoak_core.guide import address_of
from comfysoak_core.scenario.workload import Workload

PLOTLY = style.ASSETS / "plotly-basic.min.js"


def render(view: View) -> str:
    """The report as HTML."""
    return page("report.html", _data(view), view=view)


def page(template: str, data: dict[str, Any], **context: object) -> str:
    """A page whose script knows `data`. Scripts are allowed by their hash alone, so that no text can become one."""
    plotly = PLOTLY.read_text(encoding="utf-8")
    script = (style.TEMPLATES / "page.js").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template(template)
        .render(
            **context,
            font=style.font(),
            css=style.css(),
            plotly=Markup(plotly),  # noqa: S704  # ours, by its version
            script=Markup(script),  # noqa: S704  # ours
            script_hashes=Markup(" ".join(_hash(text) for text in (plotly, script))),  # noqa: S704  # base64
            data=Markup(for_script(data)),  # noqa: S704  # escaped for where it stands
        )
    )


def _environment() -> Environment:
    environment = style.environment()
    environment.filters |= {
        "guide": address_of,
        "unescape": html.unescape,  # chart labels are escaped for plotly; here autoescape does it
        "seconds": seconds_text,
        "number": number_text,
        "share": share_text,
        "size": size_text,
        "varied": _varied,
        "sentence": in_words.sentence,
        "rows": in_words.table,
    }
    environment.tests |= {"nan": math.isnan}
    return environment


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _data(view: View) -> dict[str, Any]:
    """What the script of the page knows; moments are milliseconds after the start."""
    charts = [chart for chart in (*view.charts, *view.machine_charts) if not chart.empty]
    cards = {card.anchor: card for card in view.findings}
    return {
        "start_ms": view.start_ms,
        "end_ms": view.end_ms,
        "live": view.live,
        "phases": [
            {"label": phase.label, "from": phase.from_ms, "to": phase.to_ms, "quiet": phase.quiet}
            for phase in view.phases
        ],
        "marks": [{"at": mark.at_ms, "anchor": mark.anchor} for mark in view.marks],
        "findings": {
            anchor: {
                "code": card.code,
                "severity": card.severity,
                "count": card.count,
                "words": f"{card.meaning} {bounded(card.evidence, 220)}",
                "of": list(card.subjects),
                "accepted": card.accepted is not None,
            }
            for anchor, card in cards.items()
        },
        "subjects": [
            {"key": one.key, "kind": one.kind, "name": html.unescape(one.name), "host": one.host}
            for one in view.subjects
        ],
        "charts": [{**chart.to_dict(), "legend": [name for name, _, _ in chart.legend]} for chart in charts],
    }


def _varied(workload: Workload) -> str:
    """What changes from prompt to prompt, in words."""
    vary = workload.vary
    parts = [f"seed {vary.seed}"]
    if vary.prompts:
        parts.append(f"{len(vary.prompts):,} prompt texts")
    parts += [
        f"{path} = {f'{values.low:g} to {values.high:g}' if isinstance(values, Range) else json.dumps(values)}"
        for path, values in vary.inputs.items()
    ]
    if vary.nodes:
        parts.append(f"{len(vary.nodes):,} mapped nodes")
    return ", ".join(parts)
