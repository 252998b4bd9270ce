"""The load processes of a run: what they were together, and which of them were lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import counted
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import Ints, Part, parts
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.verdict import Doubt, Weight
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Outcome

MISSING_LIMIT = 0.1  # of the run: with a share of the load missing for longer it was not the load that was planned


@dataclass(frozen=True, slots=True)
class LoadProcess:
    """What one load process told of itself, reading by reading in the order of time."""

    worker: str
    seconds: Ints  # after the epoch
    users: Floats  # float32, as all of these; NaN where it was not told
    cpu_ratio: Floats
    lag_max_s: Floats
    lateness_max_s: Floats
    sockets_most: int
    journal_errors: int
    rows_dropped: int

    @property
    def users_most(self) -> int:
        """How many it had at its most."""
        return _most(self.users)


_COURSES = ("users", "cpu_ratio", "lag_max_s", "lateness_max_s")
_COUNTS = ("sockets", "journal_errors", "rows_dropped")


def load_processes(run: Run) -> tuple[LoadProcess, ...]:
    """In the order of their names; read once."""
    return run.once(_load_processes)


def _load_processes(run: Run) -> tuple[LoadProcess, ...]:
    told: dict[str, list[Part]] = {}
    for part in parts(run.reader("generator"), "generator", "worker", (*_COURSES, *_COUNTS)):
        told.setdefault(part.subject, []).append(_narrow(part))
    return tuple(_load_process(worker, told.pop(worker)) for worker in sorted(told))


def _narrow(part: Part) -> Part:
    return replace(part, values={name: values.astype(np.float32) for name, values in part.values.items()})


def _load_process(worker: str, told: list[Part]) -> LoadProcess:
    users, cpu_ratio, lag_max_s, lateness_max_s = (
        np.concatenate([part.values[name] for part in told]) for name in _COURSES
    )
    sockets, errors, dropped = (max(_most(part.values[name]) for part in told) for name in _COUNTS)
    seconds = np.concatenate([part.at_ns for part in told]) // NS_PER_S
    return LoadProcess(worker, seconds, users, cpu_ratio, lag_max_s, lateness_max_s, sockets, errors, dropped)


def _most(values: Floats) -> int:
    return int(np.nanmax(values, initial=0))


def users_over_time(run: Run) -> pd.Series:
    """How many users all load processes had together, by whole seconds."""
    return run.once(_users_over_time)


def _users_over_time(run: Run) -> pd.Series:
    by_worker = pd.DataFrame({one.worker: _by_second(one) for one in load_processes(run)})
    together = by_worker.ffill(limit=2).fillna(0).sum(axis=1)
    together.index = (together.index.to_numpy(np.int64) * NS_PER_S).view("datetime64[ns]")
    return together


def _by_second(one: LoadProcess) -> pd.Series:
    """The last number of users told in each second; NaN where it was read and not told."""
    return pd.Series(one.users, one.seconds).groupby(level=0).last()


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
