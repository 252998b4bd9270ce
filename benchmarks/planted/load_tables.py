"""What the load would have written of a course: prompts, nodes, sockets, itself, and what it told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.planted.columns import chosen, lasting, ns, share, whole
from benchmarks.planted.course import CLASSES, NEVER, SAMPLE, Course, Life
from benchmarks.planted.world import World

Batch = dict[str, Any]
_HEARD = frozenset({"success", "cached", "oom", "interrupted"})


class Names:
    """Identities, drawn once so that the tables agree."""

    def __init__(self, world: World, course: Course) -> None:
        numbers = world.random
        self.prompts = _uuids(numbers, len(course.lives))
        self.users = max((life.user for life in course.lives), default=0) + 1
        self.clients = _uuids(numbers, self.users + world.watchers)


def _uuids(numbers: np.random.Generator, count: int) -> list[str]:
    text = numbers.bytes(16 * count).hex()
    parts = (text[start : start + 32] for start in range(0, 32 * count, 32))
    return [f"{one[:8]}-{one[8:12]}-4{one[13:16]}-a{one[17:20]}-{one[20:]}" for one in parts]


def prompts(world: World, course: Course, names: Names) -> Batch:
    """One row a prompt, in order of schedule."""
    lives, numbers, count = course.lives, world.random, len(course.lives)
    flows = [flow.name for flow in world.workflows]
    limits = np.array([flow.deadline_s for flow in world.workflows])
    flow_of = np.array([life.workflow for life in lives], dtype=np.int64)
    due = np.array([life.due for life in lives])
    accepted = np.array([life.accepted for life in lives])
    begun = np.array([life.begun for life in lives])
    ended = np.array([_heard_end(life) for life in lives])
    history = np.array([_by_history(life) for life in lives])
    jitter = numbers.exponential(0.0008, count) + 0.0003
    finished = np.array([life.finished for life in lives])
    late = np.where(history, np.maximum(finished - ended - 0.05, 0.3), numbers.exponential(0.0006, count) + 0.0001)
    gateway = world.gateway is not None
    if gateway:
        unanswered = np.array([life.outcome == "timeout" for life in lives])
        accepted, begun_seen = np.where(unanswered, np.nan, finished), np.full(count, np.nan)
    else:
        begun_seen = begun
    fetched = np.array([life.finished if life.ended < NEVER and _was_fetched(life) else np.nan for life in lives])
    return {
        "id": names.prompts,
        "server": world.gateway
        or chosen(np.array([life.server for life in lives]), [one.url for one in world.machines]),
        "worker": "load-0",
        "client_id": [names.clients[life.user] for life in lives],
        "workflow": chosen(flow_of, flows),
        "phase": chosen(_phases(world, due), ["cold start", "warmup", "load"]),
        "variation": [f'{{"3.seed":{seed}}}' for seed in numbers.integers(2**50, size=count)],
        "expected": [life.fate.expected if life.fate else "success" for life in lives],
        "scheduled_ns": ns(due),
        "deadline_ns": ns(due + limits[flow_of]),
        "sent_ns": ns(np.array([life.sent for life in lives])),
        "accepted_ns": ns(accepted),
        "http_status": whole(np.array([_status(life) for life in lives])),
        "number": None if gateway else share(np.where(accepted < NEVER, [life.queue_number for life in lives], np.nan)),
        "queue_remaining": whole(np.array([life.pending if life.accepted < NEVER else np.nan for life in lives])),
        "start_received_ns": ns(begun_seen + jitter),
        "start_error_ns": lasting(np.where(np.isfinite(begun_seen), numbers.exponential(0.004, count), np.nan)),
        "end_received_ns": ns(np.where(history, ended + late, ended + (0.02 if gateway else jitter))),
        "end_error_ns": lasting(np.where(np.isfinite(ended), late, np.nan)),
        "end_source": [_source(life, gateway=gateway) for life in lives],
        "started_server_ns": None if gateway else ns(np.floor(begun * 1e3) / 1e3),
        "ended_server_ns": None if gateway else ns(np.floor(ended * 1e3) / 1e3),
        "created_server_ns": None if gateway else ns(np.floor((accepted - 0.001) * 1e3) / 1e3),
        "fetched_ns": ns(fetched),
        "finished_ns": ns(np.where(finished < NEVER, finished, course.end)),
        "outcome": [life.outcome if life.finished <= course.end else "aborted" for life in lives],
        "code": [life.code for life in lives],
        "error_type": [_failure(life)[0] for life in lives],
        "error_message": [_failure(life)[1] for life in lives],
        "node_id": [_failure(life)[2] for life in lives],
        "node_class": [CLASSES.get(_failure(life)[2] or "") for life in lives],
        "nodes_total": 7,
        "nodes_cached": whole(np.array([_cached(life) for life in lives])),
        "nodes_executed": whole(np.array([float(len(life.nodes)) for life in lives])),
        "messages": np.array([0 if life.accepted == NEVER else 6 + 5 * len(life.nodes) for life in lives]),
        "message_bytes": np.array([0 if life.accepted == NEVER else 900 + 1300 * len(life.nodes) for life in lives]),
        "outputs_expected": 1,
        "outputs_received": whole(np.array([_received(life) for life in lives])),
        "output_bytes": whole(np.where(np.isfinite(fetched), numbers.normal(1.4e6, 1.5e5, count), np.nan)),
        "outputs_ok": [None if not np.isfinite(at) else _is_ok(life) for at, life in zip(fetched, lives, strict=True)],
        "output_problem": [life.fate.problem if life.fate and has_struck(life) else None for life in lives],
        "deliberate": [life.fate.deliberate if life.fate else None for life in lives],
        "left_ns": ns(np.array([life.finished if life.outcome == "given_up" else np.nan for life in lives])),
        "cancel_asked_ns": ns(np.array([_cancelled(life) for life in lives])),
        "role": "load",
        "front": False,
        "attempt": 1,
    }


def has_struck(life: Life) -> bool:
    """Whether its fate has come about: a prompt that was lost, or timed out, has another end."""
    if life.fate is None:
        return False
    if life.fate.stage == "slow":
        return life.code == "DEADLINE"
    return life.outcome == life.fate.outcome and life.code == life.fate.code


def _heard_end(life: Life) -> float:
    if life.outcome in {"timeout", "lost", "vanished", "rejected"} or life.ended > life.finished + 5:
        return math.nan
    return life.ended if life.ended < NEVER else math.nan


def _by_history(life: Life) -> bool:
    return life.code == "LOST_TERMINAL" or (life.fate is not None and life.fate.from_history and has_struck(life))


def _source(life: Life, *, gateway: bool) -> str | None:
    if math.isnan(_heard_end(life)):
        return "answer" if gateway and life.outcome == "failed" else None
    return "answer" if gateway else "history" if _by_history(life) else "socket"


def _was_fetched(life: Life) -> bool:
    fetched = life.outcome in {"success", "cached"} or (life.code or "").startswith("OUTPUT_")
    return fetched and not math.isnan(_heard_end(life))


def _is_ok(life: Life) -> bool:
    return life.outcome in {"success", "cached"}


def _received(life: Life) -> float:
    if not _was_fetched(life):
        return math.nan
    return 0.0 if life.code in {"OUTPUT_MISSING", "OUTPUT_DROPPED"} else 1.0


def _status(life: Life) -> float:
    if life.fate is not None and life.fate.http_status is not None:
        return float(life.fate.http_status)
    return 200.0 if life.accepted < NEVER else math.nan


def _cached(life: Life) -> float:
    if life.begun == NEVER:
        return math.nan
    return 7.0 if life.outcome == "cached" else 0.0 if life.is_first else 4.0


def _cancelled(life: Life) -> float:
    if life.fate is not None and life.fate.stage == "slow" and life.code == "NODE_HANG":
        return life.begun + 5
    return math.nan


def _failure(life: Life) -> tuple[str | None, str | None, str | None]:
    if life.code == "SERVER_DOWN" and life.outcome == "failed":
        return None, "connection refused: [Errno 111] Connection refused", None
    if life.fate is not None and has_struck(life):
        node = life.fate.node if life.fate.error_type and life.fate.stage == "node" else None
        return life.fate.error_type, life.fate.message or life.fate.problem, node
    if life.code == "NODE_ERROR":
        message = "CUDA error: unspecified launch failure\nUnable to determine the device handle for GPU: GPU is lost."
        return "torch.AcceleratorError", message, SAMPLE
    return None, None, None


def _phases(world: World, due: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    cold = world.cold_start_s or 0.0
    return np.where(due < cold, 0, np.where(due < world.measured_s, 1, 2)).astype(np.int64)


def nodes(world: World, course: Course, names: Names) -> Batch:
    """One row a node that was heard of; one whose end nobody heard is closed when the recording is sealed."""
    ids, prompt_ids, node_ids, starts, stops, first, server, flow = [], [], [], [], [], [], [], []
    for name, life in zip(names.prompts, course.lives, strict=True):
        heard_until = life.finished if life.outcome in {"timeout", "lost"} else math.inf  # nobody listens any more
        for node, start, stop in life.nodes:
            if start > heard_until:
                continue
            ids.append(f"{name}/{node}")
            prompt_ids.append(name)
            node_ids.append(node)
            starts.append(start)
            stops.append(stop if stop < min(heard_until, course.end) and not _was_cut(life, stop) else course.end)
            loaded = start if life.load is None else life.load[1]
            step = world.workflows[life.workflow].step_s
            first.append(loaded + step if node == SAMPLE and stop < NEVER and loaded + step < stop else math.nan)
            server.append(life.server)
            flow.append(life.workflow)
    steps = np.array([one.steps for one in world.workflows], dtype=np.float64)
    of = np.array(flow, dtype=np.int64)
    return {
        "id": ids,
        "prompt_id": prompt_ids,
        "node_id": node_ids,
        "display_node_id": node_ids,
        "node_class": [CLASSES[node] for node in node_ids],
        "server": chosen(np.array(server, dtype=np.int64), [one.url for one in world.machines]),
        "workflow": chosen(of, [one.name for one in world.workflows]),
        "started_ns": ns(np.array(starts) + 0.001),
        "first_progress_ns": ns(np.array(first)),
        "ended_ns": ns(np.array(stops) + 0.001),
        "steps": share(np.where(np.isfinite(first), steps[of] if len(of) else [], np.nan)),
        "in_gap": False,
    }


def _was_cut(life: Life, stop: float) -> bool:
    """Whether its server went away in this node."""
    return life.outcome == "lost" and stop == life.gone


def canaries(world: World, course: Course) -> Batch | None:
    """Golden canaries: one at intervals to each server, whose pictures are compared."""
    if world.canary_every_s is None:
        return None
    numbers, wrong = world.random, sorted(world.script.canary_wrong)
    moments = [
        (float(at), machine.url)
        for index, machine in enumerate(world.machines)
        for at in np.arange(0.5 + index, world.duration_s - 5, world.canary_every_s)
    ]
    moments.sort()
    ends: list[tuple[str, str | None, str | None]] = [("success", None, None)] * len(moments)
    for due, code, outcome, problem in wrong:
        ends[next(place for place, (begun, _) in enumerate(moments) if begun >= due)] = (outcome, code, problem)
    at, rows = np.array([moment[0] for moment in moments]), ends
    wait = numbers.uniform(0.3, 2.0, len(rows))
    return {
        "id": _uuids(numbers, len(rows)),
        "server": [url for _, url in moments],
        "worker": "load-0",
        "client_id": _uuids(numbers, len(rows)),
        "workflow": "built-in",
        "phase": chosen(_phases(world, at), ["cold start", "warmup", "load"]),
        "expected": "success",
        "scheduled_ns": ns(at),
        "deadline_ns": ns(at + world.canary_every_s),
        "sent_ns": ns(at + 0.001),
        "accepted_ns": ns(at + 0.006),
        "http_status": 200,
        "end_received_ns": ns(at + wait),
        "end_error_ns": lasting(np.full(len(rows), 0.4)),
        "end_source": "history",
        "started_server_ns": ns(np.floor((at + wait - 0.12) * 1e3) / 1e3),
        "ended_server_ns": ns(np.floor((at + wait - 0.08) * 1e3) / 1e3),
        "fetched_ns": ns(at + wait + 0.05),
        "finished_ns": ns(at + wait + 0.05),
        "outcome": [end[0] for end in rows],
        "code": [end[1] for end in rows],
        "error_message": [end[2] for end in rows],
        "nodes_total": 6,
        "nodes_cached": 0,
        "nodes_executed": 6,
        "outputs_expected": 1,
        "outputs_received": 1,
        "output_bytes": 24_000,
        "outputs_ok": [end[1] is None for end in rows],
        "output_problem": [end[2] for end in rows],
        "messages": 0,
        "message_bytes": 0,
        "role": "canary",
        "front": False,
        "attempt": 1,
    }
