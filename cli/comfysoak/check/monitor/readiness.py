"""Can the target serve? What an orchestrator is told, with the reason. Pure."""

from __future__ import annotations

from typing import Final

from comfysoak.check.conversation.figures import seconds
from comfysoak.check.monitor.canary import Came
from comfysoak.check.monitor.held_sockets import SocketsSeen
from comfysoak.check.monitor.standing import Standing
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code

_SLACK_S: Final = 15.0  # a look that is answered slowly is answered


def not_ready(standing: Standing, sockets: SocketsSeen, now_ns: int, every_s: float) -> str:
    """Why it is not ready, the worst first; empty: it is. `now_ns`: of the steady clock."""
    last, canary = standing.last, standing.canaries.last
    if last is None:
        return "no look has ended yet"
    age_s = (now_ns - last.ended_ns) / NS_PER_S
    if age_s > 2 * every_s + _SLACK_S:
        return f"the last look ended {seconds(age_s)} ago: the server keeps one waiting"
    if not standing.is_up:
        return standing.why_not or "the server is not up"
    if standing.worker.evidence:
        return f"{Code.WORKER_DEAD}: {standing.worker.evidence}"
    if sockets.head_of_line:
        return f"{Code.WS_HEAD_OF_LINE}: {sockets.head_of_line}"
    if not sockets.open:
        return f"no WebSocket is open: {sockets.why_not}"
    if not sockets.alive:
        return "no WebSocket answers a ping"
    if standing.gateway is not None and not standing.gateway.is_well:
        return f"the gateway is not well: {standing.gateway.words}"
    if canary is not None and canary.came is Came.FAILURE:
        code = f"{canary.code}: " if canary.code is not None else ""
        return f"the last canary failed: {code}{canary.words}"
    return ""
