"""Service times of the run as detectors compare them: of the same workflow, warm with warm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.rows import Outcome

MOST = 300_000  # prompts looked at, evenly chosen of more
_LOAD_BEFORE_S = 0.5  # a load is told so long before the prompt it is for is seen to start


@dataclass(frozen=True, slots=True)
class Services:
    """Successful prompts of measured load in order of time, a place in each array; names by their numbers."""

    at_s: Floats  # when work began, in seconds after the start
    log_s: Floats  # logarithm of the service time: a slowdown is a sum
    server: np.ndarray
    workflow: np.ndarray
    is_cold: np.ndarray  # a model was loaded meanwhile
    servers: tuple[str, ...]
    workflows: tuple[str, ...]


def services(run: Run, states: GpuStates) -> Services:
    """Those with a service time, `MOST` at most."""
    return run.once(_services, states)


def _services(run: Run, states: GpuStates) -> Services:
    prompts = run.prompts
    chosen = prompts["timed"].to_numpy(dtype=bool) & prompts["ok"].to_numpy(dtype=bool)
    chosen &= (prompts["outcome"] == Outcome.SUCCESS.value).to_numpy() & (prompts["service_s"].to_numpy() > 0)
    chosen &= ~np.isnat(prompts["started_at"].to_numpy())
    for name in ("server", "workflow"):
        chosen &= prompts[name].cat.codes.to_numpy() >= 0
    known = np.flatnonzero(chosen).astype(np.int32)
    known = known[:: -(-known.size // MOST) if known.size else 1]
    at_s = run.since_start_s(prompts["started_at"].iloc[known])
    lasted_s = prompts["service_s"].to_numpy()[known].astype(float)
    (server, servers), (workflow, workflows) = (_numbered(prompts[name], known) for name in ("server", "workflow"))
    cold = np.zeros(at_s.size, dtype=bool)
    for number, name in enumerate(servers):
        mine = server == number
        cold[mine] = _loaded_meanwhile(run, states, name, at_s[mine], lasted_s[mine])
    return Services(at_s, np.log(lasted_s), server, workflow, cold, servers, workflows)


def _numbered(texts: pd.Series, places: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The number of each text at `places`, and the texts that there are."""
    numbers, codes = pd.factorize(texts.cat.codes.to_numpy()[places])
    return numbers, tuple(str(texts.cat.categories[code]) for code in codes.tolist())


def _loaded_meanwhile(run: Run, states: GpuStates, server: str, at_s: Floats, lasted_s: Floats) -> np.ndarray:
    starts = [load.started for load in states.loads if load.server == server]
    loads = np.sort(run.since_start_s(pd.Series(starts, dtype="datetime64[ns]")))
    first, last = np.searchsorted(loads, at_s - _LOAD_BEFORE_S), np.searchsorted(loads, at_s + lasted_s)
    return np.asarray(last > first)
