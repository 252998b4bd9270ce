"""WebSocket: what the platform does with it, message by message, and what proxies do to it."""

from __future__ import annotations

from collections.abc import Iterator

from comfysoak.check.checking import Checking, skipped
from comfysoak.check.conversation.run import Run
from comfysoak.check.conversation.runs import Runs
from comfysoak.check.conversation.trouble import trouble_of
from comfysoak.check.parts.socket.by_itself import client_ids, connects, holds, pings, several_servers
from comfysoak.check.parts.socket.of_runs import images, is_jammed, is_lost, order, private, recovery, sizes
from comfysoak.check.row import Row, State
from comfysoak.check.rows import KINDS, Part
from comfysoak_core.codes import Code


def look(checking: Checking) -> Iterator[Row]:
    """The rows of the WebSocket."""
    known = checking.known
    if not known.answers or known.base_url is None or not known.has_socket:
        why = "no WebSocket opened: see url.websocket" if known.answers else "the server does not answer"
        yield from (skipped(id_, why) for id_, kind in KINDS.items() if kind.part is Part.SOCKET)
        return
    runs = Runs.of(checking)
    greeting = connects(checking)
    yield greeting
    yield from _of_runs(checking, runs, is_greeted=greeting.state is State.OK)
    yield client_ids(checking)
    ping = pings(checking)
    yield ping
    yield _recovery(runs)
    cuts_idle = ping.code is Code.WS_IDLE_CUT
    yield sizes(runs.workflow_runs, _large(runs), lacks_nodes=not runs.has_noise_nodes, cuts_idle=cuts_idle)
    yield holds(checking, runs)


def _of_runs(checking: Checking, runs: Runs, *, is_greeted: bool) -> Iterator[Row]:
    first = runs.first()
    if first is None:
        why = runs.obstacle or "nothing was run"
        yield from (skipped(id_, why) for id_ in ("socket.order", "socket.images", "socket.private"))
        return
    trouble = trouble_of(first)
    again = None if is_lost(first) else runs.again()
    told = order(runs.workflow_runs, again, trouble)
    if is_lost(first) and not is_greeted:
        told = skipped("socket.order", "messages have no way to this client: see socket.connects")
    shared_out = several_servers(checking, first)
    yield shared_out or told
    yield images(first, trouble) if shared_out is None else skipped("socket.images", "see socket.order")
    yield private(runs.workflow_runs)


def _recovery(runs: Runs) -> Row:
    first = runs.first()
    if first is not None and first.history_problem is not None:
        return skipped("socket.recovery", "history cannot be read: see socket.images")
    dropped = runs.dropped()
    if dropped is not None:
        return recovery(dropped)
    trouble = None if first is None else trouble_of(first)
    return skipped("socket.recovery", trouble.why if trouble is not None else runs.obstacle or "nothing was run")


def _large(runs: Runs) -> Run | None:
    lost = [run for run in runs.workflow_runs if is_lost(run)]
    return None if lost or is_jammed(runs.workflow_runs) else runs.large()
