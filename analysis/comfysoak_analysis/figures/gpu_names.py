"""Which GPUs the charts show, in which order and colour, and what they are called there: the same in all of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import pandas as pd

from comfysoak_analysis.figures.fleet import MOST_DRAWN
from comfysoak_analysis.frames import Run
from comfysoak_analysis.text import for_chart
from comfysoak_analysis.watched_gpus import USED, watched_gpus

MOST_GPUS = MOST_DRAWN
COLOURS = 8  # as many as can be told apart
_LABELS = ["uuid", "host", "index", "instance"]


@dataclass(frozen=True, slots=True)
class Named:
    """One GPU or MIG instance; `colour` is empty where there are more than charts can show."""

    uuid: str
    name: str
    colour: str
    host: str = ""
    is_instance: bool = False


@dataclass(frozen=True, slots=True)
class Lineup:
    """All GPUs of a run, by host and number."""

    gpus: tuple[Named, ...]

    @property
    def left_out(self) -> str:
        """A sentence for the note, where there are more than can be shown."""
        most = f" Of {len(self.gpus)} GPUs the {MOST_GPUS} with most memory in use are shown."
        return most if len(self.gpus) > MOST_GPUS else ""


def lineup(run: Run) -> Lineup:
    """Of too many GPUs those with the highest mean of memory in use have colours."""
    rows = run.once(_labels)
    found = sorted((row for _, row in rows.iterrows()), key=_place)
    held = {gpu.uuid: gpu.held[USED] for gpu in watched_gpus(run).values() if gpu.tells(USED)}
    used = sorted(held, key=lambda uuid: -held[uuid].total / held[uuid].count)
    first = [*used, *(row["uuid"] for row in found if row["uuid"] not in held)][:MOST_GPUS]
    colours = (f"gpu-{number % COLOURS}" for number in count())
    hosts = rows["host"].nunique()
    return Lineup(
        tuple(
            Named(
                str(row["uuid"]),
                _name(row, hosts),
                next(colours) if row["uuid"] in first else "",
                str(row["host"]),
                not pd.isna(row["instance"]),
            )
            for row in found
        )
    )


def _labels(run: Run) -> pd.DataFrame:
    """UUID, host, index and instance of each GPU that either table tells of."""
    told = {gpu.uuid: (gpu.uuid, gpu.host, gpu.index, gpu.instance) for gpu in watched_gpus(run).values()}
    for piece in run.reader("gpu_slow").pieces(tuple(_LABELS)):
        for row in piece.group_by(_LABELS).aggregate([]).to_pylist():
            told.setdefault(row["uuid"], tuple(row[label] for label in _LABELS))
    return pd.DataFrame(list(told.values()), columns=_LABELS, dtype=object)


def _name(row: pd.Series, hosts: int) -> str:
    """`GPU 0`, `GPU 0/2` for a MIG instance; with its host where there are several, its id where it has no number."""
    number = for_chart(row["uuid"], 12) if pd.isna(row["index"]) else f"{int(row['index'])}"
    instance = "" if pd.isna(row["instance"]) or pd.isna(row["index"]) else f"/{for_chart(row['instance'], 8)}"
    return f"GPU {number}{instance}" + (f" on {for_chart(row['host'], 30)}" if hosts > 1 else "")


def _place(row: pd.Series) -> tuple[str, float, str, str]:
    index = float("inf") if pd.isna(row["index"]) else float(row["index"])
    instance = "" if pd.isna(row["instance"]) else str(row["instance"]).zfill(8)
    return str(row["host"]), index, instance, str(row["uuid"])
