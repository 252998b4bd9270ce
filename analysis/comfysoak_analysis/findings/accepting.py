"""Findings the scenario accepts: shown with the reason, and weighing nothing until the end of their last day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

from comfysoak_analysis.findings.finding import Acceptance, Finding
from comfysoak_analysis.frames import Run
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.goals import Accepted


def with_acceptance(run: Run, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The same, those marked that were accepted on the day of the run (not that of the report: verdicts stay)."""
    accepted = {one.finding: one for one in accepted_then(run)}
    return tuple(
        replace(finding, accepted=Acceptance(accepted[finding.code].reason, accepted[finding.code].until.isoformat()))
        if finding.code in accepted
        else finding
        for finding in findings
    )


def accepted_then(run: Run) -> tuple[Accepted, ...]:
    """What was accepted on the day the run began."""
    day = _day(run)
    return tuple(one for one in (run.plan.accepted if run.plan is not None else ()) if day <= one.until)


def expired(run: Run) -> tuple[Accepted, ...]:
    """What was accepted before that day."""
    day = _day(run)
    return tuple(one for one in (run.plan.accepted if run.plan is not None else ()) if day > one.until)


def _day(run: Run) -> date:
    return datetime.fromtimestamp((run.start_ns or 0) / NS_PER_S, UTC).date()
