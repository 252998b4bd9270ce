"""Where a ComfyUI puts its pictures, by its command line, and how to get there from outside of its container."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

LINKS_MOST = 40


@dataclass(frozen=True, slots=True)
class FolderPaths:
    """Absolute paths as the server sees them."""

    output: str
    temp: str


def paths_of(command: Sequence[str], working_folder: str) -> FolderPaths | None:
    """By options and, for what they leave open, the folder of `main.py`; None when this is no ComfyUI's command line.

    `--temp-directory` names the folder in which `temp` is made. Each overrides `--base-directory`.
    """
    base = _option(command, "--base-directory") or _folder_of_main(command)
    output, temp = _option(command, "--output-directory"), _option(command, "--temp-directory")
    if base is None and (output is None or temp is None):
        return None
    above = os.path.join(working_folder, base or "")  # noqa: PTH118  # a path of another system of files
    return FolderPaths(
        output=os.path.normpath(os.path.join(working_folder, output) if output else os.path.join(above, "output")),  # noqa: PTH118  # likewise
        temp=os.path.normpath(os.path.join(working_folder, temp or above, "temp")),  # noqa: PTH118  # likewise
    )


def _option(command: Sequence[str], name: str) -> str | None:
    """The value of an option; as for the server the last one counts."""
    found = None
    for index, word in enumerate(command):
        if word == name and index + 1 < len(command):
            found = command[index + 1]
        elif word.startswith(f"{name}="):
            found = word.partition("=")[2]
    return found


def _folder_of_main(command: Sequence[str]) -> str | None:
    for word in command:
        if PurePath(word.replace("\\", "/")).name == "main.py":
            return os.path.dirname(word) or "."  # noqa: PTH120  # likewise
    return None


def seen_from(root: Path, path: str) -> Path:
    """`path` as a process sees it whose root folder is `root`, with every link on the way followed inside of it.

    A link in a container leads somewhere in that container; the kernel, asked from outside, would follow it into the
    host's own files. Raises OSError where the path leads nowhere.
    """
    left = [part for part in reversed(Path(path).parts) if part != os.sep]
    place: list[str] = []
    links = 0
    while left:
        part = left.pop()
        if part == "..":
            place = place[:-1]
            continue
        here = root.joinpath(*place, part)
        if not here.is_symlink():
            place.append(part)
            continue
        links += 1
        if links > LINKS_MOST:
            raise OSError(f"more than {LINKS_MOST} links on the way to {path}")
        target = here.readlink()
        place = [] if target.is_absolute() else place
        left += [name for name in reversed(target.parts) if name != os.sep]
    return root.joinpath(*place)
