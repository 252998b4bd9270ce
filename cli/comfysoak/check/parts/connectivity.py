"""Connectivity: is the service running, how far is it from here, does the gateway reach it, do addresses deceive."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfysoak.check.checking import Checking, failed, ok, skipped, warning
from comfysoak.check.conversation.access import Access
from comfysoak.check.parts.gateway.door import Door, Silence, Who, said, status_of
from comfysoak.check.parts.gateway.layout import Configuration
from comfysoak.check.row import Row, State
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import CATALOGUE, Code
from comfysoak_core.comfyui.answers import Queue, SystemStats
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.reaching import Place, place_of
from comfysoak_core.errors import Problem, TargetError
from comfysoak_core.gateway.preflight import NOT_REACHED, verification_of
from comfysoak_core.recording.redaction import redact

TIMEOUT_S: Final = 10.0
ASKED: Final = 7  # times, for the round trip
SLOW_S: Final = 1.0
FAR_S: Final = 0.25
GIB: Final = 1024**3
_RESTART: Final = CATALOGUE[Code.WORKER_DEAD].remedy


def look(checking: Checking) -> Iterator[Row]:
    """The rows of connectivity."""
    if not checking.known.answers:
        yield skipped("service.running", "no ComfyUI answers by HTTP")
        yield skipped("service.from_here", "no ComfyUI answers by HTTP")
    else:
        checking.say("asking for its queue")
        with Access.of(checking).client(TIMEOUT_S) as client:
            running = _running(client)
            yield running
            if running.state is State.FAILED:
                yield skipped("service.from_here", "it answers, and not as it should: see service.running")
            else:
                yield _from_here(checking, client)
    from_gateway = _from_gateway(checking)
    yield from_gateway
    reaches = {State.OK: True, State.FAILED: False}.get(from_gateway.state)
    yield containers_row(_views(checking, gateway_reaches=reaches))


# The service


def _running(client: ComfyClient) -> Row:
    try:
        return running_row(client.system_stats(), client.queue(), client.queue_remaining())
    except TargetError as error:
        return _failed("service.running", error.problems[0])


def _failed(id_: str, problem: Problem) -> Row:
    """What went wrong with a question that any ComfyUI answers."""
    remedy = "Look into the log of the server, and of a proxy before it."
    if "413" in problem.what:
        remedy = "A proxy limits the size of bodies: raise its limit (nginx: client_max_body_size 100m)."
    return failed(id_, problem.what, remedy)


def running_row(stats: SystemStats, queue: Queue, remaining: int) -> Row:
    """service.running. That a worker is dead is seen only while prompts wait and none of them runs.

    One that died at work leaves its prompt as running for ever: the first prompt of the check finds out.
    """
    id_ = "service.running"
    device = stats.devices[0] if stats.devices else None
    memory = ""
    if device is not None and device.vram_total_bytes and device.vram_free_bytes is not None:
        memory = f", {device.vram_free_bytes / GIB:.1f} of {device.vram_total_bytes / GIB:.1f} GiB free"
    what = (
        f"ComfyUI {stats.comfyui_version or 'of an unknown version'} on {device.name[:80] if device else 'no device'}"
    )
    busy = (
        f"{len(queue.running)} prompts run and {len(queue.pending)} wait" if queue.remaining else "its queue is empty"
    )
    seen = f"{what}{memory}; {busy}"
    if queue.pending and not queue.running and remaining == len(queue.pending):
        return warning(id_, f"{seen}: none of them is taken up", _RESTART, code=Code.WORKER_DEAD)
    return ok(id_, seen)


def _from_here(checking: Checking, client: ComfyClient) -> Row:
    """Several answers of the cheapest route; the first opens the connection and is not counted."""
    took_s: list[float] = []
    try:
        for _ in range(ASKED):
            began_ns = checking.steady_ns()
            client.queue_remaining()
            took_s.append((checking.steady_ns() - began_ns) / NS_PER_S)
            if took_s[-1] > SLOW_S and len(took_s) >= 3:
                break
    except TargetError as error:
        return _failed("service.from_here", error.problems[0])
    return from_here_row(took_s[1:])


def from_here_row(took_s: list[float]) -> Row:
    """service.from_here, by the times of some answers."""
    id_, median_s = "service.from_here", statistics.median(took_s)
    seen = f"GET /prompt is answered in {_ms(median_s)} (median of {len(took_s)}, at most {_ms(max(took_s))})"
    if median_s > SLOW_S:
        return warning(
            id_,
            f"{seen}: much too long for an answer that costs nothing",
            "Look for a proxy or a network that holds answers up, and for a node that blocks the server's loop.",
            code=Code.LOOP_BLOCKED,
        )
    if median_s > FAR_S:
        return warning(id_, f"{seen}: every picture takes several of these", "Bring client and server closer together.")
    return ok(id_, seen)


def _ms(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


# From the gateway's view


def _from_gateway(checking: Checking) -> Row:
    id_, access, held = "service.from_gateway", checking.settings.gateway, checking.known.gateway_config
    if access is None:
        return skipped(id_, "no gateway was named")
    if access.api_name == "open-webui-old":
        return skipped(id_, "an old gateway switches image generation off when it does not reach ComfyUI: never asked")
    if access.api_name != "open-webui":
        return skipped(id_, f"a gateway of the kind {access.api_name} has no route that tells")
    if held is None:
        return skipped(id_, "its configuration could not be read, so what to have it verify is not known")
    stored = Configuration.of(held)
    if not stored.base_url:
        remedy = "Set COMFYUI_BASE_URL for the gateway, or in its admin settings (Images)."
        return failed(id_, "the gateway has no COMFYUI_BASE_URL", remedy)
    checking.say(f"having {access.url} verify its ComfyUI")
    key = held.get("COMFYUI_API_KEY")
    asked = verification_of(stored.base_url, key if isinstance(key, str) else None)
    answer = Door(access).ask(Who.ADMIN, "POST", "/api/v1/images/verify", asked)
    is_silent = isinstance(answer, Silence)
    return from_gateway_row(redact(stored.base_url), status_of(answer), said(answer), is_silent=is_silent)


def from_gateway_row(url: str, status: int, words: str, *, is_silent: bool) -> Row:
    """service.from_gateway, by what its verify route said."""
    id_ = "service.from_gateway"
    if status == 200:
        return ok(id_, f"it verified {url}")
    if status == 400:
        return failed(id_, f"the gateway does not reach {url}", NOT_REACHED, code=Code.SERVER_DOWN)
    if is_silent:
        return failed(id_, words, "Does the gateway wait for a ComfyUI that does not answer? Look into its log.")
    return skipped(id_, f"its verify route answered {words}")


# Addresses that mean one thing here, and another in a container


@dataclass(frozen=True, slots=True)
class Views:
    """Who asks whom. `inside`: we run in a container."""

    inside: bool
    target: Place | None = None  # as asked from here
    answers: bool = False
    source: str = ""
    gateway: Place | None = None
    gateway_target: Place | None = None  # what the gateway asks
    gateway_reaches: bool | None = None  # None: not known

    @property
    def gateway_is_deceived(self) -> bool:
        """Whether its address of ComfyUI is a loopback one, and leads it to itself."""
        remote = self.gateway_target
        if remote is None or not remote.is_loopback or self.gateway_reaches is not False:
            return False
        is_elsewhere = self.gateway is not None and not self.gateway.is_loopback
        return is_elsewhere or (self.answers and self.target is not None and self.target.port == remote.port)


def _views(checking: Checking, *, gateway_reaches: bool | None) -> Views:
    settings, known = checking.settings, checking.known
    given = settings.base_url
    target = _place(given.value) if given is not None else None
    stored = Configuration.of(known.gateway_config) if known.gateway_config is not None else None
    return Views(
        in_container(),
        target,
        known.answers,
        given.source if given is not None else "",
        _place(settings.gateway.url) if settings.gateway is not None else None,
        _place(stored.base_url) if stored is not None and stored.base_url else None,
        gateway_reaches,
    )


def _place(url: str) -> Place | None:
    place = place_of(url)
    return place if isinstance(place, Place) else None


def in_container(root: Path = Path("/")) -> bool:
    """Whether this process runs in a container, by the marks that engines leave."""
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return True
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return True
    try:
        groups = (root / "proc/1/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(sign in groups for sign in ("/docker", "kubepods", "containerd", "libpod"))


def containers_row(views: Views) -> Row:
    """service.containers."""
    id_ = "service.containers"
    if views.target is None and views.gateway_target is None:
        return skipped(id_, "no base URL is known")
    target, remote = views.target, views.gateway_target
    if remote is not None and views.gateway_is_deceived:
        return warning(
            id_,
            f"the gateway asks {remote.url}, and reaches nothing: {remote.host} is the machine, or the container, "
            "that it runs in itself",
            f"Name ComfyUI as the gateway sees it: http://SERVICE:{remote.port} in a common network of Docker Compose, "
            f"or http://host.docker.internal:{remote.port} for the host.",
        )
    if target is not None and target.is_loopback and not views.answers:
        return skipped(id_, f"no ComfyUI answers at {target.url}: what was said of that tells of containers, too")
    if target is not None and target.is_loopback:
        note = "this container" if views.inside else "this machine"
        asks = (
            f"the gateway asks {remote.url}" if remote is not None else "within another container it would be another"
        )
        return ok(id_, f"{target.host} is {note}, where a ComfyUI answers; {asks}")
    if remote is not None and remote.is_loopback:
        return ok(id_, f"the gateway asks {remote.url}, the machine it runs on, and nothing speaks against it")
    asked = remote.url if remote is not None else target.url if target is not None else ""
    return ok(id_, f"{asked} is no loopback address: it means the same from everywhere in its network")
