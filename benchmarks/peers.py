"""Other tools to measure beside: in a virtual environment of their own, made by pip the first time, where it can."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".cache" / "peers"
WANTED = ("nvitop==1.7.2", "gpustat==1.1.1", "setuptools<81")  # gpustat asks for pkg_resources, which newer ones lack


def interpreter() -> Path | None:
    """The Python that has the peers; None, and a line about it, where they cannot be installed."""
    python = FOLDER / "bin" / "python"
    if python.exists() and _has_them(python):
        return python
    print(f"installing {', '.join(WANTED)} into {FOLDER} ...", file=sys.stderr, flush=True)
    venv.create(FOLDER, with_pip=True, clear=True)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *WANTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not _has_them(python):
        print(f"the peers cannot be installed, so nothing is compared: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return python


def _has_them(python: Path) -> bool:
    return subprocess.run([python, "-c", "import nvitop, gpustat"], capture_output=True, check=False).returncode == 0
