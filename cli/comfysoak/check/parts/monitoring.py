"""Monitoring: what `--watch` would see and log of this server, by one light look. No prompt is sent for it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Final

from comfysoak.check.checking import Checking, failed, ok, skipped, warning
from comfysoak.check.conversation.access import Access
from comfysoak.check.conversation.ear import Ear, NotOpenError
from comfysoak.check.conversation.figures import counted, seconds, size
from comfysoak.check.conversation.server_log import ROUTE, read_log
from comfysoak.check.monitor.canary import Kind, result_of
from comfysoak.check.monitor.configured import configured
from comfysoak.check.monitor.looking import Looker, Sight
from comfysoak.check.monitor.standing import canary_told
from comfysoak.check.row import Row
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.redaction import redact

SERVICE, SOCKET, PROCESSING = "monitor.service", "monitor.socket", "monitor.processing"
LOG, CONFIGURATION = "monitor.log", "monitor.configuration"
PONG_WITHIN_S: Final = 5.0
_LOG_WITHIN_S: Final = 10.0
_PARTS_NAMED: Final = 6


def look(checking: Checking) -> Iterator[Row]:
    """The rows of monitoring."""
    known = checking.known
    if known.base_url is None:
        yield from (skipped(id_, "no base URL is known") for id_ in (SERVICE, SOCKET, PROCESSING, LOG))
        yield configuration_row(checking, None)
        return
    if not known.answers:
        why = "the server does not answer; a monitor would say so, and go on asking"
        yield from (skipped(id_, why) for id_ in (SERVICE, SOCKET, PROCESSING, LOG))
        yield configuration_row(checking, None)
        return
    checking.say("looking as a monitor does")
    access = Access.of(checking)
    looker = Looker(access, checking.steady_ns)
    sight = looker.look(checking.settings, read_log_too=False)
    looker.close()
    yield service_row(sight, f"comfysoak check {redact(known.base_url)} --watch 30s --metrics 127.0.0.1:9109")
    yield _socket(checking, access, sight)
    yield _processing(sight, access)
    yield log_row(checking)
    yield configuration_row(checking, sight)


def service_row(sight: Sight, command: str) -> Row:
    """monitor.service, by one look."""
    if sight.problem is not None:
        remedy = sight.problem.remedy or "Look into the server's log, and into that of a proxy before it."
        return failed(SERVICE, f"a look of a monitor fails: {sight.problem.what}", remedy)
    took_s = (sight.ended_ns - sight.began_ns) / NS_PER_S
    stats = sight.stats
    device = stats.devices[0] if stats is not None and stats.devices else None
    memory = ""
    if device is not None and device.vram_free_bytes is not None:
        memory = f", {size(device.vram_free_bytes)} of {device.type} memory free"
    return ok(SERVICE, f"a look took {seconds(took_s)}: up{memory}. To stay and look again: {command}")


def _socket(checking: Checking, access: Access, sight: Sight) -> Row:
    if sight.problem is not None:
        return skipped(SOCKET, f"a look of a monitor fails: see {SERVICE}")
    if not checking.known.has_socket:
        return skipped(SOCKET, "no WebSocket opens: see url.websocket")
    try:
        with Ear(access.socket_url(str(uuid.uuid4())), access.headers, checking.steady_ns) as ear:
            ear.first_status()
            return socket_row(ear.ping(PONG_WITHIN_S))
    except NotOpenError as error:
        return failed(
            SOCKET, f"no WebSocket opens for a monitor: {error}", "Look into the server's log, and a proxy's."
        )


def socket_row(pong_s: float | None) -> Row:
    """monitor.socket, by one ping."""
    if pong_s is None:
        seen = f"a held WebSocket does not answer a ping within {seconds(PONG_WITHIN_S)}"
        return failed(SOCKET, seen, "Let ping and pong frames through to ComfyUI, or look whether it stands still.")
    return ok(SOCKET, f"a ping is answered in {seconds(pong_s)}; a monitor holds two sockets open, and pings them")


def _processing(sight: Sight, access: Access) -> Row:
    if sight.problem is not None or sight.queue is None:
        return skipped(PROCESSING, f"a look of a monitor fails: see {SERVICE}")
    with access.client(_LOG_WITHIN_S) as client:
        return processing_row(sight, log_is_readable=read_log(client) is not None)


def processing_row(sight: Sight, *, log_is_readable: bool) -> Row:
    """monitor.processing, by what can be read of work."""
    queue = sight.queue
    now = f"{len(queue.running)} run and {len(queue.pending)} wait" if queue is not None else ""
    if log_is_readable:
        return ok(PROCESSING, f"queue, history and log can be read ({now}); canaries prove that prompts come back")
    return warning(
        PROCESSING,
        f"queue and history can be read ({now}), the log cannot: a dead worker that holds on to a prompt is not told "
        "from one that works for long, before --deadline is over",
        f"Let GET {ROUTE} through to ComfyUI for the monitor.",
    )


def log_row(checking: Checking) -> Row:
    """monitor.log, with a line that a monitor would write."""
    runs = checking.known.runs.made if checking.known.runs is not None else []
    what = "each opening, closing and anomaly of a WebSocket and each generation is a line; --log-json: of JSON"
    if not runs:
        return ok(LOG, what)
    line = canary_told(result_of(runs[-1], Kind.WORKFLOW)).words
    return ok(LOG, f"{what}. Of {counted(len(runs), 'run')} of this check the last would be: {line}")


def configuration_row(checking: Checking, sight: Sight | None) -> Row:
    """monitor.configuration, by the hash that a monitor would tell."""
    stats = sight.stats if sight is not None else None
    now = configured(checking.settings, stats, checking.known.gateway_config, None)
    names = sorted([*now.open, *now.hidden])
    if not names:
        return skipped(CONFIGURATION, "there is no configuration: no variable is set, and no server answers")
    shown = ", ".join(names[:_PARTS_NAMED])
    more = f" and {len(names) - _PARTS_NAMED} more" if len(names) > _PARTS_NAMED else ""
    return ok(CONFIGURATION, f"hash {now.hash} of {counted(len(names), 'part')}: {shown}{more}; secrets are in no hash")
