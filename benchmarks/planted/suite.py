"""All cases in parallel processes, and the table of what was found, missed and false."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from benchmarks.planted.cases import Case
from benchmarks.planted.judging import Judged, try_case
from benchmarks.planted.leaks import LEAKS
from benchmarks.planted.plantings.catalogue import NOT_PLANTED, PLANTINGS
from comfysoak_core.codes import Code

PROCESSES = 2
A_POOL = 400  # recordings


def run_cases(cases: Iterable[Case], *, keep_in: Path | None = None, processes: int = PROCESSES) -> Iterator[Judged]:
    """Judge all of them; `keep_in`: where recordings stay that were not judged as planted."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep_in or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        # Fresh processes now and then, since memory grows: by pools, as `max_tasks_per_child` of Python 3.11 deadlocks.
        todo = iter(cases)
        while some := list(islice(todo, A_POOL)):
            with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
                waiting = [pool.submit(try_case, case, folder, keep=keep_in is not None) for case in some]
                for done in as_completed(waiting):
                    yield done.result()


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table. `false`: recordings with something told that was not planted and does not follow."""

    name: str
    size: str
    seeds: int
    found: int
    missed: int
    false: int
    what: str  # was false, or went wrong, each with how often

    @property
    def share(self) -> float:
        """Found, of those that were to be found."""
        return self.found / max(self.found + self.missed, 1)


def lines(judged: Iterable[Judged]) -> list[Line]:
    """The table: a row a code, the leaks, pairs, and clean runs by kind."""
    rows: dict[tuple[str, str], list[Judged]] = {}
    for one in judged:
        name = one.kind if one.case.group == "clean" else one.case.name
        rows.setdefault((one.case.group, name), []).append(one)
    order = [("code", code.value) for code in Code] + [("leak", name) for name in LEAKS] + [("pair", "pairs")]
    order += sorted(key for key in rows if key[0] == "clean")
    return [_line(key, rows[key]) for key in order if key in rows]


def _line(key: tuple[str, str], judged: list[Judged]) -> Line:
    group, name = key
    is_clean = group == "clean"
    wrong = [one for one in judged if one.false or one.error or (is_clean and one.doubts)]
    counts: Counter[str] = Counter()
    for one in judged:
        counts.update(one.false)
        if one.error:
            counts["it failed: " + one.error.strip().splitlines()[-1][:80]] += 1
        if is_clean:
            counts.update(f"doubt: {doubt.partition(':')[0]}" for doubt in one.doubts)
        if group == "pair":
            counts.update(f"missed {code} in {one.kind}" for code in one.missed)
    return Line(
        name=f"clean: {name}" if is_clean else name,
        size=_size(group, name),
        seeds=len(judged),
        found=sum(len(one.found) for one in judged),
        missed=sum(len(one.missed) + bool(one.error) for one in judged),
        false=len(wrong),
        what="; ".join(f"{what} ({count})" for what, count in counts.most_common(6)),
    )


def _size(group: str, name: str) -> str:
    if group == "code":
        return PLANTINGS[Code(name)].size
    if group == "leak":
        return LEAKS[name].size
    return "two codes drawn" if group == "pair" else "nothing"


def markdown(table: Iterable[Line]) -> str:
    """The table as the manual has it."""
    rows = ["| planted | size | seeds | found | missed | false | what was false |", "|---|---|---|---|---|---|---|"]
    rows += [
        f"| {one.name} | {one.size} | {one.seeds} | {one.found} | {one.missed} | {one.false} | {one.what} |"
        for one in table
    ]
    rows += [f"| {code.value} | not planted: {why} | | | | | |" for code, why in NOT_PLANTED.items()]
    return "\n".join(rows)
