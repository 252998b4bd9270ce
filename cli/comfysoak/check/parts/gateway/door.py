"""Asking the gateway: with the token of a user, of an administrator, of one who may not, a wrong one, or none."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from comfysoak.check.settings import GatewayAccess
from comfysoak_core.comfyui.json_text import bounded, document_or_none
from comfysoak_core.comfyui.transport import Answer, Transport
from comfysoak_core.errors import TargetError
from comfysoak_core.gateway.answers import Refusal, parse_generation

TIMEOUT_S: Final = 10.0
_OK: Final = 200
PICTURE_BYTES: Final = 256 * 1024 * 1024
_WRONG_TOKEN: Final = "sk-comfysoak-check-a-token-of-nobody"  # noqa: S105  # of nobody


class Who(StrEnum):
    """Whose token is sent."""

    USER = "the token"
    ADMIN = "the administrator's token"
    FORBIDDEN = "the token of one who may not"
    WRONG = "a wrong token"
    NOBODY = "no token"


@dataclass(frozen=True, slots=True)
class Silence:
    """There was no answer, and why: words, and what to do."""

    why: str
    remedy: str


class Door:
    """One gateway, asked one thing after the other. Nothing here raises for what a gateway does."""

    def __init__(self, access: GatewayAccess) -> None:
        self.access = access
        self.url = access.url.rstrip("/")

    def has(self, who: Who) -> bool:
        """Whether there is such a token."""
        return self.token(who) is not None

    def token(self, who: Who) -> str | None:
        """The token of somebody; an administrator's is the user's where no other is named."""
        access = self.access
        variable = {
            Who.USER: access.token_variable,
            Who.ADMIN: access.admin_token_variable or access.token_variable,
            Who.FORBIDDEN: access.forbidden_token_variable,
        }.get(who)
        if who is Who.WRONG:
            return _WRONG_TOKEN
        return os.environ.get(variable) or None if variable is not None else None

    def transport(self, who: Who, timeout_s: float) -> Transport:
        """A connection of one's own, for a request that may take long."""
        return Transport(self.url, timeout_s=timeout_s, headers=self.access.api.headers(self.token(who)))

    def ask(self, who: Who, method: str, path: str, document: object = None) -> Answer | Silence:
        """One request; `document` is sent as JSON.

        Each on a connection of its own: gateways close kept ones after seconds, just as something is sent.
        """
        body = None if document is None else orjson.dumps(document)
        transport = self.transport(who, TIMEOUT_S)
        try:
            return asked(lambda: transport.request(method, path, body, max_bytes=PICTURE_BYTES))
        finally:
            transport.close()

    def read(self, who: Who, path: str) -> Mapping[str, Any] | Answer | Silence:
        """An object of JSON from a route; else the answer that is none."""
        answer = self.ask(who, "GET", path)
        document = document_or_none(answer.body) if isinstance(answer, Answer) and answer.status == _OK else None
        return document if isinstance(document, dict) else answer


def asked(ask: Callable[[], Answer]) -> Answer | Silence:
    """The answer; what kept it away in its place."""
    try:
        return ask()
    except TargetError as error:
        return Silence(error.problems[0].what, error.problems[0].remedy)


def said(answer: Answer | Silence) -> str:
    """An answer in a few words: its status, and the detail it names."""
    if isinstance(answer, Silence):
        return answer.why
    if answer.status == _OK:
        return str(answer)
    told = parse_generation("[].url", answer.status, answer.body)
    detail = told.detail if isinstance(told, Refusal) and "html" not in answer.content_type else ""
    return f"{answer.status} {bounded(detail, 120)!r}" if detail else str(answer)


def status_of(answer: Answer | Silence) -> int:
    """Its status; 0: there was no answer."""
    return answer.status if isinstance(answer, Answer) else 0
