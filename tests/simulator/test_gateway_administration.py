"""The simulated gateway's routes for administrators and for files, against recordings and the contract."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from comfysoak_core.gateway.api import ApiName
from comfysoak_core.scenario.embedded import EmbeddedGateway
from comfysoak_simulator.gateway.gateway import Gateway, Person, Settings, settings_of
from tests.simulator.gateway_replay import TOKEN, load, standing
from tests.simulator.test_gateway import NEW, OLD
from tests.simulator.test_gateway import standing as both

USER, FORBIDDEN = "sk-user", "sk-forbidden"
CONFIG, OLD_CONFIG = "/api/v1/images/config", "/images/api/v1/config"


def with_people(api: ApiName = "open-webui") -> Settings:
    settings = settings_of(EmbeddedGateway(api=api))
    settings.token = TOKEN
    settings.others = {USER: Person("user-1"), FORBIDDEN: Person("user-2", may_make_pictures=False)}
    return settings


async def ask(gateway: Gateway, method: str, path: str, token: str | None = TOKEN, body: Any = None) -> tuple[int, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{gateway.url}{path}", json=body, headers=headers) as answer,
    ):
        content = await answer.read()
        return answer.status, await answer.json() if answer.content_type == "application/json" else content


@pytest.mark.parametrize(("name", "path"), [("ok-config", CONFIG), ("v0335-ok-config", OLD_CONFIG)])
def test_a_configuration_has_every_key_the_recorded_one_has(name: str, path: str) -> None:
    """Of either age, and no other."""

    async def run() -> None:
        case = load(name)
        async with standing(case) as (gateway, _):
            status, came = await ask(gateway, "GET", path)
            recorded = case.exchanges[0]["response"]["body"]
            assert status == 200
            assert shape(came) == shape(recorded)

    asyncio.run(run())


def shape(document: Any) -> Any:
    """Keys and kinds of values; what stands in lists and texts is the set-up's."""
    if isinstance(document, dict):
        return {key: shape(value) for key, value in document.items()}
    return type(document).__name__


@pytest.mark.parametrize("api", ["open-webui", "open-webui-old"])
def test_what_is_written_is_read_again_and_works_at_once(api: ApiName) -> None:
    """An update wants the whole object, and takes the slash from the end of a base URL."""
    path = CONFIG if api == "open-webui" else OLD_CONFIG

    async def run() -> None:
        async with both(api, settings=with_people(api)) as (gateway, server):
            _, before = await ask(gateway, "GET", path)
            nested = before if api == "open-webui" else before["comfyui"]
            nested["COMFYUI_BASE_URL"] = f"{server.url}/"
            status, after = await ask(gateway, "POST", f"{path}/update", body=before)
            assert status == 200
            nested["COMFYUI_BASE_URL"] = server.url
            assert after == before
            assert (await ask(gateway, "GET", path))[1] == before
            assert (await ask(gateway, "POST", f"{path}/update", body={"enabled": True}))[0] == 422
            nested["COMFYUI_BASE_URL"] = "http://127.0.0.1:9"
            await ask(gateway, "POST", f"{path}/update", body=before)
            assert (await ask(gateway, "POST", NEW if api == "open-webui" else OLD, body={"prompt": "x"}))[0] == 400

    asyncio.run(run())


def test_an_old_gateway_has_a_route_of_its_own_for_size_and_steps() -> None:
    """A size that is none is refused."""
    path = "/images/api/v1/image/config"

    async def run() -> None:
        async with both("open-webui-old", settings=with_people("open-webui-old")) as (gateway, _):
            wanted = {"MODEL": "", "IMAGE_SIZE": "128x64", "IMAGE_STEPS": 7}
            assert await ask(gateway, "POST", f"{path}/update", body=wanted) == (200, wanted)
            assert await ask(gateway, "GET", path) == (200, wanted)
            status, told = await ask(gateway, "POST", f"{path}/update", body=wanted | {"IMAGE_SIZE": "64"})
            assert (status, told["detail"]) == (
                400,
                "Invalid format. Please use the correct format  (e.g., 512x512).",
            )

    asyncio.run(run())


def test_people_may_do_what_they_may() -> None:
    """403 for who may not make pictures, 401 for who is no administrator, 404 for other people's files."""

    async def run() -> None:
        async with both(settings=with_people()) as (gateway, _):
            status, told = await ask(gateway, "POST", NEW, FORBIDDEN, {"prompt": "x"})
            assert (status, told["detail"][:25]) == (403, "You do not have permissio")
            assert (await ask(gateway, "GET", CONFIG, USER))[0] == 401
            assert (await ask(gateway, "GET", "/api/v1/auths/", USER))[1]["role"] == "user"
            assert (await ask(gateway, "GET", "/api/v1/auths/", None))[0] == 401
            _, listed = await ask(gateway, "POST", NEW, USER, {"prompt": "x", "size": "64x64"})
            file = f"/api/v1/files/{listed[0]['id']}"
            assert (await ask(gateway, "GET", file, FORBIDDEN))[0] == 404
            assert (await ask(gateway, "DELETE", file, FORBIDDEN))[0] == 404
            assert (await ask(gateway, "GET", file, TOKEN))[0] == 200
            assert (await ask(gateway, "DELETE", file, USER))[0] == 200
            assert (await ask(gateway, "GET", f"{file}/content", USER))[0] == 404
            assert (await ask(gateway, "GET", "/api/version", None))[1]["version"] == "0.12.4"

    asyncio.run(run())
