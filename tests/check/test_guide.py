"""Codes, rows and the troubleshooting guide name the same things, and what the guide says to try can be tried."""

from __future__ import annotations

import re
import shlex
import string
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from comfysoak.check.rows import KINDS
from comfysoak.main import VERBS
from comfysoak_core.codes import CATALOGUE, Code
from comfysoak_core.guide import GUIDE, address_of, place_of
from tests.check.stand import Stand

_PATH = Path(__file__).parents[2] / GUIDE
_TEXT = _PATH.read_text(encoding="utf-8")
_ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
_ENTRY = re.compile(
    r'^(?P<anchors>(?:<a id="[^"]+"></a>)+)\n### (?P<title>[^\n]+)\n\n(?P<text>.*?)(?=^<a id=|^## |\Z)',
    re.MULTILINE | re.DOTALL,
)
_ENTRIES = {anchor: entry for entry in _ENTRY.finditer(_TEXT) for anchor in _ANCHOR.findall(entry["anchors"])}
_COMMANDS = [line.strip() for line in _TEXT.splitlines() if line.startswith("      ")]


def test_each_row_and_each_code_has_an_entry_and_no_entry_is_about_nothing() -> None:
    """Anchors, each there once, are the ids of rows, the codes, and the top."""
    anchors = Counter(_ANCHOR.findall(_TEXT))
    assert set(anchors) == {"top", *KINDS, *(code.value for code in Code)}
    assert set(anchors.values()) == {1}
    assert set(_ENTRIES) == set(anchors) - {"top"}


@pytest.mark.parametrize("part", ["- **Symptom**: ", "- **Cause**: ", "- **Confirm**:\n\n      ", "- **Remedy**: "])
def test_each_entry_has_symptom_cause_how_to_confirm_and_remedy(part: str) -> None:
    """Each of the four once in each entry."""
    assert [anchor for anchor, entry in _ENTRIES.items() if entry["text"].count(part) != 1] == []


def test_entries_of_codes_say_what_the_catalogue_says() -> None:
    """Severity, meaning and remedy word for word; the guide may say more."""
    assert set(CATALOGUE) == set(Code)
    for entry in CATALOGUE.values():
        text = _ENTRIES[entry.code.value]["text"]
        assert text.startswith(f"*{entry.severity}*. {entry.meaning}\n")
        assert f"- **Remedy**: {entry.remedy}" in text


def test_links_within_the_guide_lead_to_entries() -> None:
    """Each link to an anchor names an entry or a heading that is there; each heading is linked."""
    named = set(re.findall(r"\]\(#([^)]+)\)", _TEXT))
    headings = {
        re.sub("[^a-z -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^## (.+)", _TEXT, re.MULTILINE)
    }
    assert named <= set(_ENTRIES) | headings
    assert headings - named == {"common-failure-points", "error-patterns"}


def test_outputs_link_to_the_guide_by_the_names_of_its_anchors() -> None:
    """What terminals show is a path in this repository; what pages link to ends in the same."""
    assert place_of("url.tcp") == "docs/troubleshooting.md#url.tcp"
    assert address_of("OOM").endswith("/docs/troubleshooting.md#OOM")


def test_the_shell_can_read_each_command() -> None:
    """Quotes are closed, and each command of ours is one there is."""
    assert len(_COMMANDS) >= len(_ENTRIES) // 2
    for command in _COMMANDS:
        words = shlex.split(command, comments=True)
        for place, word in enumerate(words[:-1]):
            if word == "comfysoak":
                assert words[place + 1] in VERBS, command


def test_what_the_guide_asks_of_a_comfyui_is_answered(stand: Stand) -> None:
    """Each route that a command asks for is there, in either version."""
    asked = {call for command in _COMMANDS for call in _requests(command)}
    assert len(asked) > 15
    refused = {}
    for method, path, body in sorted(asked):
        filled = string.Template(path).safe_substitute(C=stand.url, ID="none", FILE="none.png")
        request = urllib.request.Request(filled, data=body.encode() or None, method=method)
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except urllib.error.HTTPError as error:
            refused[path] = error.code
            error.close()
    assert refused == {"$C/prompt": 400, "$C/view?filename=$FILE": 404, "$C/ws": 400}, "an empty prompt, no such file"


def _requests(command: str) -> list[tuple[str, str, str]]:
    """(method, address, body) of each call of curl that goes to the ComfyUI, uploads apart."""
    found = []
    for call in re.split(r"[;|&]\s", command):
        words = shlex.split(call, comments=True) if call.count("'") % 2 == 0 else []
        if "curl" not in words[:1] or "-F" in words:
            continue
        body = words[words.index("-d") + 1] if "-d" in words else ""
        method = words[words.index("-X") + 1] if "-X" in words else "POST" if body else "GET"
        found += [(method, word, body) for word in words if word.startswith("$C/")]
    return found
