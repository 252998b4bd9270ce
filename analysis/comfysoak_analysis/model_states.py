"""Whether a prompt had to wait for a model: `cold` where one was loaded while it ran, `warm` where not; or `cached`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_analysis.measures import Group, groups_of, measured_s
from comfysoak_analysis.model_loads import ModelLoad, model_loads

COLD, WARM, CACHED = "cold", "warm", "cached"
_STATES = (COLD, WARM, CACHED)


def model_states(prompts: pd.DataFrame, loads: Iterable[ModelLoad]) -> pd.Categorical:
    """One of the three a prompt, none for one that never ran; `warm` says no more than that no load was seen.

    By time and server: one prompt runs at a time on a server, so a load within its run is its own. With dynamic VRAM
    models are staged at every use: that counts only where a file was read for it.
    """
    started, done = (prompts[column].to_numpy(dtype="datetime64[ns]") for column in ("started_at", "done_at"))
    known = ~np.isnat(started) & ~np.isnat(done)
    states = np.where(known, np.int8(_STATES.index(WARM)), np.int8(-1))
    for server, moments in _by_server(loads).items():
        own = np.flatnonzero((prompts["server"] == server).to_numpy() & known)
        order = own[np.argsort(started[own], kind="stable")]
        position = np.searchsorted(started[order], moments, side="right") - 1
        ran = order[position[position >= 0]]
        states[ran[moments[position >= 0] <= done[ran]]] = _STATES.index(COLD)
    states[~prompts["work"].to_numpy(dtype=bool)] = _STATES.index(CACHED)
    return pd.Categorical.from_codes(states, categories=pd.Index(_STATES, dtype="str"))


def groups_by_model_state(run: Run) -> tuple[Group, ...]:
    """The figures of the prompts that waited for a model and of those that did not; nothing where only one kind was."""
    return run.once(_groups_by_model_state)


def _groups_by_model_state(run: Run) -> tuple[Group, ...]:
    prompts = run.prompts
    states = model_states(prompts, model_loads(run)).set_categories([COLD, WARM])
    timed = prompts["timed"].to_numpy(dtype=bool)
    if not all((timed & (states.codes == code)).any() for code in range(2)):
        return ()
    return groups_of(prompts, states, [measured_s(prompts)] * 2)


def _by_server(loads: Iterable[ModelLoad]) -> dict[str, np.ndarray]:
    moments: dict[str, list[np.datetime64]] = {}
    for load in loads:
        if not load.staged or load.origin.value == COLD:
            moments.setdefault(load.server, []).append(load.started.to_datetime64())
    return {server: np.sort(np.array(found, dtype="datetime64[ns]")) for server, found in moments.items()}
