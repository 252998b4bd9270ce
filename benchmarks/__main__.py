"""Run the benchmarks, show one table: `python -m benchmarks`; ONLY=load,probes for parts, FULL=1 for the long ones.

Each `bench_PART.py` yields figures. A figure with a peer is measured beside that peer, in turn, in the same run. The
table is also written to `benchmarks/out/latest.json`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.figure import Figure

HERE = Path(__file__).parent
OUT = HERE / "out" / "latest.json"


def parts(only: str) -> list[str]:
    """The parts to measure; SystemExit naming those there are when one is not."""
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    wanted = [part.strip() for part in only.split(",") if part.strip()] or known
    unknown = [part for part in wanted if part not in known]
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(unknown)}; known: {', '.join(known)}")
    return wanted


def measure(part: str, *, full: bool) -> Iterator[Figure]:
    """The figures of one part, as they are measured."""
    print(f"measuring {part} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    yield from import_module(f"benchmarks.bench_{part}").measure(full=full)
    print(f"    {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cpus": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def table(figures: list[Figure]) -> Table:
    """The figures for a reader."""
    shown = Table(title="ComfySoak, measured")
    for column in ("figure", "value", "goal", "met", "peer", "ratio", "spread", "runs"):
        shown.add_column(column, overflow="fold")
    for figure in figures:
        met = "" if figure.met is None else "yes" if figure.met else "NO"
        peer = f"{figure.peer}: {figure.peer_value:.4g} {figure.unit}" if figure.peer_value is not None else ""
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x"
        shown.add_row(figure.name, f"{figure.value:.4g} {figure.unit}", figure.goal or "", met, peer, ratio,
                      figure.spread, str(figure.runs))  # fmt: skip
    return shown


def main() -> int:
    """Measure, show, write; 1 when a goal is not met."""
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    full = os.environ.get("FULL") == "1"
    figures = [figure for part in parts(os.environ.get("ONLY", "")) for figure in measure(part, full=full)]
    Console(width=None if sys.stdout.isatty() else 180).print(table(figures))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"machine": machine(), "rows": [asdict(figure) for figure in figures]}, indent=2) + "\n")
    return 1 if any(figure.met is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
