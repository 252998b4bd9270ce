"""OOM: prompts that ran out of GPU memory, how full it was, and what the next prompt paid."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding, most_of, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told, told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

MOST_STATES = 200  # failures whose GPU state is looked at
MOST_PRICES = 20  # failures whose next success is looked at


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    rows = told(run, Code.OOM)
    if rows.prompt_count:
        words = _words(run, rows, states)
        yield finding(Code.OOM, rows.rows, words, states, count=rows.count, chart="vram")


def _words(run: Run, found: Told, states: GpuStates) -> str:
    rows = found.prompts
    workflows = most_of(found.mix.groupby("workflow", sort=False)["count"].sum())
    said = f"{counted(found.prompt_count, 'prompt')} ran out of GPU memory: {workflows}"
    nodes = mostly(rows["node_class"])
    said += f", in {nodes}." if nodes else "."
    looked_at = list(rows["moment"].head(MOST_STATES))
    seen = states.each(looked_at, [None] * len(looked_at))
    known = [state.vram_share for state in seen if state.vram_share is not None]
    if known:
        which = "the GPU" if seen[0].gpus == 1 else f"the fullest of {seen[0].gpus} GPUs"
        said += f" VRAM reached {max(known):.0%} of {which} within 2 s of it."
    return said + _price(run, rows, states)


def _price(run: Run, rows: pd.DataFrame, states: GpuStates) -> str:
    """What the first success after each failure took, against the median of its workflow, and whether it loaded."""
    good = _Good(run)
    ratios, loaded = [], False
    for moment, server in rows[["moment", "server"]].head(MOST_PRICES).itertuples(index=False):
        following = good.next_of(server, moment)
        usual_s = 0.0 if following is None else good.usual_s(following)
        if following is None or not usual_s > 0:
            continue
        took_s, at = float(good.service_s[following]), pd.Timestamp(good.done_at[following])
        if np.isfinite(took_s):
            ratios.append(took_s / usual_s)
            loaded |= any(load.server == server and moment <= load.started <= at for load in states.loads)
    if not ratios or max(ratios) < 1.5:
        return ""
    often = "" if len(ratios) == 1 else "up to "
    why = ", for loading models again" if loaded else ""
    return f" The next success took {often}{max(ratios):.1f} times the median of its workflow{why}."


class _Good:
    """Timed successes: the first on a server after a moment, and what is usual. Looked up in narrow columns."""

    def __init__(self, run: Run) -> None:
        prompts = run.prompts
        self.done_at, self.service_s = prompts["done_at"].to_numpy(), prompts["service_s"].to_numpy()
        self._good = (prompts["timed"] & prompts["ok"]).to_numpy(dtype=bool)
        self._server, self._servers = prompts["server"].cat.codes.to_numpy(), prompts["server"].cat.categories
        self._workflow = prompts["workflow"].cat.codes.to_numpy()
        self._usual_s: dict[int, float] = {}
        self._of_server: dict[object, np.ndarray] = {}

    def next_of(self, server: object, moment: pd.Timestamp) -> int | None:
        """Its place among the prompts."""
        if server not in self._servers:
            return None
        if server not in self._of_server:
            here = self._server == self._servers.get_loc(server)
            self._of_server[server] = np.flatnonzero(self._good & here)
        places = self._of_server[server]
        later = places[self.done_at[places] > moment.to_datetime64()]
        return int(later[np.argmin(self.done_at[later])]) if later.size else None

    def usual_s(self, place: int) -> float:
        """The median service time of the workflow of the prompt at `place`; 0 where none is known."""
        code = int(self._workflow[place])
        if code not in self._usual_s:
            known = self.service_s[self._good & (self._workflow == code)]
            known = known[np.isfinite(known)]
            self._usual_s[code] = float(np.median(known)) if known.size else 0.0
        return self._usual_s[code]
