"""What differs between the gateways that are simulated: routes, words, and what each forgets."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from comfysoak_core.gateway.api import ApiName
from comfysoak_simulator.gateway.administration import (
    Written,
    configuration_new,
    configuration_old,
    updated_new,
    updated_old,
)
from comfysoak_simulator.gateway.mapping import Request
from comfysoak_simulator.gateway.upstream import Stored

if TYPE_CHECKING:
    from comfysoak_simulator.gateway.gateway import Settings

Json = Any
Kept = list[tuple[Stored | None, str | None]]  # each picture, and the id it was stored under


class TroubleError(Exception):
    """A request ends with this status, and these words or complaints."""

    def __init__(self, status: int, detail: Json) -> None:
        super().__init__(str(detail))
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class Shape:
    """One kind of gateway."""

    generations: str
    file_route: str
    listed: Callable[[Kept, Request, str], Json]
    failed: Callable[[str | None], str]  # what is told of a failure behind the gateway; None: it has no words
    trouble: Callable[[TroubleError], web.Response]
    configuration: Callable[[Settings, str], Json] = lambda _settings, _url: {}
    updated: Callable[[Settings, bytes], Written] | None = None
    models_failed: Callable[[str], str] = lambda _error: "[ERROR: Failed to retrieve image generation models]"
    config: str | None = None
    image_config: str | None = None  # model, size and steps, where they have a route of their own
    version: str = ""  # that it says it is; empty: it has no route for it
    models: str = ""
    verify: str | None = None
    verify_method: str = "POST"
    without_token: int = 401
    unknown_bearer: str = "Your session has expired or the token is invalid. Please sign in again."
    not_permitted: str = (
        "You do not have permission to access this resource. Please contact your administrator for assistance."
    )
    not_found: str = "We could not find what you're looking for :/"
    wrong_sign_in: str = "The email or password provided is incorrect. Please check for typos and try logging in again."
    url_is_wrong: str = "The URL you provided is invalid. Please double-check and try again."
    files_need_token: bool = False
    file: str | None = None  # a file's own route, by which it is deleted
    ignores_size: bool = False
    shares_client_id: bool = False
    forgets_to_check: bool = False  # whether generation is enabled; and it switches it off when ComfyUI is away


def _told_as_detail(trouble: TroubleError) -> web.Response:
    return json_answer({"detail": trouble.detail}, trouble.status)


def _told_as_error(trouble: TroubleError) -> web.Response:
    """OpenAI's shape: an object, and a real status."""
    status = {422: 400, 400: 500}.get(trouble.status, trouble.status)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    message = trouble.detail if isinstance(trouble.detail, str) else "; ".join(found["msg"] for found in trouble.detail)
    return json_answer({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)


def json_answer(document: Json, status: int = 200) -> web.Response:
    """A JSON answer, as gateways give it: its type names no charset."""
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")


def _listed_new(kept: Kept, _request: Request, _url: str) -> Json:
    return [
        {
            "id": name,
            "url": f"/api/v1/files/{name}/content",
            "name": f"generated-image.{_extension(picture)}",
            "content_type": picture.content_type,
        }
        for picture, name in kept
        if picture is not None
    ]


def _listed_old(kept: Kept, _request: Request, _url: str) -> Json:
    return [
        {"url": "/cache/image/generations/" + (f"{name}.{_extension(picture)}" if picture is not None else "None")}
        for picture, name in kept
    ]


def _listed_openai(kept: Kept, request: Request, url: str) -> Json:
    by_url = request.response_format != "b64_json"
    data = [
        {"url": f"{url}/files/{name}.png"} if by_url else {"b64_json": base64.b64encode(picture.data).decode()}
        for picture, name in kept
        if picture is not None
    ]
    return {"created": int(time.time()), "data": data}


def _extension(picture: Stored) -> str:
    return picture.content_type.partition("/")[2]


SHAPES: Mapping[ApiName, Shape] = {
    "open-webui": Shape(
        generations="/api/v1/images/generations",
        file_route="/api/v1/files/{id}/content",
        listed=_listed_new,
        failed=lambda _error: "Something went wrong :/",
        trouble=_told_as_detail,
        configuration=configuration_new,
        updated=updated_new,
        config="/api/v1/images/config",
        version="0.12.4",
        file="/api/v1/files/{id}",
        models="/api/v1/images/models",
        verify="/api/v1/images/verify",
        files_need_token=True,
    ),
    "open-webui-old": Shape(
        generations="/images/api/v1/generations",
        file_route="/cache/image/generations/{id}",
        listed=_listed_old,
        failed=lambda error: f"[ERROR: {error or _NOTHING}]",
        trouble=_told_as_detail,
        configuration=configuration_old,
        updated=updated_old,
        models_failed=lambda error: f"[ERROR: {error}]",
        config="/images/api/v1/config",
        image_config="/images/api/v1/image/config",
        version="0.3.35",
        models="/images/api/v1/models",
        verify="/images/api/v1/config/url/verify",
        verify_method="GET",
        without_token=403,
        url_is_wrong="Oops! The URL you provided is invalid. Please double-check and try again.",
        ignores_size=True,
        shares_client_id=True,
        forgets_to_check=True,
    ),
    "openai": Shape(
        generations="/v1/images/generations",
        file_route="/files/{id}",
        listed=_listed_openai,
        failed=lambda _error: "The server had an error while processing your request.",
        trouble=_told_as_error,
    ),
}
_NOTHING = "'NoneType' object is not subscriptable"
