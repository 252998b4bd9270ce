"""`--junit`: a test case a row, a class a part. A warning passes, and says so in what the case put out."""

from __future__ import annotations

from xml.etree import ElementTree as ET  # written here, never parsed

from comfysoak.check.account import Account
from comfysoak.check.row import Row, State
from comfysoak.check.rows import Part
from comfysoak_analysis.junit_parts import case as case_of
from comfysoak_analysis.junit_parts import document, suite, tell
from comfysoak_core.guide import place_of


def junit(account: Account) -> bytes:
    """The document. A check that was interrupted has a case more, with an error: its rows are not all there."""
    return document([_whole(account), *(_of_part(part, rows) for part, rows in account.by_part().items())])


def _whole(account: Account) -> ET.Element:
    case = case_of("check", "the check ran to its end")
    case.set("time", f"{account.took_s:.3f}")
    if account.interrupted is not None:
        tell(case, "error", f"interrupted after {len(account.rows)} rows; call it again for the others", "interrupted")
    return suite("check", [case])


def _of_part(part: Part, rows: tuple[Row, ...]) -> ET.Element:
    made = suite(part.value, [_case(row) for row in rows])
    made.set("time", f"{sum(row.took_s or 0.0 for row in rows):.3f}")
    return made


def _case(row: Row) -> ET.Element:
    case = case_of(f"check.{row.kind.part.name.lower()}", f"{row.kind.id}: {row.kind.title}")
    case.set("time", f"{row.took_s or 0.0:.3f}")
    guided = f"{row.seen}\n{row.remedy}\n{place_of(row.kind.id)}"
    if row.state is State.FAILED:
        tell(case, "failure", guided, row.code.value if row.code is not None else "failed")
    elif row.state is State.SKIPPED:
        tell(case, "skipped", row.seen, "skipped")
    else:
        tell(case, "system-out", f"warning: {guided}" if row.state is State.WARNING else row.seen)
    return case
