"""Servers that answer and get nowhere: the same prompt in `queue_running`, and nothing begins or ends meanwhile.

WORKER_DEAD: its prompt began, no node of it ever did, and the GPU is idle; or the server's log says that the worker
thread died. NODE_HANG: a node began, and takes longer than anything its workflow ever took. A slow workflow is neither,
since its server goes on by itself or its time is one that it has taken before; a server whose HTTP does not answer is
LOOP_BLOCKED.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.finding import Certainty
from comfysoak_analysis.findings.readings import Stretch, Watch, watches
from comfysoak_analysis.findings.told import event_rows
from comfysoak_analysis.frames import Run, to_frame
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.rows import Outcome

DEAD_S = 30.0  # a prompt that runs for so long and has begun no node
HANG_LEAST_S, HANG_UNKNOWN_S, HANG_TIMES = 40.0, 120.0, 3.0  # so many times the longest its workflow ever took
UNHEARD_S = 60.0  # of a prompt of which nothing is known but that it runs
IDLE, PINNED = 0.1, 0.9  # mean use of the GPU
_LOOKS = 12  # moments at which the GPU is looked at
_EDGE = pd.Timedelta(seconds=5)
_NODES_NS = 3600 * NS_PER_S  # nodes that began within so long are looked for


class Use(StrEnum):
    """What the GPUs of the server did over a stretch."""

    IDLE = "idle"
    BUSY = "at work"
    PINNED = "pinned"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Stuck:
    """A server that got nowhere from `began` to `ended`; `code` says why."""

    code: Code
    server: str
    began: pd.Timestamp
    ended: pd.Timestamp
    certainty: Certainty
    use: Use
    use_ratio: float | None
    prompt_id: str | None = None
    workflow: str | None = None
    node: str | None = None  # class and id of the one that stands
    longest_s: float | None = None  # that its workflow ever took
    waiting_last: int = 0
    waiting_most: int = 0
    line: str = ""  # what the server's log said

    @property
    def lasted_s(self) -> float:
        """For how long it was seen."""
        return (self.ended - self.began).total_seconds()


def stuck(run: Run, states: GpuStates) -> tuple[Stuck, ...]:
    """All of a run, in order of time."""
    return run.once(_stuck, states)


def _stuck(run: Run, states: GpuStates) -> tuple[Stuck, ...]:
    found = [one for watch in watches(run).values() for one in _of_server(run, states, watch)]
    deaths = [one for one in _deaths_told(run, states) if not any(_is_same(one, other) for other in found)]
    return tuple(sorted([*found, *deaths], key=lambda one: one.began))


def _is_same(one: Stuck, other: Stuck) -> bool:
    return one.server == other.server and other.began - _EDGE <= one.began <= other.ended


def _of_server(run: Run, states: GpuStates, watch: Watch) -> Iterator[Stuck]:
    for stretch in watch.stretches:
        if stretch.answered_ns >= DEAD_S * NS_PER_S and not _went_by(run, stretch):
            one = _judged(run, states, watch, stretch)
            if one is not None:
                yield one


def _went_by(run: Run, stretch: Stretch) -> bool:
    """Whether another prompt began or succeeded on this server meanwhile: then its queue is not what we were told."""
    prompts = run.prompts
    here = prompts["server"] == stretch.server
    first, last = pd.Timestamp(stretch.began_ns) + _EDGE, pd.Timestamp(stretch.ended_ns)
    began = here & (prompts["started_at"] > first) & (prompts["started_at"] < last)
    ended = here & (prompts["outcome"] == Outcome.SUCCESS.value) & (prompts["done_at"] > first)
    return bool((began | (ended & (prompts["done_at"] < last))).any())


def _judged(run: Run, states: GpuStates, watch: Watch, stretch: Stretch) -> Stuck | None:
    if not stretch.is_last and not _left(run, watch, stretch):
        return None  # the server went on by itself: it was slow
    use, ratio = _use(states, stretch)
    rows = run.prompts_named([stretch.prompt_id]) if stretch.prompt_id is not None else run.notable.head(0)
    prompt = None if rows.empty else rows.iloc[0]
    node = _node(run, stretch)
    if prompt is not None and prompt["outcome"] in {Outcome.SUCCESS.value, Outcome.CACHED.value}:
        return None
    longest_s = _longest(run, None if prompt is None else str(prompt["workflow"]))
    heard = prompt is not None and pd.notna(prompt["start_received"]) and _nodes_told(run, stretch)
    verdict = _verdict(stretch, prompt, node, use, longest_s, heard=heard)
    if verdict is None:
        return None
    code, certainty = verdict
    line = _death_line(run, stretch.server, stretch.began_ns - 5 * NS_PER_S, stretch.ended_ns)
    if line and code is Code.WORKER_DEAD:
        certainty = Certainty.CERTAIN
    return Stuck(
        code, stretch.server, pd.Timestamp(stretch.began_ns), pd.Timestamp(stretch.ended_ns),
        certainty, use, ratio,
        prompt_id=stretch.prompt_id, workflow=None if prompt is None else str(prompt["workflow"]), node=node,
        longest_s=longest_s, waiting_last=stretch.waiting_last, waiting_most=stretch.waiting_most, line=line,
    )  # fmt: skip


def _verdict(
    stretch: Stretch, prompt: pd.Series | None, node: str | None, use: Use, longest_s: float | None, *, heard: bool
) -> tuple[Code, Certainty] | None:
    """Which of the two it is, and how sure; None where it may be work. `heard`: a node of it would have been told."""
    answered_s = stretch.answered_ns / NS_PER_S
    working = use in {Use.BUSY, Use.PINNED}
    if node is not None:
        limit_s = HANG_UNKNOWN_S if longest_s is None else max(HANG_LEAST_S, HANG_TIMES * longest_s)
        return (Code.NODE_HANG, Certainty.LIKELY) if answered_s > limit_s else None
    if stretch.prompt_id is None:
        return None if working or not stretch.waiting_last else (Code.WORKER_DEAD, Certainty.LIKELY)
    if prompt is not None and heard and not working:
        return (Code.WORKER_DEAD, Certainty.LIKELY) if answered_s > (longest_s or 0.0) else None
    limit_s = max(UNHEARD_S, HANG_TIMES * (longest_s or HANG_UNKNOWN_S / HANG_TIMES))
    if answered_s <= limit_s or (working and prompt is None):
        return None
    return (Code.NODE_HANG if working else Code.WORKER_DEAD), Certainty.POSSIBLE


def _use(states: GpuStates, stretch: Stretch) -> tuple[Use, float | None]:
    """Mean use of the server's GPUs over the stretch."""
    return use_between(states, stretch.server, stretch.began_ns + 2 * NS_PER_S, stretch.ended_ns)


def use_between(states: GpuStates, server: str, first_ns: int, last_ns: int) -> tuple[Use, float | None]:
    """What the GPUs of a server did between two moments, and their mean use."""
    moments = [pd.Timestamp(int(at)) for at in np.linspace(first_ns, max(first_ns, last_ns), _LOOKS)]
    seen = [states.at(moment, server).utilisation_ratio for moment in moments]
    known = [ratio for ratio in seen if ratio is not None]
    if len(known) < _LOOKS / 2:
        return Use.UNKNOWN, None
    mean = float(np.mean(known))
    return (Use.IDLE if mean <= IDLE else Use.PINNED if mean >= PINNED else Use.BUSY), mean


def _node(run: Run, stretch: Stretch) -> str | None:
    """The node of the running prompt that began last."""
    if stretch.prompt_id is None:
        return None
    span = (stretch.began_ns - 60 * NS_PER_S, min(stretch.ended_ns, stretch.began_ns + _NODES_NS))
    return standing_nodes(run, [stretch.prompt_id], [span]).get(stretch.prompt_id)


def _nodes_told(run: Run, stretch: Stretch) -> bool:
    """Whether nodes of this server were told of before: else it is no news that none is."""
    span = (stretch.began_ns - _NODES_NS // 6, stretch.ended_ns)
    rows = run.recording.between("nodes", [span], ("server",))
    return stretch.server in rows["server"].unique().to_pylist()


def standing_nodes(run: Run, prompt_ids: list[str], spans: list[tuple[int, int]]) -> dict[str, str]:
    """By prompt the node that began last within `spans` (ns): `KSampler (3)`."""
    columns = ("prompt_id", "node_id", "node_class", "started_ns")
    rows = to_frame(run.recording.between("nodes", spans, columns))
    rows = rows[rows["prompt_id"].isin(prompt_ids)].sort_values("started").drop_duplicates("prompt_id", keep="last")
    classes = rows["node_class"].fillna("node")
    named = zip(rows["prompt_id"], classes, rows["node_id"], strict=True)
    return {str(name): f"{kind} ({node})" for name, kind, node in named}


def longest_by_workflow(run: Run) -> dict[str, float]:
    """The longest service time of prompts that ended well, by workflow."""
    return run.once(_longest_by_workflow)


def _longest_by_workflow(run: Run) -> dict[str, float]:
    workflows, well = run.prompts["workflow"], (run.prompts["outcome"] == Outcome.SUCCESS.value).to_numpy()
    service_s, codes = run.prompts["service_s"].to_numpy(), workflows.cat.codes.to_numpy()
    found = {}
    for code, name in enumerate(workflows.cat.categories):
        longest_s = float(np.fmax.reduce(service_s, where=well & (codes == code), initial=np.nan))
        if not np.isnan(longest_s):
            found[str(name)] = longest_s
    return found


def _longest(run: Run, workflow: str | None) -> float | None:
    """What the workflow ever took; of one that is not known the longest of all, of one that never ended None."""
    known = longest_by_workflow(run)
    if workflow is not None:
        return known.get(workflow)
    return max(known.values(), default=None)


def _left(run: Run, watch: Watch, stretch: Stretch) -> bool:
    """Whether the server went away, or was started anew, about when the stretch ended."""
    first, last = stretch.ended_ns - 5 * NS_PER_S, stretch.ended_ns + 60 * NS_PER_S
    if any(first <= at_ns <= last for at_ns in watch.refused):
        return True
    events = event_rows(run)
    events = events[(events["server"] == stretch.server)
                    & events["code"].isin([Code.SERVER_DOWN.value, Code.SERVER_RESTARTED.value])]  # fmt: skip
    return bool(events["moment"].between(pd.Timestamp(first), pd.Timestamp(last)).any())


def _death_line(run: Run, server: str, first_ns: int, last_ns: int) -> str:
    """What the server's log said of the death of its worker thread in that time."""
    rows = run.server_log
    rows = rows[(rows["kind"] == "worker_died") & (rows["server"] == server)]
    rows = rows[rows["at"].between(pd.Timestamp(first_ns), pd.Timestamp(last_ns))]
    return "" if rows.empty else str(rows["text"].iloc[0])


def _deaths_told(run: Run, states: GpuStates) -> Iterator[Stuck]:
    """Deaths that the log told of, and that the queue was not watched for long enough to show."""
    rows = run.server_log[run.server_log["kind"] == "worker_died"]
    for at, server, text in zip(rows["at"], rows["server"], rows["text"], strict=True):
        use, ratio = use_between(states, str(server), int(at.value) + NS_PER_S, int(at.value) + 5 * NS_PER_S)
        yield Stuck(Code.WORKER_DEAD, str(server), at, at, Certainty.CERTAIN, use, ratio, line=str(text))
