"""All set-ups, two at a time, and the table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.mistakes.judging import Judged, judge_mistake, judge_sound
from benchmarks.mistakes.planted import MISTAKES
from benchmarks.mistakes.setup import REAL, Setup
from benchmarks.mistakes.sound import SOUND_SETUPS

Judging = Callable[[], Judged]
AT_ONCE = 1 if REAL else 2
ON_REAL = {"configuration", "workflow", "mapping", "network"}  # a real server fails, and has a gateway, as it likes
_BEGINS, _ENDS = "<!-- the table begins -->", "<!-- the table ends -->"


def chosen(names: Sequence[str]) -> list[Judging]:
    """Those whose name or area has one of `names` in it; all where there are none."""

    def wanted(*texts: str) -> bool:
        return not names or any(name.lower() in text.lower() for name in names for text in texts)

    there = [one for one in MISTAKES if REAL is None or one.area in ON_REAL]
    mistakes: list[Judging] = [partial(judge_mistake, one) for one in there if wanted(one.name, one.area)]
    sound: list[Judging] = [
        partial(judge_sound, name, setup)
        for name, setup in SOUND_SETUPS.items()
        if wanted(name, "sound") and (REAL is None or setup == Setup())
    ]
    return mistakes + sound


def run(judgings: Sequence[Judging]) -> Iterator[Judged]:
    """Each judged, in order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda judging: judging(), judgings)


def table(judged: Iterable[Judged]) -> str:
    """Markdown: a line an area."""
    by_area: dict[str, list[Judged]] = {}
    for one in judged:
        by_area.setdefault(one.area, []).append(one)
    lines = ["| area | planted | found | right remedy | missed | false alarms | prompts, most | seconds, median |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for area, those in by_area.items():
        planted = 0 if area == "sound" else len(those)
        found = sum(one.found for one in those) if planted else 0
        right = sum(one.found and one.right_remedy for one in those) if planted else 0
        false = sum(len(one.false) for one in those)
        most = max(one.answer.prompts_sent for one in those)
        took = statistics.median(one.answer.took_s for one in those)
        name = f"{len(those)} sound set-ups" if area == "sound" else area
        lines.append(f"| {name} | {planted} | {found} | {right} | {planted - found} | {false} | {most} | {took:.1f} |")
    return "\n".join(lines)


def written_into(path: Path, text: str) -> None:
    """The table in the place of the old one."""
    before, _, rest = path.read_text(encoding="utf-8").partition(_BEGINS)
    _, _, after = rest.partition(_ENDS)
    path.write_text(f"{before}{_BEGINS}\n{text}\n{_ENDS}{after}", encoding="utf-8")
