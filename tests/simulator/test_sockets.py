"""Faults of sockets, of HTTP and of the process, seen from a real client."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from comfysoak_simulator import hostility
from tests.simulator.client import Client, client_of, kinds
from tests.simulator.driving import diffusion_graph, picture_graph, steps_graph

Json = Any


def test_dropped_sockets_see_no_close_frame() -> None:
    """A share of the sockets is cut (1006) at the given time; the others live on and hear of prompts."""

    async def scene() -> None:
        async with client_of(faults=[{"kind": "drop-sockets", "at": "10s", "share": "50%"}]) as client:
            listeners = [await client.open(f"c{number}") for number in range(4)]
            await client.pass_time(11)
            cut = [listener for listener in listeners if listener.socket.state.name != "OPEN"]
            assert len(cut) == 2
            assert [await listener.ended() for listener in cut] == [1006, 1006]
            await client.ran(picture_graph())
            alive = [listener for listener in listeners if listener not in cut]
            assert all(kinds(listener).count("status") == 4 for listener in alive)

    asyncio.run(scene())


def test_zombies_are_open_and_silent() -> None:
    """A forgotten socket answers pings and gets nothing, although its prompt runs."""

    async def scene() -> None:
        async with client_of(faults=[{"kind": "zombie-sockets", "at": "5s"}]) as client:
            me = await client.open("me")
            await client.pass_time(6)
            entry = await client.ran(picture_graph())
            assert entry["status"]["completed"]
            assert kinds(me) == ["status"]
            await (await me.socket.ping())

    asyncio.run(scene())


def test_silence_holds_all_messages_back_and_loses_none() -> None:
    """While the send loop waits nobody hears anything; HTTP goes on; then all comes, in order."""

    async def scene() -> None:
        async with client_of(faults=[{"kind": "silent-sockets", "at": "1s", "for": "1s"}]) as client:
            me = await client.open("me")
            client.clock.advance(1.5)
            client.server.stir()
            prompt_id = await client.submit(picture_graph())
            while prompt_id not in (await client.ask("GET", f"/history/{prompt_id}"))[1]:
                pass
            assert kinds(me) == ["status"]
            await me.wait_for(lambda: kinds(me).count("status") == 4)
            await client.settle()
            assert kinds(me)[1:4] == ["status", "status", "execution_start"]

    asyncio.run(scene())


def test_lost_messages_leave_history_as_it_is() -> None:
    """The last message does not come; history has the result."""

    async def scene() -> None:
        async with client_of(faults=[{"kind": "lose-messages", "times": 1}]) as client:
            me = await client.open("me")
            assert (await client.ran(picture_graph(1)))["status"]["completed"]
            assert {"node": None} not in [_node(message) for message in me.received]
            await client.ran(picture_graph(2))
            assert _node(me.received[-1]) == {"node": None}

    asyncio.run(scene())


def _node(message: Json) -> Json:
    return {"node": message["data"]["node"]} if message["type"] == "executing" else {}


def test_hostile_messages_come_between_good_ones() -> None:
    """Rubbish is added; every real message still comes, in order."""

    async def scene() -> None:
        fault = {"kind": "hostile-messages", "size": "10 KiB", "probability": "50%"}
        async with client_of(faults=[fault]) as client, client_of() as calm:
            frames = await _raw_frames(client)
            await calm.open("me")
            good = await _raw_frames(calm)
            assert len(frames) > len(good) + 5
            assert [kind for kind in map(_kind, frames) if kind in set(map(_kind, good))] == list(map(_kind, good))

    asyncio.run(scene())


async def _raw_frames(client: Client) -> list[str | bytes]:
    """All frames of a prompt's life as they came."""
    url = f"{client.server.url}/ws?clientId=raw"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
        await client.ran(steps_graph(10, 0.2), "raw")
        frames: list[str | bytes] = []
        while not frames or '"node":null' not in str(frames[-1]):
            frames.append((await socket.receive()).data)
    return frames


def _kind(frame: str | bytes) -> str:
    text = str(frame)
    return text[: text.index('"data"')] if text.startswith('{"type":"') and '"data"' in text else "rubbish"


def test_each_kind_of_rubbish_is_a_whole_frame() -> None:
    """What is hostile is the content: the framing is right, so that the socket lives on."""
    from random import Random

    seen = {hostility.rubbish(Random(seed), 1000) for seed in range(300)}
    assert len(seen) > 15
    for frame in seen:
        length = frame[1]
        header = 2 if length < 126 else 4 if length == 126 else 10
        size = length if length < 126 else int.from_bytes(frame[2:header], "big")
        assert len(frame) == header + size


def test_errors_of_http_strike_their_path_only() -> None:
    """POST /prompt answers the given status so often; other paths are as always."""

    async def scene() -> None:
        async with client_of(faults=[{"kind": "http-error", "status": 503, "times": 2}]) as client:
            body = {"prompt": picture_graph()}
            statuses = [(await client.ask("POST", path, body))[0] for path in ("/prompt", "/api/prompt", "/prompt")]
            assert statuses == [503, 503, 200]
            assert (await client.ask("GET", "/queue"))[0] == 200

    asyncio.run(scene())


def test_slow_answers_come_in_the_end() -> None:
    """An answer that waits comes after another one that was asked for later."""

    async def scene() -> None:
        async with client_of(faults=[{"kind": "slow-answers", "path": "/queue", "delay": "1s"}]) as client:
            slow = asyncio.create_task(client.ask("GET", "/queue"))
            await asyncio.sleep(0)
            assert (await client.ask("GET", "/prompt"))[0] == 200
            assert not slow.done()
            assert (await slow)[0] == 200

    asyncio.run(scene())


@pytest.mark.parametrize("how", ["black", "size", "truncated", "empty", "text"])
def test_wrong_outputs_are_wrong_in_their_way(how: str) -> None:
    """History names the file as always; what it holds is not what was asked for."""

    async def scene() -> bytes:
        async with client_of(faults=[{"kind": "wrong-output", "how": how}]) as client:
            await client.ran(diffusion_graph(1, side=128))
            return await client.file("diffusion_00001_.png")

    content = asyncio.run(scene())
    if how in ("black", "size"):
        image = Image.open(BytesIO(content))
        extremes = image.convert("L").getextrema()
        assert (image.size, extremes == (0, 0)) == (((64, 64), False) if how == "size" else ((128, 128), True))
    elif how == "truncated":
        with pytest.raises(OSError, match="truncated"):
            Image.open(BytesIO(content)).load()
    else:
        assert content == b"" if how == "empty" else content.startswith(b"<html>")


def test_corrupt_outputs_differ_in_some_pixels() -> None:
    """The same prompt gives the same picture but for the pixels that were flipped."""

    async def scene(faults: list[Json]) -> bytes:
        async with client_of(faults=faults) as client:
            await client.ran(diffusion_graph(1, side=128))
            return await client.file("diffusion_00001_.png")

    good, bad = (Image.open(BytesIO(asyncio.run(scene(faults)))) for faults in ([], [{"kind": "corrupt-output"}]))
    pairs = zip(good.convert("RGB").tobytes(), bad.convert("RGB").tobytes(), strict=True)
    assert 64 <= sum(one != other for one, other in pairs) <= 3 * 64


def test_a_missing_output_is_not_there() -> None:
    """History names a file that /view does not find."""

    async def scene() -> None:
        async with client_of(faults=[{"kind": "missing-output", "times": 1}]) as client:
            await client.ran(picture_graph(1))
            await client.ran(picture_graph(2))
            found = [(await client.ask("GET", f"/view?filename=picture_0000{number}_.png"))[0] for number in (1, 2)]
            assert found == [404, 200]

    asyncio.run(scene())


def test_a_restart_forgets_everything_but_the_files() -> None:
    """Sockets are cut, connections refused, then a new process: number 0, no history, outputs still there."""

    async def scene() -> None:
        async with client_of(faults=[{"kind": "restart", "at": "60s", "down": "200ms"}]) as client:
            me = await client.open("me")
            await client.ran(picture_graph(1))
            running = await client.submit(steps_graph(100, 1.0))
            client.clock.advance(60)
            client.server.stir()
            assert await me.ended() == 1006
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.ask("GET", "/prompt")
            await _until_open(client, is_open=True)
            assert (await client.ask("GET", "/queue"))[1] == {"queue_running": [], "queue_pending": []}
            assert (await client.ask("GET", "/history"))[1] == {}
            assert (await client.ask("GET", f"/history/{running}"))[1] == {}
            _, answer = await client.ask("POST", "/prompt", {"prompt": picture_graph(2)})
            assert answer["number"] == 0
            assert (await client.ask("GET", "/view?filename=picture_00001_.png"))[0] == 200

    asyncio.run(scene())


async def _until_open(client: Client, *, is_open: bool) -> None:
    """Until the server listens, or does not; TimeoutError after ten seconds."""
    async with asyncio.timeout(10):
        while client.server.port_is_open is not is_open:  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0.01)


def test_a_frozen_process_answers_when_it_thaws() -> None:
    """Nothing answers, no socket closes, and then everything does."""

    async def scene() -> None:
        async with client_of(faults=[{"kind": "frozen", "at": "1s", "for": "1s"}]) as client:
            me = await client.open("me")
            client.clock.advance(2)
            client.server.stir()
            await asyncio.sleep(0.01)
            pong = asyncio.ensure_future(await me.socket.ping())
            waiting = asyncio.create_task(client.ask("GET", "/prompt"))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            assert not pong.done()
            assert (await waiting)[0] == 200
            await pong

    asyncio.run(scene())


def test_idle_sockets_are_cut_and_busy_ones_are_not() -> None:
    """A socket without traffic dies after its time; one that is used lives on."""

    async def scene() -> None:
        async with client_of(faults=[{"kind": "idle-cut", "after": "60s"}]) as client:
            idle, busy = await client.open("idle"), await client.open("busy")
            await client.pass_time(40)
            await busy.socket.send("{}")
            await client.settle()
            await client.pass_time(40)
            assert await idle.ended() == 1006
            assert busy.socket.state.name == "OPEN"

    asyncio.run(scene())


def test_logs_are_sent_to_those_who_subscribed() -> None:
    """After PATCH /internal/logs/subscribe the log comes by socket, model loads included; then no more."""

    async def scene() -> None:
        async with client_of(version="0.3.64") as client:
            me, other = await client.open("me"), await client.open("other")
            subscribe = {"clientId": "me", "enabled": True}
            assert (await client.ask("PATCH", "/internal/logs/subscribe", subscribe))[0] == 200
            await client.ran(diffusion_graph(1), "other")
            text = "".join(entry["m"] for message in _logs(me) for entry in message["entries"])
            assert text.startswith("got prompt\n")
            assert "Requested to load BaseModel\nloaded completely " in text
            assert "Prompt executed in " in text
            assert _logs(other) == []
            await client.ask("PATCH", "/internal/logs/subscribe", {**subscribe, "enabled": False})
            before = len(_logs(me))
            await client.ran(picture_graph())
            assert len(_logs(me)) == before
            raw = (await client.ask("GET", "/internal/logs/raw"))[1]
            assert raw["entries"][-1]["m"].startswith("Prompt executed in ")

    asyncio.run(scene())


def _logs(listener: Any) -> list[Json]:
    return [message["data"] for message in listener.received if message["type"] == "logs"]


def test_pictures_follow_seed_and_text() -> None:
    """The same prompt draws the same picture on any server; another seed or text another one."""

    async def scene(graph: Json) -> bytes:
        async with client_of() as client:
            await client.ran(graph, extra_data={"extra_pnginfo": {"workflow": {"id": "w"}}})
            return await client.file("diffusion_00001_.png")

    other_text = diffusion_graph(1, side=64)
    other_text["6"]["inputs"]["text"] = "a harbour"
    graphs = (diffusion_graph(1, side=64), diffusion_graph(1, side=64), diffusion_graph(2, side=64), other_text)
    images = [Image.open(BytesIO(asyncio.run(scene(graph)))) for graph in graphs]
    assert all(image.size == (64, 64) for image in images)
    assert len({image.tobytes() for image in images}) == 3
    assert images[0].tobytes() == images[1].tobytes()
    assert set(images[0].info) == {"prompt", "workflow"}


def test_a_server_that_is_down_refuses_connections_for_its_time() -> None:
    """Down for a while: refused, then there again."""

    async def scene() -> None:
        async with client_of(faults=[{"kind": "down", "at": "10s", "for": "200ms"}]) as client:
            assert (await client.ask("GET", "/prompt"))[0] == 200
            client.clock.advance(11)
            client.server.stir()
            await _until_open(client, is_open=False)
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.ask("GET", "/prompt")
            await _until_open(client, is_open=True)
            assert (await client.ask("GET", "/prompt"))[0] == 200

    asyncio.run(scene())


def test_the_log_goes_to_a_file_of_each_server(tmp_path: Path) -> None:
    """`{}` in the path is the number of the server; the lines are those of /internal/logs/raw."""

    async def scene() -> str:
        async with client_of(log=str(tmp_path / "server-{}.log"), version="0.3.64") as client:
            await client.ran(picture_graph())
            raw = (await client.ask("GET", "/internal/logs/raw"))[1]
            return "".join(entry["m"] for entry in raw["entries"])

    told = asyncio.run(scene())
    assert (tmp_path / "server-0.log").read_text() == told
    assert "got prompt\nPrompt executed in 0.00 seconds\n" in told
