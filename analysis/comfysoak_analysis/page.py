"""The page: one file that needs nothing else, and that nothing in it can make ask for anything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from comfysoak_analysis.figures import in_words
from comfysoak_analysis.text import bounded, for_page, for_script
from comfysoak_analysis.tiles import number_text, seconds_text, share_text, size_text
from comfysoak_analysis.view import View
from comfysoak_core.comfyui.vary import Range
from comfysoak_core.scenario.workload import Workload

_HERE = Path(__file__).parent
TEMPLATES = _HERE / "templates"
PLOTLY = _HERE / "assets" / "plotly-basic.min.js"
FONT = _HERE / "assets" / "inter-latin.woff2"


def render(view: View) -> str:
    """The report as HTML."""
    return page("report.html", _data(view), view=view)


def page(template: str, data: dict[str, Any], **context: object) -> str:
    """A page whose script knows `data`. Scripts are allowed by their hash alone, so that no text can become one."""
    plotly = PLOTLY.read_text(encoding="utf-8")
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template(template)
        .render(
            **context,
            font=Markup(_font()),  # noqa: S704  # base64
            css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),  # noqa: S704  # ours
            plotly=Markup(plotly),  # noqa: S704  # ours, by its version
            script=Markup(script),  # noqa: S704  # ours
            script_hashes=Markup(" ".join(_hash(text) for text in (plotly, script))),  # noqa: S704  # base64
            data=Markup(for_script(data)),  # noqa: S704  # escaped for where it stands
        )
    )


def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        finalize=lambda value: for_page(value) if type(value) is str else value,  # Markup is ours and stays
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bounded": bounded,
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


def _font() -> str:
    """The type the page is set in, so that it looks the same everywhere; other scripts fall back to the system's."""
    encoded = base64.b64encode(FONT.read_bytes()).decode()
    return (
        '@font-face{font-family:"ComfySoak Inter";font-weight:100 900;font-display:block;'
        f"src:url(data:font/woff2;base64,{encoded}) format('woff2')}}"
    )


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
