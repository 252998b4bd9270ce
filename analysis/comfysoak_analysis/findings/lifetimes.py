"""Sockets that ended without a close frame, all after the same time: somebody between us and the server counts."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from comfysoak_core.codes import Code

FEWEST = 3
FEWEST_MOMENTS = 2  # all at one moment is a server that died
APART = pd.Timedelta(seconds=2)
SHORTEST_S = 4.0
NEAR_RATIO, NEAR_S = 0.1, 1.0
SHARE = 0.8  # of the drops of a server: with fewer, chance may have it


@dataclass(frozen=True, slots=True)
class Cut:
    """Sockets to one server that were cut; `measure` is the column in which they are alike."""

    server: str
    rows: pd.DataFrame
    measure: str


def cuts(rows: pd.DataFrame) -> list[Cut]:
    """What is found among these sockets; they have `moment`, the time of their end."""
    refused = rows[rows["closed_by"] == "refused"]
    rows = rows[(rows["code"] == Code.WS_ABNORMAL.value) & rows["opened"].notna()].sort_values("moment")
    found = []
    for server, part in rows.groupby("server"):
        outlived = part[~_let_nobody_in(refused.loc[refused["server"] == server, "moment"], part["moment"])]
        if not outlived.empty:
            found.append(_cluster(str(server), outlived))
    return [cut for cut in found if cut is not None]


def _let_nobody_in(refused: pd.Series, drops: pd.Series) -> pd.Series:
    """Which drops were the server's own end: right after them connections were refused."""
    moments = refused.sort_values()
    first, last = moments.searchsorted(drops), moments.searchsorted(drops + APART, side="right")
    return pd.Series(last > first, index=drops.index)


def _cluster(server: str, rows: pd.DataFrame) -> Cut | None:
    """Those whose silence, or else whose age, was the same when they were cut."""
    for measure in ("longest_silence_s", "open_s"):
        middle = float(rows[measure].median())
        near = rows[(rows[measure] - middle).abs() <= max(NEAR_RATIO * middle, NEAR_S)]
        moments = 1 + int((near["moment"].diff() > APART).sum())
        enough = len(near) >= max(FEWEST, SHARE * len(rows)) and moments >= FEWEST_MOMENTS
        if enough and middle >= SHORTEST_S:
            return Cut(server, near, measure)
    return None
