"""Hostile text stays text, wherever it is shown."""

from __future__ import annotations

import html
import json
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from comfysoak_analysis.text import LONGEST, bounded, for_chart, for_markdown, for_script, for_xml

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "| a | [x](javascript:alert(1)) ![i](http://evil/p.png) @everyone",
    "\u202egnp.exe\x00\x1b[31m",
    "a\nb\r\n::error::c",
    "]]>",
    "\ud800",
    "<b>&amp;</b>",
)


@given(st.text(st.characters(), max_size=400))
def test_bounded_is_one_clean_line(text: str) -> None:
    """Of at most so many characters, none of which moves the cursor or turns the direction."""
    said = bounded(text)
    assert len(said) <= LONGEST
    assert said.encode("utf-8").decode() == said
    assert not set(said) & set("\n\r\t\x00\x1b\u202e\u2028\u2029")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_tag_reaches_a_chart(text: str) -> None:
    """Plotly would take it for its own."""
    assert "<" not in for_chart(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_link_tag_or_mention_ends_up_in_markdown(text: str) -> None:
    """Each character that means something is escaped."""
    said = for_markdown(text)
    for sign in "<>|[]!@":
        assert said.count(sign) == said.count("\\" + sign)


@pytest.mark.parametrize(
    "text", ["https://evil.example/x", "WWW.evil.example", "a@evil.example", "@octocat", "see #12"]
)
def test_nothing_in_markdown_becomes_a_link_by_itself(text: str) -> None:
    """GitHub links addresses, names and numbers of issues without being asked; the reader still sees what was said."""
    said = for_markdown(text)
    assert not re.search(r"(?<!\\)://|www\.", said, re.IGNORECASE)
    shown = html.unescape(MarkdownIt("commonmark").render(said))
    assert not re.search(r"[@#]\w", shown)
    assert shown.replace("\u200b", "") == f"<p>{text}</p>\n"


@given(st.text(st.characters(), max_size=200))
def test_xml_takes_any_text(text: str) -> None:
    """What XML cannot hold is left out."""
    element = ET.Element("a", name=for_xml(text))
    element.text = for_xml(text)
    ET.fromstring(ET.tostring(element, encoding="utf-8"))


@pytest.mark.parametrize("text", [text for text in HOSTILE if text != "\ud800"])
def test_json_in_a_script_cannot_end_it(text: str) -> None:
    """And is the same value when read, but for what turns the direction of a page."""
    said = for_script({"a": text})
    assert "<" not in said
    assert ">" not in said
    assert json.loads(said) == {"a": text.replace("\u202e", "")}
