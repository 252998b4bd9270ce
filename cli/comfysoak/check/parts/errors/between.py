"""Our proxy between the gateway and its ComfyUI: where the gateway reaches it, and pointing the gateway there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from comfysoak.check.fault_proxy.proxy import FaultProxy, address_towards
from comfysoak.check.parts.gateway import judging
from comfysoak.check.parts.gateway.change import Change, NotPossibleError, changed, value_at
from comfysoak.check.parts.gateway.door import Who, said
from comfysoak.check.parts.gateway.owed import Value
from comfysoak.check.parts.gateway.visit import Visit
from comfysoak_core.comfyui.reaching import Place, place_of
from comfysoak_core.comfyui.transport import Answer
from comfysoak_core.gateway.preflight import verification_of
from comfysoak_core.recording.redaction import redact

BASE_URL, NODES = "COMFYUI_BASE_URL", "COMFYUI_WORKFLOW_NODES"
_VERIFY: Final = "/api/v1/images/verify"  # of new gateways; where it fails, old ones switch generation off for all
_ELSEWHERE: Final = (
    "run the check where the gateway can reach it: on its host, or in its network of Docker Compose; or without "
    "--gateway, to see what ComfyUI itself answers"
)


class NotBetweenError(Exception):
    """The proxy cannot stand there; the message says why, and how it could."""


def obstacle(visit: Visit) -> str:
    """Why the gateway cannot be pointed elsewhere, or would make no picture anyway; empty: it can."""
    if not visit.door.has(Who.ADMIN):
        return f"its COMFYUI_BASE_URL is pointed at a proxy of ours for a moment, which {judging.NAME_AN_ADMIN}"
    visit.read_config()
    if visit.config is None:
        answer = visit.config_answer
        told = said(answer) if isinstance(answer, Answer) else "no answer"
        return f"its configuration cannot be read ({told}), so it cannot be pointed at our proxy: see gateway.config"
    if judging.config_problem(visit.config) is not None:
        return "it makes no pictures by ComfyUI: see gateway.config"
    if judging.stored_problem(visit.config) is not None:
        return "it makes no pictures as it is set: see gateway.generates"
    return ""


@contextmanager
def standing_between(visit: Visit) -> Iterator[FaultProxy]:
    """The gateway asks our proxy within the block. NotBetweenError before; what was changed is put back after it."""
    known = visit.checking.known
    if known.base_url is None:
        raise NotBetweenError("no base URL is known")
    with ExitStack() as stack:
        try:
            host = address_towards(visit.door.url)
            proxy = stack.enter_context(FaultProxy(known.base_url, host, visit.checking.steady_ns))
            _check_reach(visit, proxy, host)
            stack.enter_context(configured(visit, BASE_URL, proxy.url))
        except NotPossibleError as error:
            raise NotBetweenError(f"{error.why}{f' ({error.remedy})' if error.remedy else ''}") from None
        except OSError as error:
            raise NotBetweenError(f"our proxy cannot listen where the gateway would reach it: {error}") from None
        yield proxy


@contextmanager
def configured(visit: Visit, name: str, value: Value) -> Iterator[Change]:
    """One of its variables of ComfyUI has another value within the block. NotPossibleError; put back after it."""
    read = visit.layout.config
    if read is None or visit.config is None:
        raise NotPossibleError("its configuration was not read")
    document = visit.config.document
    key = name if value_at(document, name) is not None else f"comfyui.{name}"
    with changed(visit.door, read, f"{read}/update", key, value) as change:
        if change.trouble or change.read_back != value:
            raise NotPossibleError(f"{name} could not be changed: {change.trouble or 'it reads otherwise after'}")
        yield change


def _check_reach(visit: Visit, proxy: FaultProxy, host: str) -> None:
    """Whether the gateway reaches the proxy, asked in a way that changes nothing; old gateways cannot be asked."""
    if visit.door.access.api_name != "open-webui" or visit.config is None:
        return
    key = visit.config.document.get("COMFYUI_API_KEY")
    asked = verification_of(proxy.url, key if isinstance(key, str) else None)
    visit.door.ask(Who.ADMIN, "POST", _VERIFY, asked)
    if not proxy.passed:
        raise NotBetweenError(out_of_reach(host, visit.config.base_url))


def out_of_reach(host: str, base_url: str) -> str:
    """In words: the gateway does not get to our address."""
    place = place_of(base_url)
    loopback = host.startswith("127.") or host == "::1"
    inside = isinstance(place, Place) and not place.is_loopback
    hint = " (a loopback address, which in a container is the container itself)" if loopback and inside else ""
    return f"the gateway does not reach our proxy at {host}{hint}; it asks ComfyUI at {redact(base_url)}: {_ELSEWHERE}"
