"""What the load would have written of a course: prompts, nodes, sockets, itself, and what it told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

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
    return [
        f"{text[i : i + 8]}-{text[i + 8 : i + 12]}-4{text[i + 13 : i + 16]}-a{text[i + 17 : i + 20]}-{text[i + 20 : i + 32]}"
        for i in range(0, 32 * count, 32)
    ]


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
        if world.gateway
        else chosen(np.array([life.server for life in lives]), [one.url for one in world.machines]),
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
        "output_problem": [life.fate.problem if life.fate and _struck(life) else None for life in lives],
        "deliberate": [life.fate.deliberate if life.fate else None for life in lives],
        "left_ns": ns(np.array([life.finished if life.outcome == "given_up" else np.nan for life in lives])),
        "cancel_asked_ns": ns(np.array([_cancelled(life) for life in lives])),
        "role": "load",
        "front": False,
        "attempt": 1,
    }


def _struck(life: Life) -> bool:
    """Whether its fate has come about: a prompt that was lost, or timed out, has another end."""
    return life.fate is not None and life.outcome == life.fate.outcome and life.code == life.fate.code


def _heard_end(life: Life) -> float:
    if life.outcome in {"timeout", "lost", "vanished", "rejected"} or life.ended > life.finished + 5:
        return math.nan
    return life.ended if life.ended < NEVER else math.nan


def _by_history(life: Life) -> bool:
    return life.code == "LOST_TERMINAL" or (life.fate is not None and life.fate.from_history and _struck(life))


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
    if life.fate is not None and _struck(life):
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
    """One row a node that ran; those that nobody saw end are closed at the end of the run."""
    ids, prompt_ids, node_ids, starts, stops, first, server, flow = [], [], [], [], [], [], [], []
    for name, life in zip(names.prompts, course.lives, strict=True):
        for node, start, stop in life.nodes:
            ids.append(f"{name}/{node}")
            prompt_ids.append(name)
            node_ids.append(node)
            starts.append(start)
            stops.append(min(stop, course.end))
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


def canaries(world: World, course: Course) -> Batch | None:
    """Golden canaries: one at intervals to each server, whose pictures are compared."""
    if world.canary_every_s is None:
        return None
    numbers, wrong, rows = world.random, sorted(world.script.canary_wrong), []
    for index, machine in enumerate(world.machines):
        at = 0.5 + index
        while at < world.duration_s - 5:
            rows.append([machine.url, at, "success", None, None])
            at += world.canary_every_s
    rows.sort(key=lambda row: row[1])
    for at, code, outcome, problem in wrong:
        row = next((row for row in rows if row[1] >= at and row[3] is None), None)
        if row is not None:
            row[2:] = [outcome, code, problem]
    at = np.array([row[1] for row in rows])
    wait = numbers.uniform(0.3, 2.0, len(rows))
    return {
        "id": _uuids(numbers, len(rows)),
        "server": [row[0] for row in rows],
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
        "outcome": [row[2] for row in rows],
        "code": [row[3] for row in rows],
        "error_message": [row[4] for row in rows],
        "nodes_total": 6,
        "nodes_cached": 0,
        "nodes_executed": 6,
        "outputs_expected": 1,
        "outputs_received": 1,
        "output_bytes": 24_000,
        "outputs_ok": [row[3] is None for row in rows],
        "output_problem": [row[4] for row in rows],
        "messages": 0,
        "message_bytes": 0,
        "role": "canary",
        "front": False,
        "attempt": 1,
    }


def sessions(world: World, course: Course, names: Names) -> Batch | None:
    """Sockets of users and watchers; those that were cut are opened again."""
    if world.gateway is not None:
        return None
    rows: list[list[Any]] = []
    for who in range(names.users + world.watchers):
        cuts = sorted((cut for cut in world.script.cuts if cut.who % (names.users + world.watchers) == who),
                      key=lambda cut: cut.at_s)  # fmt: skip
        _socket(world, course, names, who, cuts, rows)
    columns = list(zip(*rows, strict=True))
    opened, closed = np.array(columns[5], dtype=np.float64), np.array(columns[6], dtype=np.float64)
    lived = np.where(np.isfinite(opened), closed - opened, 0.0)
    quiet = world.random.uniform(3, 9, len(rows)) + np.array(columns[12], dtype=np.float64)
    rate = 3.0 * len(course.lives) / max(course.end, 1.0)
    return {
        "id": list(columns[0]),
        "server": list(columns[1]),
        "worker": "load-0",
        "role": list(columns[2]),
        "client_id": list(columns[3]),
        "opening_ns": ns(np.array(columns[4], dtype=np.float64)),
        "opened_ns": ns(opened),
        "closed_ns": ns(closed),
        "close_code": whole(np.array(columns[7], dtype=np.float64)),
        "closed_by": list(columns[8]),
        "reason": pa.array(columns[9], pa.string()),
        "code": pa.array(columns[10], pa.string()),
        "messages": np.round(1 + rate * lived).astype(np.int64),
        "message_bytes": np.round(90 + rate * 90 * lived).astype(np.int64),
        "longest_silence_ns": lasting(np.where(np.isfinite(opened), np.minimum(quiet, lived), np.nan)),
        "reopened_as": pa.array(columns[11], pa.string()),
    }


def _socket(world: World, course: Course, names: Names, who: int, cuts: list[Any], rows: list[list[Any]]) -> None:
    """Of each server that this user or watcher is connected to, one after the other; in the end its client leaves."""
    numbers = world.random
    is_user = who < names.users
    role, client = ("user" if is_user else "watcher"), names.clients[who]
    start = (world.cold_start_s or 0.0) + (float(numbers.uniform(0.1, 2)) if is_user else 0.05 + 0.02 * who)
    targets = range(len(world.machines)) if is_user else [who % len(world.machines)]
    for server in targets:
        url, opening, turn = world.machines[server].url, start, 1
        ends = [
            (cut.at_s, cut.close_code, cut.closed_by, cut.code, cut.reason, None)
            for cut in cuts
            if server == targets[0]
        ]
        for one in world.script.outages:
            if one.server == server:
                reason = "connection ended without a close frame"
                ends.append((one.from_s + float(numbers.uniform(0, 0.03)), 1006, "network", "WS_ABNORMAL", reason, one))
        silence = sum(until - since for where, since, until in world.script.silent if where == server)
        for at, close_code, closed_by, code, reason, outage in sorted(ends, key=lambda end: end[0]):
            if at <= opening:
                continue
            name = f"{client}-{server}/{turn}" if server else f"{client}/{turn}"
            turn += 1
            after = f"{client}-{server}/{turn}" if server else f"{client}/{turn}"
            rows.append([name, url, role, client, opening, opening + 0.004, at, close_code, closed_by, reason, code, after, silence])  # fmt: skip
            opening = at + float(numbers.uniform(0.05, 0.6))
            if outage is not None:
                opening, turn = _refused(world, course, [client, server, url, role], opening, outage, turn, rows)
            if opening >= course.end:
                return
        name = f"{client}-{server}/{turn}" if server else f"{client}/{turn}"
        closed = course.end - float(numbers.uniform(0.2, 0.9))
        rows.append([name, url, role, client, opening, opening + 0.004, max(closed, opening + 0.01), 1000, "client", None, None, None, silence])  # fmt: skip


def _refused(
    world: World, course: Course, who: list[Any], opening: float, outage: Any, turn: int, rows: list[list[Any]]
) -> tuple[float, int]:
    """Attempts while the server is away, with growing pauses."""
    client, server, url, role = who
    pause, back = 0.2, course.end if outage.back_s is None else outage.back_s
    reason = "connection refused: [Errno 111] Connection refused"
    while opening < back:
        name = f"{client}-{server}/{turn}" if server else f"{client}/{turn}"
        turn += 1
        after = f"{client}-{server}/{turn}" if server else f"{client}/{turn}"
        last = outage.back_s is None and opening + pause >= course.end
        rows.append([name, url, role, client, opening, math.nan, opening + 0.001, math.nan, "refused", reason, "SERVER_DOWN", None if last else after, 0.0])  # fmt: skip
        pause = min(pause * 2, 8.0)
        opening += pause * float(world.random.uniform(0.7, 1.3))
    return opening, turn


def generator(world: World, course: Course) -> Batch:
    """The load process about itself, once a second."""
    numbers = world.random
    at = np.arange(0.6, course.end - 0.2, max(world.every_s, 1.0)) + numbers.uniform(0, 0.002)
    sent = np.sort([life.due for life in course.lives])
    done = np.sort([min(life.finished, course.end) for life in course.lives])
    flight = np.searchsorted(sent, at) - np.searchsorted(done, at)
    users = max((life.user for life in course.lives), default=0) + 1
    return {
        "at_ns": ns(at),
        "worker": "load-0",
        "pid": 4711,
        "users": 0 if world.load.is_open else users,
        "sockets": users + world.watchers,
        "in_flight": np.maximum(flight, 0).astype(np.int64),
        "cpu_ratio": share(np.clip(numbers.normal(0.08, 0.02, len(at)), 0.01, None)),
        "lag_max_ns": lasting(numbers.exponential(0.002, len(at)) + 0.001),
        "lateness_max_ns": lasting(numbers.exponential(0.001, len(at)) + 0.0003),
        "handles": 23 + users + world.watchers,
        "handle_limit": 20_000,
        "rss_bytes": whole(82e6 + 2e6 * (1 - np.exp(-at / 300)) + numbers.normal(0, 2e5, len(at))),
        "journal_errors": 0,
        "rows_dropped": 0,
    }


def events(world: World, course: Course) -> Batch:
    """What load, sampler and supervisor told."""
    rows: list[tuple[float, str, str, int | None, str | None, str | None, str]] = []
    for index, machine in enumerate(world.machines):
        if world.gateway is None:
            rows.append((-0.9, "sampler", "server_process", index, None, None, f"process {machine.pid}, python"))
        title = f"GPU {machine.index} of {machine.host}, {machine.gpu_name}, driver 580.65.06"
        rows.append((-0.89, "sampler", "gpu", None, machine.uuid, None, title))
        if world.has_log:
            rows.append((-0.88, "sampler", "log_source", index, "log", None, "log lines come by socket"))
    cold, stages = world.cold_start_s or 0.0, 2 + (world.cold_start_s is not None)
    if cold:
        rows.append((0.0, "load-0", "phase", None, "cold start", None, f"stage 1 of {stages}: a cold start"))
    rows.append((cold, "load-0", "phase", None, "warmup", None, f"stage {stages - 1} of {stages}"))
    rows.append((world.measured_s, "load-0", "phase", None, "load", None, f"stage {stages} of {stages}"))
    for began, free, until in course.settles:
        rows.append((began - 0.5, "load-0", "phase", None, "settle", None, "servers let their memory go"))
        for index in range(len(world.machines)):
            rows.append(
                (free, "load-0", "settled", index, "begin", None, "free memory: 9.10 GiB before, 22.9 GiB after")
            )
            rows.append((until, "load-0", "settled", index, "end", None, ""))
        rows.append((until + 0.01, "load-0", "phase", None, "load", None, "the load goes on"))
    rows += [
        (one.at_s, one.source, one.kind, one.server, one.subject, one.code, one.detail) for one in world.script.told
    ]
    rows.append((course.end, "supervisor", "end", None, "finished", None, ""))
    rows.sort(key=lambda row: row[0])
    columns = list(zip(*rows, strict=True))
    urls = [None if index is None else world.machines[index].url for index in columns[3]]
    return {
        "at_ns": ns(np.array(columns[0], dtype=np.float64)),
        "source": list(columns[1]),
        "kind": list(columns[2]),
        "server": pa.array(urls, pa.string()),
        "subject": pa.array(columns[4], pa.string()),
        "code": pa.array(columns[5], pa.string()),
        "detail": list(columns[6]),
    }
