"""The load processes of a run: what they were together, and which of them were lost on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from comfysoak_analysis.findings.evidence import counted
from comfysoak_analysis.frames import Run
from comfysoak_analysis.verdict import Doubt, Weight
from comfysoak_core.rows import Outcome

MISSING_LIMIT = 0.1  # of the run: with a share of the load missing for longer it was not the load that was planned


def users_over_time(run: Run) -> pd.Series:
    """How many users all load processes had together, by whole seconds."""
    rows = run.generator
    seconds = rows["at"].dt.floor("1s")
    by_worker = rows.assign(second=seconds).groupby(["second", "worker"])["users"].last().unstack()  # not a pivot
    return by_worker.ffill(limit=2).fillna(0).sum(axis=1)


def lost_workers(run: Run) -> Iterator[Doubt]:
    """Load processes that were lost while the run went on: what is missing of them, and for how long."""
    lost = run.events[run.events["kind"] == "worker_lost"]
    if lost.empty:
        return
    silent_s = {str(row["subject"]): _silent_s(run, str(row["subject"]), row["at"]) for _, row in lost.iterrows()}
    aborted = run.prompts[
        run.prompts["worker"].isin(list(silent_s)) & (run.prompts["outcome"] == Outcome.ABORTED.value)
    ]
    longest_s = max(silent_s.values())
    alone = lost["detail"].fillna("").str.contains("nobody is left").any()
    weight = Weight.INVALID if alone or longest_s > MISSING_LIMIT * run.duration_s else Weight.CAUTION
    names = ", ".join(silent_s)
    were, their = ("was", "its") if len(silent_s) == 1 else ("were", "their")
    what = (
        f"{names} {were} lost: {their} share of the load was missing for up to {longest_s:.0f} s until the others took "
        f"over, and {counted(len(aborted), 'prompt')} {'was' if len(aborted) == 1 else 'were'} aborted."
    )
    yield Doubt("lost workers", weight, what, "Look for what ended it: memory, the network, somebody's kill.")


def missing_journals(run: Run) -> Iterator[Doubt]:
    """Machines of which the end of the recording has not come."""
    events = run.events
    merged = set(events.loc[events["kind"] == "machine_merged", "subject"])
    missing = [
        str(name) for name in events.loc[events["kind"] == "machine_incomplete", "subject"] if name not in merged
    ]
    if missing:
        yield Doubt(
            "missing rows",
            Weight.CAUTION,
            f"What {', '.join(missing)} recorded last has not reached the master.",
            "If the machine still has it: comfysoak report RUN --merge DIR, with the folder its worker named.",
        )


def _silent_s(run: Run, worker: str, lost_at: pd.Timestamp) -> float:
    """How long a worker had said nothing when it was missed; 0 when it never said anything."""
    last = run.generator.loc[(run.generator["worker"] == worker) & (run.generator["at"] <= lost_at), "at"].max()
    return 0.0 if pd.isna(last) else float((lost_at - last).total_seconds())


def clocks_in_words(run: Run) -> str | None:
    """How exactly the clocks of worker machines follow the master's; None where there are none."""
    rows = run.clocks[run.clocks["clock"] == "worker"]
    if rows.empty:
        return None
    bound_s = (rows["offset_s"].abs() + rows["error_s"]).max()
    return f"{rows['host'].nunique()} machines, never further than {bound_s * 1000:.2f} ms from the master's"
