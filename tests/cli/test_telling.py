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
