"""The stand-in driver of the tests, for benchmarks: built once, and what a process needs to load it as the real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "tests" / "probes" / "standin_nvml.c"


def build(folder: Path) -> bool:
    """Build it in `folder`; False, and a line about it, where there is no compiler."""
    if shutil.which("cc") is None:
        print("no C compiler (Debian: apt-get install gcc libc6-dev): no figures with stand-in GPUs", file=sys.stderr)
        return False
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-lpthread"], check=True)
    return True


def environment(folder: Path, gpus: int) -> dict[str, str]:
    """The variables of a process beside the driver that was built in `folder`, with so many GPUs."""
    script = folder / f"gpus-{gpus}"
    script.write_text(f"gpus {gpus}\n", encoding="utf-8")
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "STANDIN_NVML": str(script)}
