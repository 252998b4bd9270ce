"""The token of a gateway: from its variable, or by signing in. It stands in the environment and nowhere else."""

from __future__ import annotations

import os
from typing import Final

import orjson

from comfysoak_core.comfyui.json_text import document_or_none
from comfysoak_core.comfyui.transport import Transport
from comfysoak_core.errors import TargetError
from comfysoak_core.recording.redaction import hide_value_of
from comfysoak_core.scenario.gateway import Gateway

SIGNED_IN_VARIABLE: Final = "COMFYSOAK_GATEWAY_TOKEN"  # what a sign-in brought, for the processes of a run
TIMEOUT_S: Final = 10.0
_OK: Final = 200


def token_of(gateway: Gateway) -> str | None:
    """The token to send; None: there is none. Signs in once, for this process and those it starts. TargetError."""
    if gateway.token_variable is not None:
        return os.environ.get(gateway.token_variable) or None
    if gateway.email_variable is None or gateway.password_variable is None:
        return None
    if not os.environ.get(SIGNED_IN_VARIABLE):
        os.environ[SIGNED_IN_VARIABLE] = _signed_in(gateway, gateway.email_variable, gateway.password_variable)
        hide_value_of(SIGNED_IN_VARIABLE)
    return os.environ[SIGNED_IN_VARIABLE]


def _signed_in(gateway: Gateway, email_variable: str, password_variable: str) -> str:
    said = {"email": os.environ.get(email_variable, ""), "password": os.environ.get(password_variable, "")}
    hide_value_of(password_variable)
    transport = Transport(gateway.url, timeout_s=TIMEOUT_S)
    try:
        answer = transport.request("POST", gateway.api.sign_in or "/", orjson.dumps(said))
    finally:
        transport.close()
    document = document_or_none(answer.body)
    token = document.get("token") if isinstance(document, dict) else None
    if answer.status != _OK or not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise TargetError(
            f"signing in at {gateway.url} brought no token, but {answer.status}",
            f"Look at {email_variable} and {password_variable}, and whether the gateway lets people sign in so.",
        )
    return token
