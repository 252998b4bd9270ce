"""How gateways are asked for pictures: which fields go where, and where the pictures lie in an answer.

Three shapes are known by name: Open WebUI's images API under its two prefixes, and the OpenAI-compatible one. Any other
is an `Api` of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

Pictures = Literal["[].url", "data[].url", "data[].b64_json"]
ApiName = Literal["open-webui", "open-webui-old", "openai"]


@dataclass(frozen=True)
class Api:
    """One shape. A field whose name is None is never sent; `constant` is sent as it is.

    `size` is one field (`512x512`), or two, for width and height. `health` is a route that says whether the gateway
    itself is well; `models` one that any user may ask and that fails when there is no ComfyUI; None: there is none.
    """

    path: str
    pictures: Pictures
    prompt: str = "prompt"
    size: str | tuple[str, str] | None = "size"
    n: str | None = "n"
    steps: str | None = None
    negative: str | None = None
    model: str | None = "model"
    constant: Mapping[str, Any] = field(default_factory=dict)
    header: str = "Authorization"
    scheme: str = "Bearer"  # stands before the token; empty: nothing does
    health: str | None = None
    models: str | None = None
    sign_in: str | None = None

    def headers(self, token: str | None) -> dict[str, str]:
        """The headers that carry the token; none without one."""
        return {} if not token else {self.header: f"{self.scheme} {token}".strip()}


OPEN_WEBUI: Final = Api(
    "/api/v1/images/generations",
    "[].url",
    steps="steps",
    negative="negative_prompt",
    health="/health",
    models="/api/v1/images/models",
    sign_in="/api/v1/auths/signin",
)
# Its /models must not be asked: when that fails, the gateway switches image generation off for all.
OPEN_WEBUI_OLD: Final = Api(
    "/images/api/v1/generations",
    "[].url",
    negative="negative_prompt",
    health="/health",
    sign_in="/api/v1/auths/signin",
)
OPENAI: Final = Api("/v1/images/generations", "data[].b64_json", constant={"response_format": "b64_json"})

APIS: Final[Mapping[ApiName, Api]] = {
    "open-webui": OPEN_WEBUI,
    "open-webui-old": OPEN_WEBUI_OLD,
    "openai": OPENAI,
}
_WITHOUT_FORMAT: Final = re.compile(r"gpt-image")  # models that always answer base64, and refuse to be told so


@dataclass(frozen=True, slots=True)
class Wish:
    """What one request asks for. `size` in pixels (width, height); None: the gateway decides."""

    prompt: str
    n: int = 1
    size: tuple[int, int] | None = None
    steps: int | None = None
    negative: str | None = None
    model: str | None = None


def body_of(api: Api, wish: Wish) -> bytes:
    """The JSON of a request."""
    return orjson.dumps(fields_of(api, wish))


def fields_of(api: Api, wish: Wish) -> dict[str, Any]:
    """The fields of a request, by their names in this shape."""
    fields: dict[str, Any] = dict(api.constant)
    if wish.model is not None and _WITHOUT_FORMAT.match(wish.model):
        fields.pop("response_format", None)
    fields[api.prompt] = wish.prompt
    values = {api.n: wish.n, api.steps: wish.steps, api.negative: wish.negative, api.model: wish.model}
    fields |= {name: value for name, value in values.items() if name is not None and value is not None}
    if wish.size is not None:
        fields |= _size_fields(api.size, wish.size)
    return fields


def _size_fields(names: str | tuple[str, str] | None, size: tuple[int, int]) -> dict[str, Any]:
    if names is None:
        return {}
    width, height = size
    return {names: f"{width}x{height}"} if isinstance(names, str) else {names[0]: width, names[1]: height}
