"""Is a gateway ready for load? Asked before the first request, and told in one clear error where it is not.

What is asked changes nothing at the gateway. Routes for administrators are tried and left alone when they are refused.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from comfysoak_core.comfyui.json_text import document_or_none, text_or_none
from comfysoak_core.comfyui.transport import Answer, Transport
from comfysoak_core.errors import TargetError
from comfysoak_core.gateway.sign_in import token_of
from comfysoak_core.recording.redaction import redact
from comfysoak_core.scenario.gateway import Gateway

TIMEOUT_S: Final = 10.0
_OK: Final = 200
_LET_US_IN: Final = "Name the environment variable that holds it in target.gateway.token_variable."


NOT_REACHED: Final = (
    "Start that ComfyUI, or correct COMFYUI_BASE_URL as the gateway sees it: no slash at its end, http://SERVICE:8188 "
    "in a common network of Docker Compose, not localhost. Values stored at its first start win over its environment "
    "(ENABLE_PERSISTENT_CONFIG)."
)


def verification_of(url: str, key: str | None) -> dict[str, Any]:
    """What a gateway is sent to have it try a ComfyUI at `url`: 200 when it is there, 400 when not."""
    return {"engine": "comfyui", "url": url} | ({"key": key} if key else {})


def check_gateway(gateway: Gateway) -> None:
    """TargetError when the gateway is not there, knows no such token, is switched off, or has no ComfyUI."""
    transport = Transport(gateway.url, timeout_s=TIMEOUT_S, headers=gateway.api.headers(token_of(gateway)))
    try:
        _check_health(gateway, transport)
        _check_entry(gateway, transport)
        if gateway.api.models is not None:
            _check_configuration(gateway, transport, gateway.api.models)
            _check_models(gateway, transport, gateway.api.models)
    finally:
        transport.close()


def _check_health(gateway: Gateway, transport: Transport) -> None:
    """That it is there at all; a gateway without a health route is only asked whether it answers."""
    answer = transport.request("GET", gateway.api.health or gateway.api.path)
    if gateway.api.health is not None and answer.status != _OK:
        raise TargetError(
            f"expected 200 from {gateway.url}{gateway.api.health}, got {answer!s}",
            "Is this address the gateway, and is its `api` the one named?",
        )


def _check_entry(gateway: Gateway, transport: Transport) -> None:
    """A request without a prompt makes no picture: 422 or 400 shows that the token is known and the route is there."""
    answer = transport.request("POST", gateway.api.path, b"{}")
    if answer.status == 401 or (answer.status == 403 and token_of(gateway) is None):
        raise TargetError(f"{gateway.url} does not let us in: {_said(answer)}", _LET_US_IN)
    if answer.status == 403:
        raise TargetError(
            f"{gateway.url} refuses to make pictures: {_said(answer)}",
            "Switch image generation on (ENABLE_IMAGE_GENERATION=true), and allow it for this user.",
        )
    if answer.status in {404, 405}:
        raise TargetError(
            f"{gateway.url} has no {gateway.api.path}: {answer!s}",
            "Name its API: target.gateway.api is open-webui, open-webui-old, openai, or a shape of your own.",
        )


def _check_configuration(gateway: Gateway, transport: Transport, models: str) -> None:
    """What an administrator may read: whether generation is on, and whether the ComfyUI it names answers."""
    answer = transport.request("GET", models.replace("/models", "/config"))
    document = document_or_none(answer.body) if answer.status == _OK else None
    if not isinstance(document, dict):
        return
    if document.get("ENABLE_IMAGE_GENERATION") is False:
        raise TargetError(
            f"image generation is switched off at {gateway.url}",
            "Set ENABLE_IMAGE_GENERATION=true, or in its settings.",
        )
    url = text_or_none(document.get("COMFYUI_BASE_URL"))
    if document.get("IMAGE_GENERATION_ENGINE") == "comfyui" and url is not None:
        _verify(gateway, transport, models, url, text_or_none(document.get("COMFYUI_API_KEY")))


def _verify(gateway: Gateway, transport: Transport, models: str, url: str, key: str | None) -> None:
    said = orjson.dumps(verification_of(url, key))
    answer = transport.request("POST", models.replace("/models", "/verify"), said)
    if answer.status == 400:
        raise TargetError(f"{gateway.url} cannot reach its ComfyUI at {redact(url)}", NOT_REACHED)


def _check_models(gateway: Gateway, transport: Transport, models: str) -> None:
    answer = transport.request("GET", models)
    if answer.status == 400:
        raise TargetError(
            f"{gateway.url} cannot list its models: {_said(answer)}",
            "Does it reach its ComfyUI (COMFYUI_BASE_URL), and is COMFYUI_WORKFLOW a workflow in API format?",
        )


def _said(answer: Answer) -> str:
    document = document_or_none(answer.body)
    detail = document.get("detail") if isinstance(document, dict) else None
    return f"{answer.status} {detail[:200]}" if isinstance(detail, str) else str(answer)
