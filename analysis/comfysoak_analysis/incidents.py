"""A folder for each finding, with what was recorded around it: `incidents/finding-CODE/` in the run directory.

The minute before and the minute after its first moment, and around up to two later ones where they are far apart: the
log of the servers concerned, their queue, events, GPUs, hosts, processes, prompts and sockets, as CSV that a
spreadsheet may open. What is read is found by the manifest and by the statistics of row groups, never by reading whole
tables.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pandas as pd
import pyarrow as pa

from comfysoak_analysis.allocating import trim
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.columns import columns_of
from comfysoak_analysis.frames.lean import Chosen
from comfysoak_analysis.sheet import FILES, LOG, MOST_ROWS, Sheet, csv_of, log_of, nearest, of_subjects
from comfysoak_analysis.verdict import Doubt, Verdict, Weight
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code

FOLDER, FACTS = "incidents", "finding.json"
MADE_BY = "comfysoak"
MOMENTS_MOST = 3
AROUND_NS = 60 * NS_PER_S  # before and after each
LIFE_NS = 600 * NS_PER_S  # a prompt that was due so long before may still be there
_NOT_WRITTEN = "What was recorded around the findings could not be written"
_OURS = frozenset({FACTS, LOG, *(sheet.name for sheet in FILES)})

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Written:
    """The findings, each with its folder, and in one sentence why some have none."""

    findings: tuple[Finding, ...]
    trouble: str = ""


def with_incidents(run: Run, verdict: Verdict) -> Verdict:
    """The verdict with the folders of its findings, which are written; a note where they could not be."""
    written = write_incidents(run, verdict.findings)
    note = Doubt("incident folders", Weight.NOTE, written.trouble, "Check rights and space of the run directory.")
    return replace(verdict, findings=written.findings, doubts=verdict.doubts + ((note,) if written.trouble else ()))


def write_incidents(run: Run, findings: Sequence[Finding]) -> Written:
    """Make the folder of each finding anew, and take away those of findings that are no more.

    What others put there stays. A disk that refuses is told in `trouble`; nothing is raised for it.
    """
    root = run.path / FOLDER
    made: dict[Code, Path] = {}
    try:
        _tidy(root, keep={finding.anchor for finding in findings})
        if findings:
            root.mkdir(exist_ok=True)
            made |= {one.code: Path(tempfile.mkdtemp(prefix=f".{one.anchor}.", dir=root)) for one in findings}
            _fill(run, findings, made)
        taken = [one.anchor for one in findings if not _put(root, one.anchor, made[one.code])]
    except OSError as error:
        for folder in made.values():
            shutil.rmtree(folder, ignore_errors=True)
        return Written(tuple(findings), f"{_NOT_WRITTEN} to {root}: {error.strerror or error}.")
    trouble = f"{root / taken[0]} was not made by ComfySoak and was left as it is." if taken else ""
    placed = (one if one.anchor in taken else replace(one, incident=f"{FOLDER}/{one.anchor}") for one in findings)
    return Written(tuple(placed), trouble)


def moments_of(finding: Finding) -> tuple[int, ...]:
    """Its first moment, and of those that lie far from each other one in the middle and the last."""
    apart: list[int] = []
    for at_ns in sorted({finding.first_ns, *finding.moments_ns}):
        if not apart or at_ns - apart[-1] > 2 * AROUND_NS:
            apart.append(at_ns)
    if len(apart) <= MOMENTS_MOST:
        return tuple(apart)
    return (apart[0], apart[len(apart) // 2], apart[-1])


def spans_of(finding: Finding) -> Spans:
    """The minutes around them."""
    return tuple((at_ns - AROUND_NS, at_ns + AROUND_NS) for at_ns in moments_of(finding))


def _fill(run: Run, findings: Sequence[Finding], made: Mapping[Code, Path]) -> None:
    """Write the files of each folder; each table is read once for all of them."""
    counts: dict[Code, dict[str, dict[str, int]]] = {finding.code: {} for finding in findings}
    servers = _servers(run)
    for sheet in FILES:
        for code, told in _fill_sheet(run, sheet, findings, made, servers):
            counts[code][sheet.name] = told
        trim()  # before the next table is read
    around = [(first - LIFE_NS, last) for finding in findings for first, last in spans_of(finding)]
    log = run.recording.between("server_log", around)
    for finding in findings:
        lines = log_of(of_subjects(log, finding.subjects, servers), spans_of(finding))
        if lines:
            (made[finding.code] / LOG).write_bytes(lines)
            counts[finding.code][LOG] = {"rows": lines.count(b"\n"), "of": lines.count(b"\n")}
        (made[finding.code] / FACTS).write_bytes(_facts(run, finding, counts[finding.code]))
        made[finding.code].chmod(0o755)


def _fill_sheet(
    run: Run, sheet: Sheet, findings: Sequence[Finding], made: Mapping[Code, Path], servers: frozenset[str]
) -> Iterator[tuple[Code, dict[str, int]]]:
    """Write one file of each folder; gives how many rows it has, and of how many."""
    table = _around(run, sheet, findings)
    for finding in findings:
        rows = of_subjects(sheet.within(table, spans_of(finding)), finding.subjects, servers)
        if rows.num_rows:
            kept = nearest(rows, sheet.by, moments_of(finding), MOST_ROWS)
            (made[finding.code] / sheet.name).write_bytes(csv_of(kept))
            yield finding.code, {"rows": kept.num_rows, "of": rows.num_rows}


def _around(run: Run, sheet: Sheet, findings: Sequence[Finding]) -> pa.Table:
    """The rows that were there around the moments of any finding."""
    spans = [span for finding in findings for span in spans_of(finding)]
    seen = (sheet.by,) if sheet.lasts is None else (sheet.by, sheet.lasts)
    there = Chosen(tuple(columns_of(sheet.table)), seen, lambda rows: pa.array(sheet.was_there(rows, spans)))
    reader = run.reader(sheet.table)
    for group in reader.groups(near=_wanted(run, sheet, findings)):
        there.add(group)
    return there.rows(reader)


def _wanted(run: Run, sheet: Sheet, findings: Sequence[Finding]) -> list[tuple[int, int]]:
    """Where in the table the rows of all findings lie, by the moments at which they began."""
    around = [span for finding in findings for span in spans_of(finding)]
    if sheet.lasts is None:
        return around
    longer = [(first - LIFE_NS, last) for first, last in around]
    if sheet.table != "sessions":
        return longer
    ended = pd.Series(data=False, index=run.sessions.index)
    for first, last in around:
        ended |= run.sessions["closed"].between(pd.Timestamp(first), pd.Timestamp(last))
    began = run.sessions.loc[ended, "opening"].dropna().drop_duplicates()
    return longer + [(int(at.value), int(at.value)) for at in began]


def _servers(run: Run) -> frozenset[str]:
    """All servers of the run: of the subjects of a finding those that are servers."""
    told = {server.url for server in run.recording.run.servers}
    planned = set(run.plan.servers) if run.plan is not None else set()
    return frozenset(told | planned | {str(one) for one in run.sessions["server"].dropna().unique()})


def _facts(run: Run, finding: Finding, files: Mapping[str, Mapping[str, int]]) -> bytes:
    """`finding.json`."""
    facts = {
        "format": 1,
        "made_by": MADE_BY,
        "run": {"id": run.recording.run.id, "name": run.recording.run.name},
        "code": finding.code.value,
        "severity": finding.severity.value,
        "certainty": finding.certainty.value,
        "unless": finding.unless,
        "count": finding.count,
        "first": _utc(finding.first_ns),
        "last": _utc(finding.last_ns),
        "windows": [{"from": _utc(first), "to": _utc(last)} for first, last in spans_of(finding)],
        "subjects": list(finding.subjects),
        "meaning": finding.meaning,
        "evidence": finding.evidence,
        "remedy": finding.remedy,
        "examples": list(finding.examples),
        "gpu": [{"at": _utc(state.at_ns), "state": state.in_words()} for state in finding.states],
        "accepted": None
        if finding.accepted is None
        else {"reason": finding.accepted.reason, "until": finding.accepted.until},
        "link": f"../../report.html#{finding.anchor}",
        "files": files,
        "rows_most": MOST_ROWS,
    }
    return json.dumps(facts, indent=2).encode() + b"\n"  # ASCII: somebody will look at it on a terminal


def _utc(at_ns: int) -> str:
    return pd.Timestamp(at_ns).isoformat(timespec="milliseconds") + "Z"


def _put(root: Path, name: str, made: Path) -> bool:
    """Put a whole new folder in the place of the one before; False, and it is gone, where that is not ours."""
    folder = root / name
    if folder.is_symlink() or (folder.exists() and not _is_ours(folder)):
        shutil.rmtree(made, ignore_errors=True)
        return False
    if folder.exists():
        _move_others(folder, made)
        aside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=root))
        folder.rename(aside / name)
        made.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        made.rename(folder)
    return True


def _move_others(source: Path, target: Path) -> None:
    """Whoever works on a finding may have put notes there."""
    for path in source.iterdir():
        if path.name not in _OURS:
            path.rename(target / path.name)


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        facts = orjson.loads((folder / FACTS).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("made_by") == MADE_BY


def _tidy(root: Path, keep: set[str]) -> None:
    """Take away folders of ours that nobody needs; with what others put there one stays, without our files."""
    if root.is_symlink() or not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if folder.is_symlink() or folder.name in keep or not _is_ours(folder):
            continue
        for name in _OURS:
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds something of others
            folder.rmdir()
    with contextlib.suppress(OSError):
        root.rmdir()
