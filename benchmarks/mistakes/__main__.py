"""`python -m benchmarks.mistakes [NAME ...]`: the table of what the check found, missed and made up.

Names are parts of names of mistakes, areas or `sound`; none: all. OUT=FILE writes the table between its marks there.
SERVER=URL: a real ComfyUI with tiny models in the place of the simulator (see `real`), for what can be planted there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.mistakes.suite import chosen, run, table, written_into


def main(names: list[str]) -> int:
    """Judge, tell each that is not as planted, print the table."""
    judged = []
    for one in run(chosen(names)):
        judged.append(one)
        if one.found and one.right_remedy and not one.false:
            continue
        print(f"{one.area}: {one.name}: {'found' if one.found else 'MISSED'}"
              f"{'' if one.right_remedy or not one.found else ', WRONG REMEDY'}", flush=True)  # fmt: skip
        for words in one.false:
            print(f"    FALSE {words}")
        if not one.found or not one.right_remedy:
            for row, words in one.answer.complaints.items():
                print(f"    said {row}: {words}")
    print(table(judged))
    if "OUT" in os.environ:
        written_into(Path(os.environ["OUT"]), table(judged))
    return int(any(one.false or not one.found or not one.right_remedy for one in judged))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
