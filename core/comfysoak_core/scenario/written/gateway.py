"""`target.gateway`: an image gateway in front of ComfyUI; and what a workload asks of it."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from comfysoak_core.gateway.api import APIS, Api, ApiName, Pictures
from comfysoak_core.scenario.gateway import Gateway
from comfysoak_core.scenario.written.section import Section, Url, Urls

_HEADER = re.compile(r"([A-Za-z0-9-]{1,60}): ?([A-Za-z0-9-]{1,30} )?\{token\}")
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _check_header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise ValueError(f"expected a header such as 'X-Api-Key: {{token}}', got {text!r}")
    return text


Header = Annotated[str, BeforeValidator(_check_header), Field(json_schema_extra={"pattern": f"^{_HEADER.pattern}$"})]


class ApiSection(Section):
    """A shape of your own: names of the fields, and where pictures lie. A field whose name is null is not sent."""

    path: str = Field(pattern=r"^/[!-~]*$", description="what is posted to", examples=["/generate"])
    pictures: Pictures = Field(
        "[].url", description="where pictures lie: `[].url`, `data[].url` or `data[].b64_json`", examples=["data[].url"]
    )
    prompt: str = Field("prompt", description="the field for the prompt", examples=["text"])
    size: str | tuple[str, str] | None = Field(
        "size", description="the field for the size, or two: for width and height", examples=[["width", "height"]]
    )
    n: str | None = Field("n", description="the field for the number of pictures", examples=["count"])
    steps: str | None = Field(None, description="the field for the steps", examples=["steps"])
    negative: str | None = Field(None, description="the field for the negative prompt", examples=["negative_prompt"])
    model: str | None = Field(None, description="the field for the model", examples=["model"])
    header: Header = Field(
        "Authorization: Bearer {token}", description="how the token is sent", examples=["X-Api-Key: {token}"]
    )
    health: str | None = Field(
        None,
        pattern=r"^/[!-~]*$",
        description="a route that answers 200 when the gateway is well",
        examples=["/health"],
    )

    def resolved(self) -> Api:
        """The shape it describes."""
        name, _, value = self.header.partition(":")
        fields = self.model_dump(exclude={"header"})
        return Api(**fields, header=name, scheme=value.replace("{token}", "").strip())


class GatewaySection(Section):
    """A gateway: where it is, which API it has, what it wants to see, and the ComfyUI behind it."""

    url: Url = Field(description="its address", examples=["http://platform:8080"])
    api: ApiName | ApiSection = Field(
        "open-webui",
        description="`open-webui`, `open-webui-old` (up to 0.4), `openai`, or a shape of your own",
        examples=["openai", {"path": "/generate", "pictures": "data[].url"}],
    )
    token_variable: str | None = Field(
        None,
        pattern=_VARIABLE,
        description="the environment variable that holds its token",
        examples=["PLATFORM_TOKEN"],
    )
    email_variable: str | None = Field(
        None, pattern=_VARIABLE, description="instead of a token: sign in with this variable's address",
        examples=["PLATFORM_EMAIL"],
    )  # fmt: skip
    password_variable: str | None = Field(
        None, pattern=_VARIABLE, description="and this variable's password", examples=["PLATFORM_PASSWORD"]
    )
    comfyui: Urls = Field(
        (), description="the ComfyUI behind it: watched, and asked why a request failed", examples=["http://gpu-1:8188"]
    )

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.email_variable is None) != (self.password_variable is None):
            raise ValueError("expected both email_variable and password_variable, or neither")
        if self.email_variable is not None and self.token_variable is not None:
            raise ValueError("expected token_variable, or email_variable and password_variable, not all of them")
        if self.email_variable is not None and (not isinstance(self.api, str) or APIS[self.api].sign_in is None):
            raise ValueError("only api: open-webui and open-webui-old have a sign-in; name a token_variable")
        return self

    def resolved(self, url: str) -> Gateway:
        """The gateway at `url`, which may have come from the environment."""
        api = APIS[self.api] if isinstance(self.api, str) else self.api.resolved()
        return Gateway(
            url=url,
            api=api,
            token_variable=self.token_variable,
            email_variable=self.email_variable,
            password_variable=self.password_variable,
        )


def as_size(value: object) -> object:
    """`512x768` as (width, height)."""
    if isinstance(value, list | tuple):
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"expected a size such as 512x768, got {value!r}")
    return (int(found[1]), int(found[2]))


_SizeText = Annotated[str, Field(pattern=f"^{_SIZE.pattern}$")]
Size = Annotated[tuple[int, int], BeforeValidator(as_size, json_schema_input_type=_SizeText | tuple[int, int])]
