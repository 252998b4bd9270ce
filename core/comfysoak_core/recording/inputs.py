"""Files that a run needs beside its plan, such as the traces it replays: `inputs/` of its run directory."""

from __future__ import annotations

from pathlib import Path

from comfysoak_core.recording.layout import Layout


def input_files(run_dir: Path) -> tuple[Path, ...]:
    """Every file under `inputs/` that a load process of this run may open, by name.

    They are complete and do not change from the start of the first load process on. A load process on another machine
    needs all of them, at the same names under `inputs/` of its own run directory, before its test starts. A name holds
    a hash of the content: a file that is there already under its name need not be sent again.
    """
    folder = Layout(run_dir).inputs
    if not folder.is_dir():
        return ()
    return tuple(sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")))
