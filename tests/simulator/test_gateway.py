"""The simulated gateway in front of a simulated ComfyUI: what only two living servers can show."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.gateway.api import ApiName
from comfysoak_core.scenario.embedded import Embedded, EmbeddedGateway
from comfysoak_simulator.gateway.gateway import Gateway, Settings, settings_of
from comfysoak_simulator.machine import Machine
from comfysoak_simulator.server import Server

WITHIN_S = 20.0


@asynccontextmanager
async def standing(
    api: ApiName = "open-webui", faults: Any = (), settings: Settings | None = None, **embedded: Any
) -> AsyncIterator[tuple[Gateway, Server]]:
    """Both, on free ports; nodes take a hundredth of their time."""
    target = Embedded.model_validate({"speed": 100, "faults": faults, **embedded})
    server = Server(Machine.assemble(target, 0, AnchoredClock(Anchor.take())), "127.0.0.1", 0)
    await server.start()
    gateway = Gateway(server.url, settings or settings_of(EmbeddedGateway(api=api)), api=api)
    await gateway.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            yield gateway, server
    finally:
        await gateway.stop()
        await server.stop()


async def ask(gateway: Gateway, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of one answer; a GET without a body."""
    async with aiohttp.ClientSession() as session:
        method = "GET" if body is None else "POST"
        async with session.request(method, f"{gateway.url}{path}", json=body, headers=headers) as answer:
            content = await answer.read()
            return answer.status, orjson.loads(content) if answer.content_type == "application/json" else content


async def run_to_the_end(server: Server, prompts: int) -> None:
    """Until so many are in the history of ComfyUI."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{server.url}/history") as answer:
                if len(await answer.json()) >= prompts:
                    return
            await asyncio.sleep(0.02)


NEW, OLD, OPENAI = "/api/v1/images/generations", "/images/api/v1/generations", "/v1/images/generations"


def test_a_gateway_gives_as_many_pictures_of_that_size_as_were_asked_for() -> None:
    """Each is a file of the gateway's own."""

    async def run() -> None:
        async with standing() as (gateway, _):
            status, listed = await ask(gateway, NEW, {"prompt": "cat", "n": 2, "size": "128x64"})
            assert (status, len(listed)) == (200, 2)
            status, picture = await ask(gateway, listed[0]["url"])
            assert status == 200
            assert (picture[:4], int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])) == (
                b"\x89PNG",
                128,
                64,
            )

    asyncio.run(run())


def test_the_openai_shape_gives_pictures_inline_or_by_url() -> None:
    """As response_format says; its errors are objects with a real status."""

    async def run() -> None:
        async with standing("openai") as (gateway, server):
            wish = {"prompt": "cat", "response_format": "b64_json"}
            status, answer = await ask(gateway, OPENAI, wish)
            assert status == 200
            assert base64.b64decode(answer["data"][0]["b64_json"]).startswith(b"\x89PNG")
            status, answer = await ask(gateway, OPENAI, {"prompt": "dog"})
            assert answer["data"][0]["url"].startswith(gateway.url)
            status, answer = await ask(gateway, OPENAI, {})
            assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
            await server.kill()
            status, answer = await ask(gateway, OPENAI, {"prompt": "bird"})
            assert (status, answer["error"]["type"]) == (500, "server_error")

    asyncio.run(run())


def test_a_node_that_raises_is_an_empty_list() -> None:
    """200 []: the error is in ComfyUI's history only."""

    async def run() -> None:
        async with standing(faults=[{"kind": "node-error", "node": "KSampler"}]) as (gateway, _):
            assert await ask(gateway, NEW, {"prompt": "cat"}) == (200, [])

    asyncio.run(run())


def test_a_last_message_that_is_lost_is_waited_for_without_limit() -> None:
    """Its own /health stays fine; a client that gives up changes nothing."""

    async def run() -> None:
        faults = [{"kind": "lose-messages", "type": "executing-null"}]
        async with standing(faults=faults) as (gateway, server):
            asking = asyncio.ensure_future(ask(gateway, NEW, {"prompt": "cat"}))
            await run_to_the_end(server, 1)
            assert await ask(gateway, "/health") == (200, {"status": True})
            assert not asking.done()
            asking.cancel()

    asyncio.run(run())


def test_a_comfyui_that_is_away_is_a_fast_400_and_back_when_it_is() -> None:
    """The next request after its return works."""

    async def run() -> None:
        async with standing() as (gateway, server):
            await server.kill()
            assert await ask(gateway, NEW, {"prompt": "cat"}) == (400, {"detail": "Something went wrong :/"})
            status, _ = await ask(gateway, "/api/v1/images/models")
            assert status == 400
            await server.begin()
            status, listed = await ask(gateway, NEW, {"prompt": "cat"})
            assert (status, len(listed)) == (200, 1)

    asyncio.run(run())


def test_an_old_gateway_that_cannot_list_models_switches_itself_off() -> None:
    """Which it does not even look at when asked for pictures."""

    async def run() -> None:
        async with standing("open-webui-old") as (gateway, server):
            await server.kill()
            status, _ = await ask(gateway, "/images/api/v1/models")
            assert status == 400
            _, configuration = await ask(gateway, "/images/api/v1/config")
            assert configuration["enabled"] is False
            await server.begin()
            status, listed = await ask(gateway, OLD, {"prompt": "cat"})
            assert (status, len(listed)) == (200, 1)

    asyncio.run(run())


def test_requests_at_once_of_one_user_hang_at_an_old_gateway() -> None:
    """All use the user's id at ComfyUI, which tells its news to the socket that came last."""

    async def run() -> None:
        costs = {"KSampler": {"seconds": "30s"}}
        async with standing("open-webui-old", costs=costs) as (gateway, server):
            asked = [asyncio.ensure_future(ask(gateway, OLD, {"prompt": f"cat {one}"})) for one in range(3)]
            await run_to_the_end(server, 3)
            _, waiting = await asyncio.wait(asked, timeout=0.5)
            assert len(waiting) >= 1
            for one in waiting:
                one.cancel()

    asyncio.run(run())


@pytest.mark.parametrize(("api", "path", "status"), [("open-webui", NEW, 401), ("open-webui-old", OLD, 403)])
def test_a_token_is_wanted_where_one_is_set(api: ApiName, path: str, status: int) -> None:
    """By each in its own way; a sign-in brings it."""

    async def run() -> None:
        settings = settings_of(EmbeddedGateway(api=api))
        settings.token, settings.email, settings.password = "the-token", "a@b.c", "secret"  # nobody's
        async with standing(api, settings=settings) as (gateway, _):
            assert (await ask(gateway, path, {"prompt": "cat"}))[0] == status
            assert (await ask(gateway, path, {"prompt": "cat"}, Authorization="Bearer sk-x"))[0] == 401
            signed_in = await ask(gateway, "/api/v1/auths/signin", {"email": "a@b.c", "password": "secret"})
            assert signed_in[0] == 200
            token = signed_in[1]["token"]
            assert (await ask(gateway, path, {"prompt": "cat"}, Authorization=f"Bearer {token}"))[0] == 200
            wrong = await ask(gateway, "/api/v1/auths/signin", {"email": "a@b.c", "password": "x"})
            assert wrong[0] == 400

    asyncio.run(run())
