"""What a preflight finds out about a gateway, and in which words: asked of virtual gateways over real sockets."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from comfysoak_core.errors import TargetError
from comfysoak_core.gateway.api import APIS, ApiName
from comfysoak_core.gateway.preflight import check_gateway
from comfysoak_core.gateway.sign_in import SIGNED_IN_VARIABLE, token_of
from comfysoak_core.recording.redaction import SECRET_VARIABLES, redact
from comfysoak_core.scenario.embedded import EmbeddedGateway
from comfysoak_core.scenario.gateway import Gateway as Named
from comfysoak_simulator.gateway.gateway import Gateway, settings_of
from comfysoak_simulator.server import Server
from tests.simulator.test_gateway import standing

TOKEN = "sk-the-token-of-nobody"  # nobody's


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables a scenario would name, and none left over from another test."""
    monkeypatch.setenv("PLATFORM_TOKEN", TOKEN)
    monkeypatch.setenv("WRONG_TOKEN", "sk-another-token")
    monkeypatch.setenv("PLATFORM_EMAIL", "a@example.com")
    monkeypatch.setenv("PLATFORM_PASSWORD", "a-password")
    monkeypatch.setenv(SECRET_VARIABLES, "")
    monkeypatch.setenv(SIGNED_IN_VARIABLE, "")


async def found(gateway: Gateway, api: ApiName = "open-webui", **variables: Any) -> str:
    """What the preflight says; empty when all is well."""
    named = Named(url=gateway.url, api=APIS[api], **({"token_variable": "PLATFORM_TOKEN"} | variables))
    try:
        await asyncio.to_thread(check_gateway, named)
    except TargetError as error:
        return str(error)
    return ""


async def _all_is_well(gateway: Gateway, server: Server) -> None:
    assert await found(gateway) == ""
    assert server.engine.queue.remaining == 0
    variables: dict[str, Any] = {"email_variable": "PLATFORM_EMAIL", "password_variable": "PLATFORM_PASSWORD"}
    assert await found(gateway, token_variable=None, **variables) == ""


async def _no_token(gateway: Gateway, _: Server) -> None:
    said = await found(gateway, token_variable=None)
    assert "does not let us in: 401 Not authenticated" in said
    assert "target.gateway.token_variable" in said


async def _wrong_token(gateway: Gateway, _: Server) -> None:
    said = await found(gateway, token_variable="WRONG_TOKEN")  # a variable's name
    assert "401 Your session has expired" in said
    assert "sk-another" not in said


async def _wrong_password(gateway: Gateway, _: Server) -> None:
    variables: dict[str, Any] = {"email_variable": "PLATFORM_EMAIL", "password_variable": "WRONG_TOKEN"}
    said = await found(gateway, token_variable=None, **variables)
    assert "brought no token, but 400" in said
    assert "Look at PLATFORM_EMAIL and WRONG_TOKEN" in said


async def _wrong_shape(gateway: Gateway, _: Server) -> None:
    assert "has no /v1/images/generations" in await found(gateway, "openai")


async def _switched_off(gateway: Gateway, _: Server) -> None:
    gateway.settings.enabled = False
    assert "image generation is switched off" in await found(gateway)


async def _comfyui_away(gateway: Gateway, server: Server) -> None:
    await server.kill()
    assert f"cannot reach its ComfyUI at {server.url}" in await found(gateway)


async def _workflow_broken(gateway: Gateway, _: Server) -> None:
    object.__setattr__(gateway.settings.defaults, "workflow", "{broken")
    assert "cannot list its models" in await found(gateway)


@pytest.mark.parametrize(
    "finds",
    [_all_is_well, _no_token, _wrong_token, _wrong_password, _wrong_shape, _switched_off, _comfyui_away,
     _workflow_broken],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_error(finds: Any) -> None:
    """What was asked, what came, what to do; and no picture is made."""

    async def run() -> None:
        settings = settings_of(EmbeddedGateway(token_variable="PLATFORM_TOKEN"))  # a variable's name
        settings.email, settings.password = "a@example.com", "a-password"  # nobody's
        async with standing(settings=settings) as (gateway, server):
            await finds(gateway, server)

    asyncio.run(run())


def test_an_old_gateway_is_never_asked_for_its_models() -> None:
    """It would switch itself off."""

    async def run() -> None:
        async with standing("open-webui-old") as (gateway, server):
            await server.kill()
            assert await found(gateway, "open-webui-old") == ""
            assert gateway.settings.enabled

    asyncio.run(run())


def test_what_a_sign_in_brings_is_a_secret() -> None:
    """It is hidden in whatever is written from then on, and asked for once."""

    async def run() -> None:
        settings = settings_of(EmbeddedGateway())
        settings.token, settings.email, settings.password = TOKEN, "a@example.com", "a-password"
        async with standing(settings=settings) as (gateway, _):
            named = Named(
                url=gateway.url,
                api=APIS["open-webui"],
                email_variable="PLATFORM_EMAIL",
                password_variable="PLATFORM_PASSWORD",  # a variable's name
            )
            assert await asyncio.to_thread(token_of, named) == TOKEN
            assert os.environ[SIGNED_IN_VARIABLE] == TOKEN
        assert await asyncio.to_thread(token_of, named) == TOKEN
        assert redact(f"it said {TOKEN} and a-password") == "it said [redacted] and [redacted]"

    asyncio.run(run())
