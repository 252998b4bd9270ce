"""JSON in and out of HTTP, as ComfyUI takes and gives it."""

from __future__ import annotations

import json
from typing import Any

import orjson
from aiohttp import web

Json = Any
_HEADERS = {"Content-Type": "application/json; charset=utf-8"}


def answer(value: Json, status: int = 200) -> web.Response:
    """A JSON answer."""
    body = orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS)
    return web.Response(body=body, status=status, headers=_HEADERS)


async def body_of(request: web.Request) -> Json:
    """The JSON of a request, whatever its content type; ValueError for none."""
    raw = await request.read()
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json.loads(raw.decode(request.charset or "utf-8"))  # takes NaN and what else Python takes
