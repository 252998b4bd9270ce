"""Moments that a server's clock told, on the run's clock: by the offset that the load measured (`server_clocks`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_core.comfyui.server_clock import DRIFT_MOST

OFF_S = 0.5  # a clock that is wrong by more is worth telling


@dataclass(frozen=True, slots=True)
class ClockOff:
    """A server's clock that is wrong: ahead of the run's by `offset_s` (behind: below zero), give or take `error_s`."""

    server: str
    offset_s: float
    error_s: float
    drift_ppm: float

    def in_words(self) -> str:
        """As a sentence."""
        side = "ahead of" if self.offset_s > 0 else "behind"
        drift = f", and gains {self.drift_ppm:.0f} ppm" if abs(self.drift_ppm) >= 1 else ""  # NaN: not known
        by, within = f"{abs(self.offset_s):.3f} s", f"±{self.error_s * 1000:.1f} ms"
        return f"The clock of {self.server} is {by} {side} ours ({within}){drift}."


def on_our_clock(moments: pd.Series, servers: pd.Series, clocks: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The moments converted, and how far each may be wrong in seconds; NaT and NaN where the offset is not known.

    Of a server's readings the nearest in time counts; the further it is, the more the clocks may have drifted since.
    """
    offset_s = pd.Series(np.nan, index=moments.index)
    error_s = pd.Series(np.nan, index=moments.index)
    for server, readings in clocks.groupby("server"):
        mine = (servers == server) & moments.notna()
        if mine.any():
            nearest = _nearest(moments[mine], readings)
            away_s = np.abs(moments[mine].to_numpy() - readings["at"].to_numpy()[nearest]) / np.timedelta64(1, "s")
            offset_s[mine] = readings["offset_s"].to_numpy()[nearest]
            error_s[mine] = readings["error_s"].to_numpy()[nearest] + away_s * DRIFT_MOST
    return moments - pd.to_timedelta(offset_s, unit="s"), error_s


def wrong_clocks(clocks: pd.DataFrame) -> list[ClockOff]:
    """The servers whose clocks are off by so much that people should know, as last measured."""
    last = clocks.sort_values("at").groupby("server").last()
    wrong = last[last["offset_s"].abs() - last["error_s"] > OFF_S]
    return [
        ClockOff(str(server), float(row["offset_s"]), float(row["error_s"]), float(row["drift_ppm"]))
        for server, row in wrong.iterrows()
    ]


def _nearest(moments: pd.Series, readings: pd.DataFrame) -> np.ndarray:
    """The index of the reading nearest to each moment; `readings` are in order of time."""
    at = readings["at"].to_numpy()
    after = np.clip(np.searchsorted(at, moments.to_numpy()), 0, len(at) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(moments.to_numpy() - at[before]) < np.abs(at[after] - moments.to_numpy())
    return np.where(nearer, before, after)
