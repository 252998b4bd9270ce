"""Reading ahead: what the report needs whatever is found, while the main thread looks for model loads and findings.

Arrow and numpy let go of the interpreter while they work, so this takes the second core. What both ask for is made
once (`Run.once`), and who comes second waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any

from comfysoak_analysis import measures
from comfysoak_analysis.correlation import statements
from comfysoak_analysis.figures import gpu_states, prompts
from comfysoak_analysis.findings import whose
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.tracks import TOGETHER
from comfysoak_analysis.model_states import groups_by_model_state
from comfysoak_analysis.reliability import reliability
from comfysoak_analysis.watched_gpus import watched_gpus
from comfysoak_core.errors import ComfySoakError

_OF_ALL: tuple[Callable[[Run], Any], ...] = (
    lambda run: run.server_log,
    watched_gpus,
    lambda run: run.tracks("gpu_slow", TOGETHER["gpu_slow", "uuid"]),
    measures.gpus,
)
_OF_LOAD: tuple[Callable[[Run], Any], ...] = (
    lambda run: run.sessions,
    measures.whole,
    *(partial(measures.groups_by, column=column) for column in ("workflow", "phase", "server")),
    prompts.latency,
    prompts.service,
    whose.gpus,
    groups_by_model_state,
    statements,
    reliability,
)
_LAST = (gpu_states.states,)


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
        for needed in (*_OF_ALL, *(_OF_LOAD if not run.is_watching else ()), *_LAST):
            needed(run)
    except ComfySoakError:
        return  # a damaged file: whoever asks for it says so
