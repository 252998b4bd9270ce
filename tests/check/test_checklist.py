"""The team's own checklist: every line of it is answered by rows, and ticked only when it was looked at."""

from __future__ import annotations

import re

import pytest

from comfysoak.check.checking import failed, skipped, warning
from comfysoak.check.checklist import CHECKLIST, DOCUMENTED, Tick, tick_of, walk
from comfysoak.check.output.markdown import markdown
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS
from tests.check.accounts import HOSTILE, account, complaints

_AS_THE_TEAM_WROTE_IT = """\
### 1. Verify Phase 1 Configuration
- [ ] Confirm environment variables are properly loaded
  - [ ] Verify COMFYUI_BASE_URL is accessible
  - [ ] Check COMFYUI_WORKFLOW is properly formatted
  - [ ] Validate COMFYUI_WORKFLOW_NODES structure
- [ ] Test Docker container connectivity
  - [ ] Verify ComfyUI service is running
  - [ ] Test network communication between services
  - [ ] Confirm model access and loading

### 2. Test Existing Implementation
- [ ] Validate WebSocket Communication
  - [ ] Test connection to ComfyUI server
  - [ ] Verify message handling (queue_prompt, get_images)
  - [ ] Monitor WebSocket connection stability
- [ ] Test Current Workflow Processing
  - [ ] Verify existing workflow execution
  - [ ] Test image generation pipeline
  - [ ] Validate output handling and storage
- [ ] Check Integration Points
  - [ ] Test FastAPI endpoint responses
  - [ ] Verify configuration management
  - [ ] Validate image processing pipeline

### 3. Error Handling Assessment
- [ ] Review Current Error Handling
  - [ ] Test connection failure scenarios
  - [ ] Verify error message formatting
  - [ ] Check cleanup procedures
- [ ] Document Error Cases
  - [ ] List common failure points
  - [ ] Document error patterns
  - [ ] Create troubleshooting guide

### 4. Basic Monitoring Setup
- [ ] Implement Essential Logging
  - [ ] Add WebSocket communication logs
  - [ ] Track generation success/failure
  - [ ] Log configuration status
- [ ] Setup Basic Health Checks
  - [ ] Monitor ComfyUI service status
  - [ ] Track WebSocket connection health
  - [ ] Verify workflow processing state
"""
_LINES = {line.text: line for section in CHECKLIST for _, line in walk(section.lines)}


def test_it_is_the_checklist_of_the_team_line_by_line() -> None:
    """Headings, lines and how they lie under each other, word for word."""
    sections = [
        "\n".join(
            [f"### {section.heading}", *(f"{'  ' * depth}- [ ] {line.text}" for depth, line in walk(section.lines))]
        )
        for section in CHECKLIST
    ]
    assert "\n\n".join(sections) + "\n" == _AS_THE_TEAM_WROTE_IT


@pytest.mark.parametrize("text", [line.text for line in _LINES.values()])
def test_every_line_is_answered_by_rows_there_are(text: str) -> None:
    """At least one row that it needs, and none that does not exist."""
    line = _LINES[text]
    assert line.all_needs()
    assert set(line.all_rows()) <= set(KINDS)


def test_every_row_answers_a_line() -> None:
    """No row is looked at for nothing."""
    assert {id_ for section in CHECKLIST for line in section.lines for id_ in line.all_rows()} == set(KINDS)


def _rows(**changed: Row) -> dict[str, Row]:
    return {row.kind.id: row for row in account({row.kind.id: row for row in changed.values()}).rows}


def test_a_line_is_ticked_only_when_all_it_needs_was_looked_at() -> None:
    """A warning ticks; a failure fails, also of a row it does not need; what was skipped leaves it open."""
    line = _LINES["Monitor WebSocket connection stability"]
    over = _LINES["Validate WebSocket Communication"]
    assert tick_of(line, _rows()) is Tick.TICKED
    assert tick_of(line, _rows(a=warning("socket.ping", "s", "r"))) is Tick.TICKED
    assert tick_of(line, _rows(a=skipped("socket.hold", "not asked for"))) is Tick.TICKED
    assert tick_of(line, _rows(a=failed("socket.hold", "s", "r"))) is Tick.FAILED
    assert tick_of(line, _rows(a=skipped("socket.ping", "why"))) is Tick.SKIPPED
    assert tick_of(over, _rows(a=skipped("socket.ping", "why"))) is Tick.SKIPPED
    assert tick_of(over, _rows(a=skipped("socket.order", "why"), b=failed("socket.ping", "s", "r"))) is Tick.FAILED
    assert tick_of(line, {}) is Tick.SKIPPED


def test_each_line_has_its_evidence_under_it() -> None:
    """What was seen, row by row; why rows were skipped; what to do, and where the guide has more."""
    text = markdown(account(complaints()))
    assert "\n- [ ] Confirm environment variables are properly loaded **failed**\n" in text
    assert "\n  - [x] Verify COMFYUI_BASE_URL is accessible\n    - ok `variables.set`: seen of variables.set\n" in text
    assert "failed `workflow.values`: node 4 names a model that is not there → Bring it." in text
    assert "docs/troubleshooting.md#workflow.values)" in text
    assert (
        "\n  - [ ] Test FastAPI endpoint responses *skipped*\n    - skipped `gateway.health`, `gateway.models`" in text
    )
    assert text.count("written: [the troubleshooting guide]") == len(DOCUMENTED)


def test_a_check_that_was_interrupted_leaves_lines_open() -> None:
    """Rows that were never decided are none that are ok."""
    whole = account()
    text = markdown(account(rows=whole.rows[:5]))
    assert "[x]" not in text
    assert "the check was interrupted" in text


def test_text_of_servers_stays_text() -> None:
    """No heading, link, mention or tag comes of it."""
    text = markdown(account(complaints(HOSTILE), target=f"http://{HOSTILE}"))
    assert "\n## heading" not in text
    assert "](http://evil" not in text
    assert not re.search(r"(?<!\\)<(script|img|td|table)", text)
    assert "@team" not in text
    assert "\x1b" not in text
