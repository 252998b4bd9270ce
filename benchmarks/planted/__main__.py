"""Planted truth: `python -m benchmarks.planted`; FULL=1 for all seeds, ONLY=CODE,clean,... for some rows, OUT=FILE.

Makes recordings with known truth, lets them be judged, and prints what was found, missed and false. OUT is the file the
table is written into, between its marks (`docs/planted.md`). SALT draws other seeds than the final ones, KEEP names a
folder for recordings that were not judged as planted.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.planted import sides
from benchmarks.planted.cases import cases
from benchmarks.planted.seeds import FINAL
from benchmarks.planted.suite import lines, markdown, run_cases

SMALL: Final = 0.05
BEGIN, END = "<!-- the table begins -->\n", "<!-- the table ends -->"


def main() -> int:
    """Run, print, write; 1 when a recording could not be judged at all."""
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    share = 1.0 if os.environ.get("FULL") == "1" else SMALL
    only = frozenset(filter(None, os.environ.get("ONLY", "").split(",")))
    salt, keep = os.environ.get("SALT", FINAL), os.environ.get("KEEP")
    began, judged = time.monotonic(), []
    for one in run_cases(cases(salt, share=share, only=only), keep_in=Path(keep) if keep else None):
        judged.append(one)
        print(f"\r{len(judged)} recordings", end="", file=sys.stderr, flush=True)
    text = markdown(lines(judged))
    if not only or "sides" in only:
        text += "\n\n" + sides.markdown(sides.rehearse(salt, share=share))
    print(f"\n{text}\n\n{len(judged)} recordings in {time.monotonic() - began:.0f} s")
    if out := os.environ.get("OUT"):
        _put(Path(out), text)
    return 1 if any(one.error for one in judged) else 0


def _put(path: Path, text: str) -> None:
    """The table in the place of the one before."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    path.write_text(f"{before}{BEGIN}{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
