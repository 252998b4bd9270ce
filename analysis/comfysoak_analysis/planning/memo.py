"""The plan for its readers: a page that prints on one sheet, markdown, JSON, and plain text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import orjson
from markupsafe import Markup

from comfysoak_analysis import style
from comfysoak_analysis.planning import drawing, words
from comfysoak_analysis.planning.answer import Answer
from comfysoak_analysis.planning.words import Fact
from comfysoak_analysis.text import bounded, markdown_table
from comfysoak_analysis.text import for_markdown as md

VERSION = 1
_LOOKS = {0: ("passed", "✓"), 1: ("failed", "✕"), 3: ("undecided", "?")}


@dataclass(frozen=True, slots=True)
class Memo:
    """All that the page shows; charts are SVG of ours, everything else is text."""

    conclusion: str
    mark: str
    headline: str
    sentence: str
    runs: str
    gpus: str
    chosen: str  # the row of the size that is needed
    facts: tuple[Fact, ...]
    cautions: tuple[str, ...]
    statistic: str
    latency_chart: Markup
    busy_chart: Markup
    tornado: Markup
    assumptions: tuple[str, ...]
    checks: tuple[str, ...]
    sizes_header: tuple[str, ...]
    sizes: tuple[tuple[str, ...], ...]
    workflows_header: tuple[str, ...]
    workflows: tuple[tuple[str, ...], ...]
    version: str
    command: str


def memo_of(answer: Answer, command: str) -> Memo:
    """The page of an answer; `command` is what makes it again."""
    conclusion, mark = _LOOKS[int(answer.exit_code)]
    sizes = words.header_of_sizes(answer)
    return Memo(
        conclusion=conclusion,
        mark=mark,
        headline=words.headline(answer),
        sentence=words.sentence(answer),
        runs=", ".join(bounded(source.name, words.LONGEST_NAME) for source in answer.measured.sources[:5]),
        gpus=words.gpus_text(answer.gpus) if answer.gpus is not None else "",
        chosen=f"{answer.gpus:,}" if answer.gpus is not None else "",
        facts=tuple(words.facts(answer)),
        cautions=answer.cautions,
        statistic=sizes[1],
        latency_chart=Markup(drawing.latency_chart(answer)) if answer.points else Markup(),  # noqa: S704  # escaped there
        busy_chart=Markup(drawing.busy_chart(answer)) if answer.points else Markup(),  # noqa: S704  # numbers alone
        tornado=Markup(drawing.tornado(answer)),  # noqa: S704  # escaped there
        assumptions=tuple(words.assumptions(answer)),
        checks=words.checks_in_words(answer),
        sizes_header=sizes,
        sizes=tuple(words.rows_of_sizes(answer)),
        workflows_header=words.HEADER_OF_WORKFLOWS,
        workflows=tuple(words.rows_of_workflows(answer)),
        version=version("comfysoak"),
        command=bounded(command, 600),
    )


def page(memo: Memo) -> str:
    """The memo as one HTML file without a script."""
    return style.environment().get_template("plan.html").render(memo=memo, css=style.css(), font=style.font())


def markdown(memo: Memo, answer: Answer) -> str:
    """The memo for a ticket or a pull request; names are escaped."""
    parts = [
        f"## ComfySoak plan: {md(memo.headline)}",
        md(memo.sentence, 600),
        _table(("", "", ""), [(fact.name, fact.value, fact.note) for fact in memo.facts]),
        _list("Read with care", memo.cautions),
        "### By number of GPUs\n\n" + _table(memo.sizes_header, memo.sizes) if memo.sizes else "",
        "### What the answer hangs on\n\n" + _table(words.HEADER_OF_SWINGS, list(words.rows_of_swings(answer)))
        if answer.swings
        else "",
        _list("What this takes for granted", memo.assumptions),
        _list("Held against measurements", memo.checks),
        "### What was measured\n\n" + _table(memo.workflows_header, memo.workflows),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table([md(cell) for cell in header], ([md(cell) for cell in row] for row in rows))


def _list(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"### {title}", "", *(f"- {md(line, 600)}" for line in lines)]) if lines else ""


def text(memo: Memo, answer: Answer) -> Iterator[str]:
    """Lines for a terminal."""
    yield f"{memo.headline.upper()}  {memo.sentence}"
    yield from ("", *_columns([(fact.name, fact.value, fact.note) for fact in memo.facts]))
    if memo.sizes:
        yield from ("", *_columns([memo.sizes_header, *memo.sizes]))
    if answer.swings:
        yield from ("", *_columns([words.HEADER_OF_SWINGS, *words.rows_of_swings(answer)]))
    yield from ("", *_columns([memo.workflows_header, *memo.workflows]))
    for name, lines in (("care", memo.cautions), ("checked", memo.checks)):
        if lines:
            yield ""
            yield from (f"{name}  {line}" for line in lines)


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def document(memo: Memo, answer: Answer) -> bytes:
    """The plan as JSON: versioned, seconds and shares as numbers, what is not known as null."""
    found = answer.needed
    cost = answer.cost
    content: dict[str, Any] = {
        "version": VERSION,
        "exit_code": int(answer.exit_code),
        "headline": memo.headline,
        "sentence": memo.sentence,
        "goal": answer.question.wish.goal.text,
        "route": answer.question.route,
        "demand": {
            "text": answer.demand.text,
            "kind": answer.demand.kind,
            "growth": answer.question.growth,
            "percentile": answer.question.percentile,
            "planned_per_s": answer.demand.per_s,
            "mean_per_s": answer.demand.mean_per_s,
            "busiest_per_s": answer.demand.busiest_per_s,
        },
        "gpus": answer.gpus,
        "gpus_low": found.low if found is not None else None,
        "gpus_high": found.high if found is not None else None,
        "gpus_with_spare": answer.gpus + 1 if answer.gpus is not None else None,
        "floor_s": answer.floor_s,
        "sizes": [asdict(point) | {"checked": answer.standing(point.gpus)} for point in answer.points],
        "sensitivity": [
            {"change": one.name, "value_s": one.value_s, "share": one.change, "gpus": one.needed.gpus}
            for one in answer.swings
        ],
        "checks": [asdict(one) | {"error": one.error} for one in answer.checks],
        "scale_up_s": list(answer.measured.picture_s or answer.measured.ready_s),
        "price_of_1000_pictures": None
        if cost is None
        else {"planned": cost.planned, "planned_with_spare": cost.planned_with_spare, "mean": cost.mean,
              "mean_with_spare": cost.mean_with_spare},
        "workflows": [
            {"name": one.name, "share": share, "prompts": one.measured, "loads": one.loads_seen,
             "pictures": None if math.isnan(one.pictures) else one.pictures, "models": one.kind.models}
            for one, share in zip(answer.measured.workflows, answer.shares, strict=True)
        ],
        "cautions": list(memo.cautions),
        "assumptions": list(memo.assumptions),
    }  # fmt: skip
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
