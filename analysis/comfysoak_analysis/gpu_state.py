"""What the GPUs were doing around a moment: samples within two seconds before and after it, and nothing older."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from comfysoak_analysis.exporters import intervals_s
from comfysoak_analysis.findings.finding import GpuState
from comfysoak_analysis.frames import Run
from comfysoak_analysis.model_loads import Held, LoadedModels, ModelLoad, loaded_models, model_loads
from comfysoak_analysis.server_hosts import gpus_beside
from comfysoak_analysis.watched_gpus import TOTAL, WatchedGpu, watched_gpus
from comfysoak_core.clock import NS_PER_S

WINDOW_NS = 2_000_000_000


class GpuStates:
    """Looks up the state of the GPUs at any moment of a run."""

    def __init__(self, run: Run, loads: tuple[ModelLoad, ...] | None = None) -> None:
        self.loads = model_loads(run) if loads is None else loads
        refreshed_s = intervals_s(run)
        self._series = {
            uuid: _Changes(gpu) if refreshed_s.get(uuid, 0.0) > WINDOW_NS / NS_PER_S else _Even(gpu)
            for uuid, gpu in watched_gpus(run).items()
        }
        self._run = run
        self._beside: dict[str | None, list[_Changes | _Even]] = {None: list(self._series.values())}
        servers = {load.server for load in self.loads}
        self._held: dict[str, LoadedModels] = {server: loaded_models(run, self.loads, server) for server in servers}

    def at(self, moment: pd.Timestamp, server: str | None = None) -> GpuState:
        """The state around `moment`; the models of `server`, or of the only server there is."""
        at_ns = int(moment.value)
        held = self._models(moment, server)
        state = GpuState(at_ns, loaded_models=held.sure, perhaps_loaded=held.perhaps, staged_models=held.staged)
        if not self._series:
            return replace(state, unknown="no GPU was watched")
        beside = self._of_server(server)
        parts = [part for series in beside if (part := series.around(at_ns)) is not None]
        if not parts:
            fresh = "fresh " if any(series.is_coarse for series in beside) else ""
            return replace(state, unknown=f"no {fresh}sample within 2 s")
        shares = [part.share for part in parts if part.share is not None]
        fullest = max(parts, key=lambda part: part.share or 0.0)
        busy = [part.utilisation for part in parts if part.utilisation is not None]
        return replace(
            state,
            gpus=len(beside),
            vram_share=max(shares) if shares else None,
            vram_used_bytes=fullest.used_bytes,
            utilisation_ratio=float(np.mean(busy)) if busy else None,
        )

    def each(self, moments: Sequence[pd.Timestamp], servers: Sequence[str | None]) -> tuple[GpuState, ...]:
        """The state at each moment, beside the server it concerns."""
        return tuple(self.at(moment, server) for moment, server in zip(moments, servers, strict=True))

    def held(self, server: str) -> LoadedModels | None:
        """What `server` held over time; None where nothing tells of a load."""
        return self._held.get(server)

    def _of_server(self, server: str | None) -> list[_Changes | _Even]:
        """The GPUs of the host it runs on, where that is known."""
        if server not in self._beside:
            uuids = gpus_beside(self._run, server or "")["uuid"].drop_duplicates()
            self._beside[server] = [self._series[str(uuid)] for uuid in uuids]
        return self._beside[server]

    def _models(self, moment: pd.Timestamp, server: str | None) -> Held:
        if server is None and len(self._held) == 1:
            server = next(iter(self._held))
        held = self._held.get(server or "")
        return held.at(moment.to_datetime64(), np.timedelta64(WINDOW_NS, "ns")) if held is not None else Held()


class _Part:
    """One GPU's samples in a window."""

    __slots__ = ("share", "used_bytes", "utilisation")

    def __init__(self, used: Any, total: Any, busy: Any) -> None:
        top = _largest(used)
        self.used_bytes = None if top is None else int(top)
        whole = _largest(total)
        self.share = top / whole if top is not None and whole else None
        known = busy[~np.isnan(busy)]
        self.utilisation = float(known.mean()) if known.size else None


class _Changes:
    """By an exporter that refreshes its values rarely: only what changed is known to be new."""

    is_coarse = True

    def __init__(self, gpu: WatchedGpu) -> None:
        self._at, values = gpu.changes()
        self._used, self._total, self._busy = values.T

    def around(self, at_ns: int) -> _Part | None:
        first, last = np.searchsorted(self._at, (at_ns - WINDOW_NS, at_ns + WINDOW_NS))
        if first == last:
            return None
        window = slice(int(first), int(last))
        return _Part(self._used[window], self._total[window], self._busy[window])


class _Even:
    """By steps of the fine grid: of each the most memory in use and the mean utilisation."""

    is_coarse = False

    def __init__(self, gpu: WatchedGpu) -> None:
        self._fine = gpu.fine
        self._total = np.array([gpu.held[TOTAL].most])

    def around(self, at_ns: int) -> _Part | None:
        fine = self._fine
        first, last = ((at_ns + edge - fine.start_ns) // fine.width_ns for edge in (-WINDOW_NS, WINDOW_NS))
        window = slice(max(first, 0), max(last + 1, 0))
        if not fine.seen[window].any():
            return None
        count = fine.count[window]
        busy = fine.busy[window][count > 0].astype(np.float64) / count[count > 0]
        return _Part(fine.used[window], self._total, busy)


def _largest(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.max()) if known.size else None
