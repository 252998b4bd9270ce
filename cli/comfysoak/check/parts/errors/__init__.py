"""Failures, provoked on somebody's word: what users are shown, and what is left afterwards.

A proxy of ours stands before the ComfyUI and fails on command; the server itself is never stopped.

    between     pointing the gateway at the proxy, and back          graphs   prompts that must fail, harmlessly
    at_gateway  rows about what users of the gateway see             judging  what an answer means
                (gateway_trial, gateway_afterwards)                  words    what an answer says, and gives away
    at_comfyui  rows about what any client of the ComfyUI sees (client_trial, client_afterwards)
"""

from __future__ import annotations

from collections.abc import Iterator

from comfysoak.check.checking import Checking, skipped
from comfysoak.check.parts.errors.at_comfyui import rows as rows_of_comfyui
from comfysoak.check.parts.errors.at_gateway import rows as rows_of_gateway
from comfysoak.check.parts.gateway.layout import layout_of
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS, Part


def look(checking: Checking) -> Iterator[Row]:
    """The rows of Part.ERRORS, in order."""
    why = _why_not(checking)
    if why:
        yield from (skipped(id_, why) for id_, kind in KINDS.items() if kind.part is Part.ERRORS)
        return
    access = checking.settings.gateway
    if access is None:
        yield from rows_of_comfyui(checking, "no gateway was named: --gateway http://HOST:PORT")
    elif layout_of(access.api_name).config is None:
        why = f"this API ({access.api_name}) has no route to its configuration, so no proxy can be put behind it"
        yield from rows_of_comfyui(checking, why)
    else:
        yield from rows_of_gateway(checking, access)


def _why_not(checking: Checking) -> str:
    if not checking.settings.provoke_errors:
        return "not asked for: comfysoak check --errors"
    if checking.known.base_url is None or not checking.known.answers:
        return "no ComfyUI answers, and nothing can be provoked behind it: see url.http"
    return ""
