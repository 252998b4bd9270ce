"""The verdict on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfysoak.telling import tell_verdict


def test_no_control_character_of_a_server_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever in the verdict its words stand."""
    evil = "a\x1b]0;owned\x07\x9b2J\nb"
    verdict: dict[str, Any] = {
        "conclusion": "failed",
        "sentence": evil,
        "goals": [{"standing": "missed", "text": evil, "value_text": evil, "reason": evil}],
        "findings": [{"severity": "critical", "code": "OOM", "count": 1, "evidence": evil}],
        "doubts": [{"weight": "caution", "name": "x", "what": evil, "remedy": evil}],
    }
    tell_verdict(verdict, Path("runs/x"))
    said = capsys.readouterr().out
    assert "owned" in said
    assert not set(said) & set("\x1b\x07\x9b")


def test_github_shows_what_weighs_beside_the_change(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line each, the gravest first; text of a server can neither end its line nor begin a command of its own."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    evil = "a\n::error::b, 5%:\x1b[2J"
    accepted = {"reason": "known", "until": "2027-01-31"}
    verdict: dict[str, Any] = {
        "conclusion": "failed",
        "sentence": "no",
        "goals": [{"standing": "missed", "text": evil, "value_text": "3", "reason": ""}],
        "findings": [
            {"severity": "warning", "code": "WS_ABNORMAL", "count": 1, "evidence": "dropped"},
            {"severity": "critical", "code": "OOM", "count": 1, "evidence": "full", "accepted": accepted},
        ],
        "doubts": [{"weight": "note", "name": "no GPU", "what": "none", "remedy": ""}],
    }
    tell_verdict(verdict, Path("runs/x"))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("::")] == [
        "::error title=ComfySoak%3A goal missed::a ::error::b, 5%25: [2J: measured 3.",
        "::warning title=ComfySoak%3A WS_ABNORMAL::dropped",
    ]
    assert any("accepted  OOM  1  until 2027-01-31: known" in line for line in lines)
