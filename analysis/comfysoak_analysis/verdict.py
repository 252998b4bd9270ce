"""The verdict: what a run's recording says about its goals, as one frozen value and as `verdict.json`.

Validity comes first: a run that measured itself instead of the target has no opinion on goals. Then a goal that was
missed decides, then one that cannot be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from comfysoak_analysis.findings.finding import Finding
from comfysoak_core.errors import ExitCode

VERSION = 1


class Standing(StrEnum):
    """How a goal stands."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"


class Conclusion(StrEnum):
    """The verdict in one word."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    NOT_VALID = "not valid"
    WATCHED = "watched"  # nothing was to be judged: a recording of `comfysoak probe`


class Weight(StrEnum):
    """What a doubt does to the run."""

    NOTE = "note"  # worth knowing
    CAUTION = "caution"  # read the figures with care
    INVALID = "invalid"  # the run says nothing about the target


@dataclass(frozen=True, slots=True)
class Doubt:
    """One thing that speaks against trusting the run: what was seen, and what to change."""

    name: str
    weight: Weight
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class GoalResult:
    """One goal with the value measured; `value` is None where there was nothing to measure.

    `value_text` and `limit_text` are for readers; `reason` says why a goal is undecided and what it would take.
    """

    text: str
    measure: str
    standing: Standing
    value: float | None
    limit: float
    unit: str
    value_text: str
    limit_text: str
    samples: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the run says; `exit_code` is 0, 1 or 3, and the supervisor lets an interruption (130, 143) outrank it."""

    run: str
    conclusion: Conclusion
    exit_code: ExitCode
    sentence: str  # why this conclusion
    story: str  # what happened, in figures
    started_ns: int | None
    ended_ns: int | None
    ended_how: str  # "completed", "interrupted", "cut off", "running", or what the recording says
    goals: tuple[GoalResult, ...]
    findings: tuple[Finding, ...]
    doubts: tuple[Doubt, ...]
    on_undecided: str = "fail"
    version: int = VERSION

    @property
    def valid(self) -> bool:
        """Whether nothing makes the run say nothing."""
        return all(doubt.weight is not Weight.INVALID for doubt in self.doubts)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain values: what `verdict.json` holds."""
        return {
            "version": self.version,
            "run": self.run,
            "conclusion": self.conclusion.value,
            "exit_code": int(self.exit_code),
            "sentence": self.sentence,
            "story": self.story,
            "valid": self.valid,
            "started_ns": self.started_ns,
            "ended_ns": self.ended_ns,
            "ended_how": self.ended_how,
            "on_undecided": self.on_undecided,
            "goals": [_plain(goal) for goal in self.goals],
            "findings": [_finding(finding) for finding in self.findings],
            "doubts": [_plain(doubt) for doubt in self.doubts],
        }

    def to_json(self) -> bytes:
        """The verdict as indented JSON with a newline at its end."""
        return orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def conclude(goals: tuple[GoalResult, ...], doubts: tuple[Doubt, ...], on_undecided: str) -> Conclusion:
    """One word for a run: not valid, then failed, then undecided, then passed."""
    if any(doubt.weight is Weight.INVALID for doubt in doubts):
        return Conclusion.NOT_VALID
    standings = {goal.standing for goal in goals}
    if Standing.MISSED in standings:
        return Conclusion.FAILED
    if Standing.UNDECIDED in standings and on_undecided != "pass":
        return Conclusion.UNDECIDED
    return Conclusion.PASSED


EXIT_CODES = {
    Conclusion.PASSED: ExitCode.OK,
    Conclusion.FAILED: ExitCode.GOAL_MISSED,
    Conclusion.UNDECIDED: ExitCode.NOT_VALID,
    Conclusion.NOT_VALID: ExitCode.NOT_VALID,
    Conclusion.WATCHED: ExitCode.OK,
}


def _plain(row: GoalResult | Doubt) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code.value,
        "severity": finding.severity.value,
        "count": finding.count,
        "first_ns": finding.first_ns,
        "last_ns": finding.last_ns,
        "certainty": finding.certainty.value,
        "evidence": finding.evidence,
        "unless": finding.unless,
        "meaning": finding.meaning,
        "remedy": finding.remedy,
        "examples": list(finding.examples),
        "gpu": [state.in_words() for state in finding.states],
        "link": f"report.html#{finding.anchor}",
        "incident": finding.incident or None,
        "accepted": None
        if finding.accepted is None
        else {"reason": finding.accepted.reason, "until": finding.accepted.until},
    }
