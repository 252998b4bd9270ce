"""What sockets show that no prompt is needed for: opening, ids, idle time, holding on."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Final

from comfysoak.check.checking import Checking, failed, ok, skipped, warning
from comfysoak.check.conversation.access import Access
from comfysoak.check.conversation.ear import Ear, End, NotOpenError
from comfysoak.check.conversation.figures import counted, seconds, some
from comfysoak.check.conversation.run import Run
from comfysoak.check.conversation.runs import Runs
from comfysoak.check.conversation.server_log import goes_back, read_log
from comfysoak.check.parts.socket.of_runs import ORDER, is_lost
from comfysoak.check.row import Row
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import CATALOGUE, Code
from comfysoak_core.comfyui.json_text import document_or_none
from comfysoak_core.comfyui.messages import Status
from comfysoak_core.comfyui.transport import Transport
from comfysoak_core.errors import TargetError

CONNECTS, IDS, PING, HOLD = "socket.connects", "socket.client_id", "socket.ping", "socket.hold"
PONG_WITHIN_S: Final = 10.0
PING_EVERY_S: Final = 20.0
_LOOK_S: Final = 1.0
_OWN_IDS_SINCE: Final = (0, 9)  # a gateway older than that uses the user's id for all of the user's sockets
_VERSION_WITHIN_S: Final = 5.0
_DROPS_MOST: Final = 100
_READINGS: Final = 8


def open_ear(checking: Checking, client_id: str) -> Ear:
    """A socket; NotOpenError."""
    access = Access.of(checking)
    return Ear(access.socket_url(client_id), access.headers, checking.steady_ns)


def connects(checking: Checking) -> Row:
    """It opens, and the first message is a status with the id we asked for."""
    began_ns = checking.steady_ns()
    client_id = str(uuid.uuid4())
    try:
        with open_ear(checking, client_id) as ear:
            opened_s = (ear.opened_ns - began_ns) / NS_PER_S
            first = ear.first_status()
            return _greeted(ear, first, client_id, opened_s)
    except NotOpenError as error:
        key = error.status in {401, 403}
        remedy = "It wants a key: set COMFYUI_API_KEY." if key else "Let WebSockets (Upgrade) through to ComfyUI's /ws."
        return failed(CONNECTS, f"no WebSocket: {error}", remedy)


def _greeted(ear: Ear, first: Status | None, client_id: str, opened_s: float) -> Row:
    if first is None and ear.end is not None:
        seen = f"it opened and was closed at once: code {ear.end.code} {ear.end.reason}".rstrip()
        return failed(
            CONNECTS, seen, "Look for a proxy that closes it, and into the server's log.", code=Code.WS_ABNORMAL
        )
    if first is None:
        what = f"the first message was {ear.told[0].message.kind}" if ear.told else "no message came"
        remedy = "Look whether something between answers in the place of ComfyUI; else restart ComfyUI."
        return failed(CONNECTS, f"it opened, and {what}, not a status", remedy, code=Code.BAD_MESSAGE)
    if first.sid != client_id:
        seen = f"we asked for clientId {client_id}, and the server goes by {first.sid or 'none'}"
        remedy = "Let the query (?clientId=...) through to /ws: without it, no message of a prompt reaches its client."
        return failed(CONNECTS, seen, remedy)
    return ok(CONNECTS, f"open after {seconds(opened_s)}; the first message was a status with our id as sid")


def client_ids(checking: Checking) -> Row:
    """Two sockets at once are two clients; and what the gateway does."""
    ids = [str(uuid.uuid4()) for _ in range(2)]
    try:
        with open_ear(checking, ids[0]) as one, open_ear(checking, ids[1]) as two:
            sids = [first.sid if first is not None else None for first in (one.first_status(), two.first_status())]
    except NotOpenError as error:
        return skipped(IDS, f"two sockets at once did not open: {error}")
    if None in sids:
        return skipped(IDS, "no id was told by the first message: see socket.connects")
    if len(set(sids)) < len(sids):
        seen = f"two sockets with ids of their own are one for the server: {sids[0]}"
        remedy = "Let the query (?clientId=...) through to /ws as it is."
        return failed(IDS, seen, remedy)
    gateway = checking.settings.gateway
    if gateway is None or not gateway.api_name.startswith("open-webui"):
        return ok(IDS, "two sockets at once, each known by its own id")
    return _of_gateway(gateway_version(gateway.url), is_old=gateway.api_name == "open-webui-old")


def several_servers(checking: Checking, run: Run) -> Row | None:
    """A prompt of which its socket heard nothing may have run elsewhere; None: it is one server that answers."""
    if not is_lost(run) or run.own:
        return None
    readings = []
    for _ in range(_READINGS):
        with Access.of(checking).client() as client:  # each by a connection of its own: that is what is shared out
            readings.append(read_log(client))
    if not goes_back(readings):
        return None
    seen = (
        f"{run.asked.name}: not one message about it came on its socket; the log of the server is another from one "
        "request to the next: several servers answer at this address, each with a queue, history and files of its own"
    )
    remedy = (
        "Name one ComfyUI, or have the load balancer send one client always to the same (nginx: `hash $remote_addr "
        "consistent;`): POST /prompt, /ws, /history and /view of one picture belong together."
    )
    return failed(ORDER, seen, remedy)


def gateway_version(url: str) -> str | None:
    """What an Open WebUI says of its version to anybody; None: nothing."""
    try:
        transport = Transport(url, timeout_s=_VERSION_WITHIN_S)
        answer = transport.request("GET", "/api/version")
        transport.close()
    except TargetError:
        return None
    document = document_or_none(answer.body)
    version = document.get("version") if isinstance(document, dict) else None
    return version if isinstance(version, str) and re.match(r"\d+\.\d+", version) else None


def _of_gateway(version: str | None, *, is_old: bool) -> Row:
    """Gateways before 0.9 use the user's id as clientId: of two requests of one user at once, one waits for ever."""
    own = "two sockets at once, each known by its own id"
    numbers = tuple(int(part) for part in re.findall(r"\d+", version or "")[:2])
    shares = (
        "uses its user's id as clientId for all requests of that user: of several at once all but one wait for ever"
    )
    if numbers and numbers < _OWN_IDS_SINCE:
        remedy = "Update the gateway to 0.9 or later; until then, one request at a time for each user."
        return warning(IDS, f"the gateway ({version}) {shares}", remedy, code=Code.WS_ZOMBIE)
    if not numbers and is_old:
        return ok(IDS, f"{own}; the gateway tells no version, and one of the old layout {shares}")
    return ok(IDS, f"{own}; the gateway ({version}) makes one for each request" if version else own)


def pings(checking: Checking) -> Row:
    """Open and idle for as long as was asked, without a ping of ours: the platform sends none. Then it is pinged."""
    idle_s = checking.settings.idle_s
    checking.say(f"keeping a socket idle for {seconds(idle_s)}")
    try:
        with open_ear(checking, str(uuid.uuid4())) as ear:
            ear.first_status()
            heard = len(ear.told)
            wait_out(ear, idle_s)
            pong_s = ear.ping(PONG_WITHIN_S) if ear.end is None else None
            return _pinged(
                ear.end, (checking.steady_ns() - ear.opened_ns) / NS_PER_S, idle_s, pong_s, len(ear.told) - heard
            )
    except NotOpenError as error:
        return skipped(PING, f"no WebSocket: {error}")


def wait_out(ear: Ear, for_s: float) -> None:
    """Until it has been open for so long, or has ended."""
    until_ns = ear.opened_ns + round(for_s * NS_PER_S)
    while ear.end is None and (left_s := (until_ns - ear.now_ns()) / NS_PER_S) > 0:
        ear.wait(len(ear.told), min(left_s, _LOOK_S))


def _pinged(end: End | None, open_s: float, idle_s: float, pong_s: float | None, messages: int) -> Row:
    if end is not None:
        seen = f"cut after {seconds(open_s)} in which nothing was sent: code {end.code} {end.reason}".rstrip()
        remedy = (
            "Raise the idle timeout of the proxy in between (nginx: proxy_read_timeout 3600s; HAProxy: timeout tunnel"
            " 1h) beyond the longest time a node works without a word: the platform sends no pings."
        )
        return failed(PING, seen, remedy, code=Code.WS_IDLE_CUT)
    if pong_s is None:
        seen = f"after {seconds(idle_s)} of silence it was pinged, and no pong came within {seconds(PONG_WITHIN_S)}"
        remedy = "Look for a firewall or a proxy that forgets idle connections; if there is none, restart the server."
        return failed(PING, seen, remedy, code=Code.WS_IDLE_CUT)
    quiet = f"{counted(messages, 'message')} of others meanwhile" if messages else "with no message either way"
    return ok(PING, f"open for {seconds(idle_s)} {quiet}; a ping was then answered after {seconds(pong_s)}")


@dataclass(slots=True)
class Holding:
    """What happened while sockets were held."""

    drops: list[tuple[float, End]] = field(default_factory=list)  # how old each was, in s, and how it ended
    refused: list[str] = field(default_factory=list)
    pings: int = 0
    longest_pong_s: float = 0.0
    unanswered: int = 0
    statuses: int = 0
    is_deaf: bool = False  # at the end, a prompt ran, and it was not told of the queue


def holds(checking: Checking, runs: Runs) -> Row:
    """Open for `hold_s`, with pings; at its end a prompt shows whether it still hears."""
    hold_s = checking.settings.hold_s
    if hold_s <= 0:
        return skipped(HOLD, "not asked for: --hold 5m")
    holding = Holding()
    until_ns = checking.steady_ns() + round(hold_s * NS_PER_S)
    while checking.steady_ns() < until_ns and len(holding.drops) + len(holding.refused) < _DROPS_MOST:
        _hold(checking, runs, holding, until_ns)
    return held(holding, hold_s)


def _hold(checking: Checking, runs: Runs, holding: Holding, until_ns: int) -> None:
    """One socket, until it ends or the time is over."""
    try:
        ear = open_ear(checking, str(uuid.uuid4()))
    except NotOpenError as error:
        holding.refused.append(str(error))
        time.sleep(_LOOK_S)  # before the next attempt
        return
    with ear:
        while ear.end is None and (left_s := (until_ns - checking.steady_ns()) / NS_PER_S) > 0:
            checking.say(f"holding a socket open, {left_s:.0f} s more; {counted(len(holding.drops), 'drop')}")
            wait_out(ear, (checking.steady_ns() - ear.opened_ns) / NS_PER_S + min(PING_EVERY_S, left_s))
            _ping(ear, holding)
        if ear.end is None:
            heard = len(ear.told)
            if runs.held() is not None:
                holding.is_deaf = len(ear.told) == heard
        holding.statuses += sum(isinstance(told.message, Status) for told in ear.told)
        if ear.end is not None:
            holding.drops.append(((ear.end.at_ns - ear.opened_ns) / NS_PER_S, ear.end))


def _ping(ear: Ear, holding: Holding) -> None:
    if ear.end is not None:
        return
    pong_s = ear.ping(PONG_WITHIN_S)
    if pong_s is not None:
        holding.pings += 1
        holding.longest_pong_s = max(holding.longest_pong_s, pong_s)
    elif ear.end is None:
        holding.unanswered += 1


def held(holding: Holding, hold_s: float) -> Row:
    """What it comes to."""
    if holding.drops or holding.refused:
        dropped = [f"{end.code} {end.reason}".strip() + f" after {seconds(age_s)}" for age_s, end in holding.drops]
        refused = [f"not opened: {why}" for why in dict.fromkeys(holding.refused)]
        seen = f"{counted(len(holding.drops), 'drop')} in {seconds(hold_s)}: {some([*dropped, *refused], 5)}"
        return failed(HOLD, seen, CATALOGUE[Code.WS_ABNORMAL].remedy, code=Code.WS_ABNORMAL)
    if holding.is_deaf:
        seen = f"open for {seconds(hold_s)} and answering pings, but it was told nothing of a prompt that ran then"
        return failed(HOLD, seen, CATALOGUE[Code.WS_ZOMBIE].remedy, code=Code.WS_ZOMBIE)
    told = f"{counted(holding.pings, 'ping')}, the slowest answered after {seconds(holding.longest_pong_s)}"
    if holding.unanswered:
        late = f"{counted(holding.unanswered, 'ping')} not answered within {seconds(PONG_WITHIN_S)}"
        seen = f"open for {seconds(hold_s)}; {late}; {told}"
        return warning(HOLD, seen, CATALOGUE[Code.LOOP_BLOCKED].remedy, code=Code.LOOP_BLOCKED)
    return ok(HOLD, f"open for {seconds(hold_s)}; {told}; {counted(holding.statuses, 'status', 'statuses')}")
