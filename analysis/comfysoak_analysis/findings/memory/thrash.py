"""MODEL_THRASH: models that do not fit together are loaded again and again.

Either for a large share of all prompts, or at nearly every change of workflow where there are many such changes. With
dynamic VRAM a model is staged at every use: that counts only where its file had to be read for it.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.model_loads import ModelLoad, Origin, let_go
from comfysoak_core.codes import Code

LEAST_PROMPTS = 8
SHARE = 0.4  # of prompts that had to load a model which had been loaded before
SHARE_AT_CHANGES, OF_CHANGES = 0.15, 0.8


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, over all servers that do it."""
    said, rows = [], []
    for server in sorted({load.server for load in states.loads}):
        loads = [load for load in states.loads if load.server == server]
        again = _again(loads, let_go(run, server))
        mine = _executed(run, server)
        if len(mine) < LEAST_PROMPTS or len({load.label for load in loads}) < 2:
            continue
        if len(again) < min(SHARE, SHARE_AT_CHANGES) * len(mine):
            continue  # each is at most one prompt's
        executed = run.prompts[["started_at", "workflow"]].iloc[mine].sort_values("started_at")
        paid = _first_of_each_prompt(again, executed)
        hit, changes = len(paid), _changes(executed)
        often = hit >= SHARE * len(executed) or (
            hit >= SHARE_AT_CHANGES * len(executed) and hit >= OF_CHANGES * changes
        )
        if not often:
            continue
        said.append(
            f"{hit:,} of {len(executed):,} prompts on {server} had to load a model that had been loaded before "
            f"({_by_model(again)}). {_cost(again)}"
        )
        rows += [(prompt_id, load.started, server) for load, prompt_id in paid]
    if rows:
        yield finding(
            Code.MODEL_THRASH, pd.DataFrame(rows, columns=["id", "moment", "server"]), " ".join(said), states,
            certainty=Certainty.LIKELY, unless="The server was told to let its models go by somebody (POST /free).",
            chart="loads",
        )  # fmt: skip


def _executed(run: Run, server: str) -> np.ndarray:
    """Places of the prompts the server worked on."""
    prompts = run.prompts
    mine = (prompts["server"] == server).to_numpy() & prompts["work"].to_numpy(dtype=bool)
    return np.flatnonzero(mine & ~np.isnat(prompts["started_at"].to_numpy()))


def _changes(executed: pd.DataFrame) -> int:
    """How often the next prompt was of another workflow than the one before it."""
    workflows = pd.factorize(executed["workflow"])[0]
    return int(np.count_nonzero(np.diff(workflows)))


def _again(loads: list[ModelLoad], let_go_at: list[pd.Timestamp]) -> list[ModelLoad]:
    """Loads of a model that had been loaded before, since the server was last made to let all go."""
    seen: set[str] = set()
    again, epoch = [], 0
    for load in loads:
        if (now := bisect(let_go_at, load.started)) != epoch:
            seen, epoch = set(), now
        if load.label in seen and not (load.staged and load.origin is not Origin.COLD):
            again.append(load)
        seen.add(load.label)
    return again


def _cost(again: list[ModelLoad]) -> str:
    """What it took, as far as that is known, and by what it is."""
    known = [load.lasted_s for load in again if load.lasted_s is not None]
    took = f"took {sum(known):.0f} s in all" if known else "took nobody knows how long"
    took += f" for the {len(known):,} of which that is known" if known and len(known) < len(again) else ""
    files = sum(load.origin is Origin.COLD for load in again)
    read = f"; for {files:,} of {len(again):,} a file was read" if files else ""
    return f"Loading {took}{read}, by {again[0].source.value}."


def _first_of_each_prompt(loads: list[ModelLoad], executed: pd.DataFrame) -> list[tuple[ModelLoad, str | None]]:
    """The first load within each prompt that had one, and the prompt's id (None: not known).

    By the node it happened in; where none was seen by the prompt that ran then.
    """
    moments = np.array([load.known_until.to_datetime64() for load in loads], dtype="datetime64[ns]")
    places = np.searchsorted(executed["started_at"].to_numpy(), moments, side="right")
    first: dict[int | str, tuple[ModelLoad, str | None]] = {}
    for load, place in zip(loads, places.tolist(), strict=True):
        prompt_id = load.place.prompt_id if load.place is not None else None
        first.setdefault(place if prompt_id is None else prompt_id, (load, prompt_id))
    return list(first.values())


def _by_model(loads: list[ModelLoad]) -> str:
    counts = pd.Series([load.label for load in loads]).value_counts()
    return ", ".join(f"{name} {count:,} times" for name, count in counts.head(4).items())
