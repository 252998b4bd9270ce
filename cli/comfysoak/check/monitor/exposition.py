"""All that a monitor knows, as Prometheus text. What is not known has no series; nothing here asks anybody anything.

Names and what they mean stand in docs/check.md, one for one. Labels come from sets that are bounded: codes of the
catalogue, close codes, devices; never a prompt id.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from comfysoak.check.monitor.canary import Came
from comfysoak.check.monitor.held_sockets import SocketsSeen
from comfysoak.check.monitor.standing import Standing
from comfysoak.check.row import State
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Device
from comfysoak_core.recording.redaction import redact
from comfysoak_probes.remote.prometheus_text import Labels, PrometheusText, short

GAUGE: Final = "gauge"
COUNTER: Final = "counter"
DEVICES_MOST: Final = 16
FAULTS: Final = (Code.WORKER_DEAD, Code.WS_HEAD_OF_LINE, Code.SERVER_DOWN, Code.LOOP_BLOCKED)


@dataclass(frozen=True, slots=True)
class About:
    """The monitor itself. Times are UTC ns; `to_utc_ns` is what the steady clock is behind UTC."""

    target: str
    gateway: str
    started_ns: int
    to_utc_ns: int
    every_s: float
    canary_every_s: float | None
    canary_kind: str
    missed: int
    mistakes: int
    rows: dict[State, int]
    not_ready: str


Sample = tuple[str, str, str, Labels, float | None]


def exposition(standing: Standing, sockets: SocketsSeen, about: About) -> bytes:
    """Everything, whole."""
    text = PrometheusText()
    for part in (
        _monitor(standing, about),
        _service(standing),
        _faults(standing, sockets),
        _sockets(sockets, about),
        _canaries(standing, about),
        _work(standing),
        _memory(standing),
        _configuration(standing, about),
    ):
        for name, help_, kind, labels, value in part:
            if value is not None:
                text.add(f"comfysoak_{name}", help_, kind, labels, value)
    done = standing.canaries
    text.histogram(
        "comfysoak_canary_duration_seconds",
        "From the sending of a canary that succeeded to its end, its wait included.",
        done.cumulated(),
        done.count,
        done.total_s,
    )
    return text.encoded()


def _monitor(standing: Standing, about: About) -> Iterator[Sample]:
    build = (("version", version("comfysoak")), ("python", platform.python_version()))
    yield "monitor_build_info", "The monitor that tells all this.", GAUGE, build, 1
    target = (("target", short(redact(about.target))), ("gateway", short(redact(about.gateway))))
    yield "monitor_target_info", "What is watched.", GAUGE, target, 1
    yield "monitor_start_time_seconds", "When the monitor was started.", GAUGE, (), _s(about.started_ns)
    yield "monitor_look_interval_seconds", "Between two looks.", GAUGE, (), about.every_s
    yield "monitor_ready", "Whether /readyz says that the target can serve.", GAUGE, (), int(not about.not_ready)
    for is_good, result in ((True, "good"), (False, "failed")):
        help_ = "Looks that have ended, by whether the server answered all of them."
        yield "monitor_looks_total", help_, COUNTER, (("result", result),), standing.looks[is_good]
    yield "monitor_looks_missed_total", "Looks left out, as the one before took too long.", COUNTER, (), about.missed
    yield "monitor_mistakes_total", "Mistakes of the monitor's own: please report them.", COUNTER, (), about.mistakes
    last = standing.last
    if last is not None:
        help_ = "When the last look ended."
        yield "monitor_last_look_timestamp_seconds", help_, GAUGE, (), _s(standing.last_utc_ns)
        took_s = (last.ended_ns - last.began_ns) / NS_PER_S
        yield "monitor_last_look_duration_seconds", "How long the last look took.", GAUGE, (), took_s


def _service(standing: Standing) -> Iterator[Sample]:
    if standing.is_up is not None:
        yield "comfyui_up", "Whether the ComfyUI answered all of the last look.", GAUGE, (), int(standing.is_up)
        help_ = "When comfysoak_comfyui_up changed last."
        yield "comfyui_up_changed_timestamp_seconds", help_, GAUGE, (), _s(standing.since_utc_ns)
    yield "comfyui_restarts_total", "Restarts of the ComfyUI that were noticed.", COUNTER, (), standing.restarts
    last, stats = standing.last, standing.stats
    if last is not None:
        yield "comfyui_response_seconds", "How long GET /queue took in the last look.", GAUGE, (), last.answer_s
    if stats is not None:
        told = (
            ("version", stats.comfyui_version),
            ("python", stats.python_version),
            ("pytorch", stats.pytorch_version),
        )
        labels = tuple((name, short(text or "")) for name, text in told)
        yield "comfyui_info", "What the ComfyUI says it is.", GAUGE, labels, 1
    gateway = standing.gateway
    if gateway is not None:
        yield "gateway_up", "Whether the gateway's health route answers as it should.", GAUGE, (), int(gateway.is_well)
        yield "gateway_response_seconds", "How long its health route took.", GAUGE, (), gateway.took_s


def _faults(standing: Standing, sockets: SocketsSeen) -> Iterator[Sample]:
    active = {
        Code.WORKER_DEAD: bool(standing.worker.evidence),
        Code.WS_HEAD_OF_LINE: bool(sockets.head_of_line),
        Code.SERVER_DOWN: standing.code is Code.SERVER_DOWN,
        Code.LOOP_BLOCKED: standing.code is Code.LOOP_BLOCKED,
    }
    for code in FAULTS:
        help_ = "1 while there is proof of this failure, by its code: see docs/troubleshooting.md."
        yield "fault", help_, GAUGE, (("code", code.value),), int(active[code])


def _sockets(sockets: SocketsSeen, about: About) -> Iterator[Sample]:
    healthy = "Whether all held WebSockets are open, answer pings, and are told what happens."
    yield "websocket_healthy", healthy, GAUGE, (), int(sockets.is_healthy)
    yield "websocket_open", "Held WebSockets that are open.", GAUGE, (), sockets.open
    yield "websocket_opens_total", "WebSockets that were opened.", COUNTER, (), sockets.opens
    help_ = "Tries to open a WebSocket that failed."
    yield "websocket_open_failures_total", help_, COUNTER, (), sockets.open_failures
    for code, count in sorted({"1000": 0, "1006": 0, **sockets.closes}.items()):
        help_ = "WebSockets that were closed, by close code; 1006: without a close frame."
        yield "websocket_closes_total", help_, COUNTER, (("code", code),), count
    yield "websocket_messages_total", "Messages that came.", COUNTER, (), sockets.messages
    yield "websocket_bad_messages_total", "Messages no ComfyUI sends.", COUNTER, (), sockets.bad_messages
    help_ = "WebSockets that the server had forgotten (WS_ZOMBIE)."
    yield "websocket_zombies_total", help_, COUNTER, (), sockets.zombies
    yield "websocket_pong_seconds", "How long the last ping took, of the slower one.", GAUGE, (), sockets.pong_s
    if sockets.last_message_ns is not None:
        when_s = (sockets.last_message_ns + about.to_utc_ns) / NS_PER_S
        help_ = "When the last message came; none comes while nothing happens."
        yield "websocket_last_message_timestamp_seconds", help_, GAUGE, (), when_s


def _canaries(standing: Standing, about: About) -> Iterator[Sample]:
    done = standing.canaries
    kind = (("graph", about.canary_kind),)
    yield "canary_info", "What is sent: the workflow, or a tiny graph that needs no model.", GAUGE, kind, 1
    yield "canary_interval_seconds", "Between two canaries, after a success.", GAUGE, (), about.canary_every_s
    results = {(Came.SUCCESS.value, ""): 0, (Came.FAILURE.value, ""): 0, (Came.WAITED.value, ""): 0, **done.results}
    for (came, code), count in sorted(results.items()):
        help_ = "Canaries that have ended; waited: others were before it all the time, which is no failure."
        yield "canary_results_total", help_, COUNTER, (("result", came), ("code", code)), count
    if done.last is not None:
        yield "canary_success", "Whether the last canary succeeded.", GAUGE, (), int(done.last.came is Came.SUCCESS)
        help_ = "How long the last canary took, its wait included."
        yield "canary_last_duration_seconds", help_, GAUGE, (), done.last.took_s
        help_ = "How long the server worked on the last canary."
        yield "canary_last_execution_seconds", help_, GAUGE, (), done.last.executed_s
    yield "canary_last_timestamp_seconds", "When the last canary ended.", GAUGE, (), _s(done.last_ns)
    help_ = "When a canary succeeded last."
    yield "canary_last_success_timestamp_seconds", help_, GAUGE, (), _s(done.last_success_ns)


def _work(standing: Standing) -> Iterator[Sample]:
    queue = standing.queue
    if queue is not None:
        yield "queue_running", "Prompts that run, whosever they are.", GAUGE, (), len(queue.running)
        yield "queue_pending", "Prompts that wait.", GAUGE, (), len(queue.pending)
        help_ = "For how long the oldest prompt in the queue has been seen there; 0: it is empty."
        yield "queue_oldest_prompt_age_seconds", help_, GAUGE, (), (standing.oldest_ns or 0) / NS_PER_S
    ended = {("success", ""): 0, ("failure", ""): 0, ("interrupted", ""): 0, **standing.ended}
    for (outcome, code), count in sorted(ended.items()):
        help_ = "Prompts of others that have ended, as /history tells; canaries are counted apart."
        yield "generations_total", help_, COUNTER, (("result", outcome), ("code", code)), count
    help_ = "Times that more prompts had ended between two looks than were looked at."
    yield "generations_gaps_total", help_, COUNTER, (), standing.gaps


def _memory(standing: Standing) -> Iterator[Sample]:
    stats = standing.stats
    if stats is None:
        return
    for device in stats.devices[:DEVICES_MOST]:
        labels = (("device", _index(device, stats.devices)), ("type", short(device.type)), ("name", short(device.name)))
        free, total = "Memory of the device that is free.", "Memory of the device."
        yield "device_memory_free_bytes", free, GAUGE, labels, device.vram_free_bytes
        yield "device_memory_total_bytes", total, GAUGE, labels, device.vram_total_bytes
        help_ = "Memory that PyTorch has reserved."
        yield "device_torch_reserved_bytes", help_, GAUGE, labels, device.torch_vram_total_bytes
        help_ = "Memory that PyTorch has reserved and does not use."
        yield "device_torch_free_bytes", help_, GAUGE, labels, device.torch_vram_free_bytes
    yield "comfyui_ram_free_bytes", "RAM of the ComfyUI's machine that is free.", GAUGE, (), stats.ram_free_bytes


def _configuration(standing: Standing, about: About) -> Iterator[Sample]:
    now = standing.configured
    if now is not None:
        yield (
            "configuration_info",
            "The hash of the configuration; secrets are not in it.",
            GAUGE,
            (("hash", now.hash),),
            1,
        )
    help_ = "When the configuration changed; at first, when it was seen."
    yield "configuration_changed_timestamp_seconds", help_, GAUGE, (), _s(standing.changed_utc_ns)
    yield "configuration_changes_total", "Changes since the monitor was started.", COUNTER, (), standing.changes
    for state in State:
        help_ = "Rows of `comfysoak check` on the configuration, by state, when they were looked at last."
        yield "configuration_rows", help_, GAUGE, (("state", state.value),), about.rows.get(state, 0)


def _s(utc_ns: int | None) -> float | None:
    return None if utc_ns is None else utc_ns / NS_PER_S


def _index(device: Device, devices: tuple[Device, ...]) -> str:
    """Its place: two of one name and index must not be one series."""
    return str(next(place for place, one in enumerate(devices) if one is device))
