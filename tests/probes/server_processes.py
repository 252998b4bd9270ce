"""Processes that listen on a port as a server does, and the tree of files that says which cgroup they are in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LISTENS = """
import socket, sys
listener = socket.create_server(("127.0.0.1", {port}))
print("up", flush=True)
sys.stdin.read()
"""


@contextmanager
def listening(port: int, *, folder: Path | None = None, arguments: Sequence[str] = ()) -> Iterator[int]:
    """A process that listens on a port until the block ends; its id. `main.py` when it has a folder to work in."""
    program = LISTENS.format(port=port)
    command = [sys.executable, "-c", program]
    if folder is not None:
        (folder / "main.py").write_text(program, encoding="utf-8")
        command = [sys.executable, "main.py", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == b"up\n"
        yield process.pid
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def write_tree(root: Path, files: dict[str, str]) -> None:
    """Files with their text, and the folders they are in."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
