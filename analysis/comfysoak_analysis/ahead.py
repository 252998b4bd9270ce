"""Reading ahead: what the report needs of the large tables of samples and nodes, while loads of models are looked for.

Arrow and numpy let go of the interpreter while they work, so this takes the second core. Memory is least then, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from comfysoak_analysis import measures
from comfysoak_analysis.frames import Run
from comfysoak_analysis.tracks import TOGETHER
from comfysoak_analysis.watched_gpus import watched_gpus
from comfysoak_core.errors import ComfySoakError


@contextmanager
def reading_ahead(run: Run) -> Iterator[None]:
    """Read on in a thread of its own; it has ended when the block is left."""
    thread = Thread(target=_read, args=(run,), name="reading ahead")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _read(run: Run) -> None:
    """In the order in which it will be asked for."""
    try:
        watched_gpus(run)
        run.tracks("gpu_slow", TOGETHER["gpu_slow", "uuid"])
        measures.gpus(run)
        if not run.is_watching:
            measures.whole(run)
            for column in ("workflow", "phase", "server"):
                measures.groups_by(run, column)
    except ComfySoakError:
        return  # a damaged file: whoever asks for it says so
