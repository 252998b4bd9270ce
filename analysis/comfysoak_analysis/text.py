"""Text that came from servers, made harmless for each place it is shown in: it is bounded, and stays text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

LONGEST = 300
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
_SPACE = re.compile(r"\s+")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+!|~@&])")
_ADDRESS = re.compile(r"(?::(?=//)|(?<=www)\.)", re.IGNORECASE)  # what would become a link by itself
_REFERENCE = re.compile(r"(?<=[@#])(?=\w)")  # GitHub looks for @name and #12 after it has taken out backslashes


def bounded(text: object, most: int = LONGEST) -> str:
    """`text` on one line, without control and direction characters, cut with an ellipsis after `most` characters."""
    plain = _SPACE.sub(" ", _CONTROL.sub("", str(text)[: most * 4])).strip()
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def for_page(text: str) -> str:
    """`text` of any length without characters that steer: a page would show what follows them in another order."""
    return _CONTROL.sub("", text)


def for_chart(text: object, most: int = LONGEST) -> str:
    """`text` for a chart, which would take tags in it for its own."""
    return html.escape(bounded(text, most), quote=False)


def for_markdown(text: object, most: int = LONGEST) -> str:
    """`text` for a cell of a markdown table: no link, no tag, no mention, no end of the cell."""
    escaped = _MARKDOWN.sub(r"\\\1", bounded(text, most))
    return _REFERENCE.sub("&#8203;", _ADDRESS.sub(r"\\\g<0>", escaped))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def for_xml(text: object, most: int = 4_000) -> str:
    """`text` of several lines for XML, which some characters may not stand in even when escaped."""
    return _CONTROL.sub("", str(text)[: most * 2])[:most]


def for_script(value: Any) -> str:  # whatever JSON can hold
    """`value` as JSON that cannot end the script element it stands in."""
    text = for_page(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode())
    return (
        text.replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )
