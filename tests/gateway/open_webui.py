"""Installs a real Open WebUI in a slim way, starts it, and runs the tests marked `gateway` against it.

    python tests/gateway/open_webui.py                  # into .cache/open-webui: 0.8 GB on disk, some minutes once
    python tests/gateway/open_webui.py --folder DIR     # there, or with what is there already
    OPEN_WEBUI=/path/to/bin/open-webui python tests/gateway/open_webui.py
    make test-gateway

Its wheel names in requirements-slim.txt what it needs without models of its own: no torch. Whatever it keeps lies in
a folder of the tests'. It needs Python 3.11 or 3.12 (PYTHON names one).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSION = "0.12.4"
TESTS = ("-m", "gateway", "tests/gateway")


def installed(folder: Path, python: str) -> Path:
    """Its program in a virtual environment in `folder`, installed there unless it is already."""
    program = folder / "bin" / "open-webui"
    done = folder / f".installed-{VERSION}"
    if done.exists():
        return program
    print(f"installing Open WebUI {VERSION} into {folder}: some minutes, 0.8 GB", flush=True)
    _run(python, "-m", "venv", str(folder))
    pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    _run(*pip, "--no-deps", f"open-webui=={VERSION}")
    slim = next(folder.glob("lib/python3*/site-packages/requirements-slim.txt"))
    _run(*pip, "--requirement", str(slim))
    done.touch()
    return program


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def main() -> int:
    """Install, and run the tests; their exit status."""
    parser = argparse.ArgumentParser(description="Tests against a real Open WebUI.")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "open-webui", help="where it is installed")
    parser.add_argument("tests", nargs="*", help="for pytest, in the place of all tests marked gateway")
    options = parser.parse_args()
    python = os.environ.get("PYTHON", sys.executable)
    program = os.environ.get("OPEN_WEBUI") or str(installed(options.folder.resolve(), python))
    command = [sys.executable, "-m", "pytest", *(options.tests or TESTS)]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "OPEN_WEBUI": program}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
