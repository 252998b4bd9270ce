"""Whether a run may be believed: first what the harness did to its own figures, then what it is too small to tell.

An invalid run says nothing about the target; a caution tells which figures to read with care; a note is a fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from comfysoak_analysis.completeness import completeness_doubts
from comfysoak_analysis.exporters import exporter_doubts
from comfysoak_analysis.findings.accepting import expired
from comfysoak_analysis.findings.evidence import counted
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.fitness import unfit_machines
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gaps import gaps
from comfysoak_analysis.server_clocks import wrong_clocks
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.text import bounded
from comfysoak_analysis.verdict import Doubt, Weight
from comfysoak_analysis.watched_gpus import watched_gpus
from comfysoak_analysis.watching import costly_watching
from comfysoak_analysis.workers import load_processes, lost_workers, missing_journals
from comfysoak_core.recording.run_file import EndReason
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.stage import TRIAL

CPU_LIMIT = 0.9  # of one core: a load process lives on one
LAG_S = 0.1
LATENESS_S = 0.5
FAR_TOO_LATE_S = 2.0
RARE_SHARE, HABIT_SHARE = 0.02, 0.1  # of the seconds of a run
HABIT_SECONDS = 5  # fewer are chance, however short the run
LATE_SHARE = 0.1  # of the usual latency
CLOCK_STEP_S = 0.05
CACHED_CAUTION, CACHED_LIMIT = 0.05, 0.5
ABORTED_CAUTION, ABORTED_LIMIT = 0.05, 0.2
NOT_SENT_LIMIT = 0.01
FEW_PROMPTS = 30
STATUS_SHARE = 4.0  # so many times what prompts heard: the rest was for everybody
_PLANNED_SHARE = 0.9


def doubts(
    run: Run, findings: Sequence[Finding] = (), *, live: bool = False, gpu_matters: bool = False
) -> tuple[Doubt, ...]:
    """All that speaks against trusting the run, the gravest first.

    `gpu_matters`: goals or findings rest on what GPUs were seen to do.
    """
    if run.is_watching:
        return _of_watching(run, live=live)
    parts = [_prompts(run, live=live), _generator(run), _gpu(run), _clocks(run), _cached(run), _plan(run)]
    parts += [exporter_doubts(run, gpu_matters=gpu_matters)]
    parts += [lost_workers(run), missing_journals(run), costly_watching(run)]
    parts += [unfit_machines(run, findings), completeness_doubts(run), _acceptance(run)]
    if not live:
        parts = [_end(run), *parts]
    return _gravest_first(doubt for part in parts for doubt in part)


def _gravest_first(found: Iterable[Doubt]) -> tuple[Doubt, ...]:
    order = list(Weight)[::-1]
    return tuple(sorted(found, key=lambda doubt: order.index(doubt.weight)))


def _of_watching(run: Run, *, live: bool) -> tuple[Doubt, ...]:
    """Nothing is judged by it, so nothing makes it invalid; people end it with Ctrl-C."""
    parts = [_gpu(run), _clocks(run), exporter_doubts(run, gpu_matters=False)]
    if not live:
        ends = {"running", "cut off", "recording", "aborted"}
        parts = [(doubt for doubt in _end(run) if doubt.name in ends), *parts]
    found = (doubt for part in parts for doubt in part)
    return _gravest_first(
        replace(doubt, weight=Weight.CAUTION) if doubt.weight is Weight.INVALID else doubt for doubt in found
    )


def _end(run: Run) -> Iterator[Doubt]:
    """How the run ended, and whether the recording is whole."""
    ended = run.recording.run.ended
    planned = run.plan.duration_s if run.plan is not None and not run.capacities else 0.0  # a search ends when it may
    after = f"after {run.duration_s:.0f} s" + (f" of {planned:.0f} s planned" if planned else "")
    detail = f" ({ended.detail})" if ended is not None and ended.detail else ""
    again = "Run it again to its end."
    if ended is None and run.recording.is_running():
        yield Doubt(
            "running", Weight.INVALID, "The run is still going on.", "Wait for its end, or look at it with --live."
        )
    elif ended is None or ended.reason is EndReason.CUT_OFF:
        yield Doubt(
            "cut off",
            Weight.INVALID,
            f"The run was cut off {after}: everything that wrote it was killed{detail}.",
            again,
        )
    elif ended.reason in {EndReason.INTERRUPTED, EndReason.TERMINATED}:
        yield Doubt("interrupted", Weight.INVALID, f"The run was {ended.reason.value} {after}{detail}.", again)
    elif ended.reason is EndReason.GOAL_MISSED:
        yield Doubt("ended early", Weight.NOTE, f"A missed goal ended the run {after}: {ended.detail}.")
    elif ended.reason is EndReason.ABORTED:
        yield Doubt("aborted", Weight.INVALID, f"The harness gave up {after}{detail}.", again)
    elif ended.reason is EndReason.TIME_UP:
        yield Doubt("time up", Weight.CAUTION, f"Not all stages were run: {ended.detail}.", "Give it more time.")
    elif planned and run.duration_s < _PLANNED_SHARE * planned:
        yield Doubt("short", Weight.CAUTION, f"The run ended {after}.")
    for fault in run.recording.run.faults:
        yield Doubt(
            "recording", Weight.INVALID, f"The recording is not whole: {fault}.", "Check the disk, and run it again."
        )
    refused = max((one.journal_errors for one in load_processes(run)), default=0)
    lost = sum(one.rows_dropped for one in load_processes(run))
    if refused:
        yield Doubt(
            "journal",
            Weight.INVALID,
            f"The disk refused {refused:,} writes of the recording"
            + (f", and {lost:,} rows were given up." if lost else "; all rows were written later."),
            "Free space, or name a disk that can take it: --out DIR.",
        )


def _prompts(run: Run, *, live: bool) -> Iterator[Doubt]:
    prompts = run.prompts
    if prompts.empty:
        yield Doubt(
            "no prompts",
            Weight.INVALID,
            "No prompt was intended, so there is nothing to judge.",
            "Check the load of the scenario, and the logs in the run directory.",
        )
        return
    total = len(prompts)
    trials = [name for name in prompts["phase"].unique() if str(name).startswith(TRIAL)]
    searched = prompts["phase"].isin(trials)  # beyond capacity not all can be sent: that is judged
    unsent = int(((prompts["outcome"] == Outcome.NOT_SENT.value) & ~searched).sum())
    if unsent > NOT_SENT_LIMIT * total:
        yield Doubt(
            "not sent",
            Weight.INVALID,
            f"{unsent:,} of {total:,} intended prompts were never sent: there was less load than planned.",
            "Fewer users a process, more processes, or a faster machine for the harness.",
        )
    open_ones = prompts["outcome"].isna() | (prompts["outcome"] == Outcome.ABORTED.value)
    ended = run.recording.run.ended
    if not live and (ended is None or ended.reason is not EndReason.GOAL_MISSED):
        yield from _aborted(run, int(open_ones.sum()), total)
    measured = int((prompts["measured"] & prompts["work"]).sum())
    if measured < FEW_PROMPTS:
        yield Doubt(
            "few prompts",
            Weight.CAUTION,
            f"Only {counted(measured, 'prompt')} {'was' if measured == 1 else 'were'} measured; "
            "percentiles of so few say little.",
            "A longer run, more users, or a shorter warm-up.",
        )


def _aborted(run: Run, count: int, total: int) -> Iterator[Doubt]:
    """Prompts still open at the end: one a user is the way of things, more is not."""
    users = max((one.users_most for one in load_processes(run)), default=0)
    if count > max(users, ABORTED_LIMIT * total):
        yield Doubt(
            "aborted prompts",
            Weight.INVALID,
            f"{count:,} of {total:,} prompts were still open when the run ended.",
            "Give the run time to drain: a last stage with no users.",
        )
    elif count > ABORTED_CAUTION * total:
        yield Doubt(
            "aborted prompts",
            Weight.CAUTION,
            f"{count:,} of {total:,} prompts were still open when the run ended; they are in no figure.",
        )


def _generator(run: Run) -> Iterator[Doubt]:
    """The harness as the bottleneck. Its mean CPU is no guard: what counts is how often it woke up late.

    One late second in a run is the machine's; one in ten, and several of them, is a habit. Late is what would show in
    the times: more than a tenth of the usual latency. Receive times carry the kernel's stamps and do not suffer, but a
    process that wakes up late also sends late.
    """
    processes = load_processes(run)
    lags, lateness = [one.lag_max_s for one in processes], [one.lateness_max_s for one in processes]
    for name, of_each, limit_s in (("generator lag", lags, LAG_S), ("lateness", lateness, LATENESS_S)):
        late_s = max(limit_s, LATE_SHARE * _usual_latency_s(run))
        worst = _worst_process(of_each, late_s)
        share, most = _share_over(worst, late_s), max((_known(one).max(initial=0) for one in of_each), default=0)
        if share > RARE_SHARE or most > FAR_TOO_LATE_S:
            habit = share > HABIT_SHARE and share * len(worst) >= HABIT_SECONDS
            weight = Weight.INVALID if habit else Weight.CAUTION
            late = f"more than {late_s * 1000:.0f} ms late in {share:.0%} of all seconds, by {most:.2g} s at worst"
            yield Doubt(
                name, weight, f"{_LATE[name]} {late}: that much of each time is ours, not the server's.", _relief(run)
            )
    share = _share_over(_worst_process([one.cpu_ratio for one in processes], CPU_LIMIT), CPU_LIMIT)
    if share > RARE_SHARE:
        weight = Weight.INVALID if share > 0.5 else Weight.CAUTION  # most of the time
        what = f"A load process used more than {CPU_LIMIT:.0%} of its core in {share:.0%} of all seconds."
        yield Doubt("generator CPU", weight, what, _relief(run))


def _relief(run: Run) -> str:
    """What would take work off the load processes."""
    remedy = "More load processes (--processes), fewer users each, or a machine of its own for the harness."
    if not _is_mostly_status(run):
        return remedy
    return remedy + (
        " Most of what it read were `status` messages: every socket gets about three a prompt, whoever sent it,"
        " so fewer watchers help most."
    )


def _worst_process(of_each: Sequence[Floats], limit: float) -> Floats:
    """The values of the load process that was over the limit most often: the others must not water it down."""
    return max(of_each, key=lambda values: _share_over(values, limit), default=np.empty(0))


def _is_mostly_status(run: Run) -> bool:
    """Whether sockets heard far more than what was about the prompts of their users."""
    heard, own = (run.total(table, "messages") for table in ("sessions", "prompts"))
    return bool(heard > STATUS_SHARE * own)


def _usual_latency_s(run: Run) -> float:
    """The median latency of the measured prompts that ended; 0 when there is none."""
    median = run.prompts["latency_s"].median()
    return 0.0 if pd.isna(median) else float(median)


_LATE = {"generator lag": "The load process woke up", "lateness": "Prompts left"}


def _gpu(run: Run) -> Iterator[Doubt]:
    if not watched_gpus(run):
        yield Doubt(
            "no GPU",
            Weight.NOTE,
            f"No GPU was watched{why_no_gpu(run)}.",
            "Run where the NVIDIA driver is, or name a dcgm-exporter under probes.gpu.",
        )
        return
    yield from gaps(run)


def why_no_gpu(run: Run) -> str:
    """What the sampler said about GPUs it could not read, as `: reason`; empty when it said nothing."""
    events = run.events
    of_gpu = events["subject"].fillna("").str.startswith(("nvml", "dcgm", "probe"))
    lost = events[of_gpu & events["kind"].isin(["source_lost", "source_missing"]) & (events["detail"].fillna("") != "")]
    said = list(lost["detail"].drop_duplicates().head(2))
    return f": {'; '.join(said)}" if said else ""


def _clocks(run: Run) -> Iterator[Doubt]:
    steps = run.clocks.loc[run.clocks["step_s"].abs() > CLOCK_STEP_S]
    if not steps.empty:
        largest = steps["step_s"].abs().max()
        yield Doubt(
            "clock step",
            Weight.CAUTION,
            f"A system clock jumped {len(steps):,} times, by up to {largest:.2f} s; "
            "our times do not follow it, those of the server's log do.",
            "Check time synchronisation on that host.",
        )
    for wrong in wrong_clocks(run.server_clocks):
        yield Doubt(
            "server clock",
            Weight.NOTE,
            f"{wrong.in_words()} Times here do not suffer: they are converted.",
            "Mind it when you read that server's own log, or set its clock.",
        )


def _cached(run: Run) -> Iterator[Doubt]:
    prompts = run.prompts
    chosen = int(prompts["measured"].sum())
    unasked = int((prompts["measured"] & ~prompts["work"] & ~prompts["ok"]).sum())
    share = unasked / chosen if chosen else 0.0
    if share > CACHED_CAUTION:
        weight = Weight.INVALID if share > CACHED_LIMIT else Weight.CAUTION
        yield Doubt(
            "cached prompts",
            weight,
            f"{share:.0%} of the prompts came from the server's cache and did no work: "
            "there was less load than it looks.",
            "Vary the seed (vary: {seed: random}); through a gateway: map a seed there, or {number} in the prompt.",
        )


def _acceptance(run: Run) -> Iterator[Doubt]:
    for one in expired(run):
        yield Doubt(
            "acceptance expired",
            Weight.NOTE,
            f"The finding {one.finding.value} was accepted until {one.until.isoformat()} ({bounded(one.reason, 200)}): "
            "it counts again.",
            "Take it out of the scenario, or give it a new date and a reason.",
        )


def _plan(run: Run) -> Iterator[Doubt]:
    if run.plan is None:
        yield Doubt(
            "no plan", Weight.NOTE, "The recording holds no plan this version can read: the default goals were judged."
        )


def _share_over(values: Floats, limit: float) -> float:
    """The share of the known values over `limit`; 0 where none is known."""
    known = _known(values)
    return float(np.mean(known > limit)) if known.size else 0.0


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]
