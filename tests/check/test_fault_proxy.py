"""The proxy that fails on command: what it passes stays as it was, and each fault is what it is called."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from comfysoak.check.conversation.ear import Ear, NotOpenError
from comfysoak.check.fault_proxy.faults import Fault, RunningOn
from comfysoak.check.fault_proxy.proxy import FaultProxy, address_towards
from comfysoak.check.fault_proxy.wire import Frames, WireError, read_request, text_of
from comfysoak.check.parts.errors import graphs
from comfysoak.check.parts.gateway.generation import mark_of_ours
from comfysoak_core.clock import steady_ns
from comfysoak_core.comfyui.answers import Accepted, Refused, SubmitFailed
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.history import HistoryEntry
from comfysoak_core.comfyui.messages import Executing, Status
from comfysoak_core.errors import TargetError
from tests.check.stand import Stand, served

THEIRS = "somebody else's"  # is no mark


@pytest.fixture(scope="module")
def server() -> Iterator[Stand]:
    """A sound ComfyUI."""
    with served() as one:
        yield one


@pytest.fixture
def proxy(server: Stand) -> Iterator[FaultProxy]:
    """A proxy before it."""
    with FaultProxy(server.url, "127.0.0.1", steady_ns) as one:
        yield one


def socket_of(proxy: FaultProxy, client_id: str) -> Ear:
    """A WebSocket through it."""
    return Ear(f"ws{proxy.url.removeprefix('http')}/ws?clientId={client_id}", {}, steady_ns)


def sent(proxy: FaultProxy, mark: str | None = None) -> Any:
    """A small prompt through it, without an id; one that no cache knows."""
    body = json.dumps({"prompt": graphs.little(mark or mark_of_ours()), "client_id": "c"}).encode()
    with ComfyClient(proxy.url) as client:
        return client.post_prompt(body)


def heard(ear: Ear, prompt_id: str, *, within_s: float = 5.0) -> list[Any]:
    """The messages up to the end of a prompt, or of the socket, or of the time."""
    latest_s = time.monotonic() + within_s
    while time.monotonic() < latest_s and ear.end is None:
        found = [one.message for one in list(ear.told)]
        if any(isinstance(one, Executing) and one.node is None and one.prompt_id == prompt_id for one in found):
            return found
        ear.wait(len(found), 0.1)
    return [one.message for one in list(ear.told)]


def entry_of(server: Stand, prompt_id: str) -> HistoryEntry:
    """Waited for."""
    latest_s = time.monotonic() + 5
    with ComfyClient(server.url) as client:
        while not isinstance(found := client.history(prompt_id), HistoryEntry):
            assert time.monotonic() < latest_s
            time.sleep(0.01)
    return found


def test_what_it_passes_is_as_without_it(server: Stand, proxy: FaultProxy) -> None:
    """Requests, messages, history and files; nothing is left open."""
    with ComfyClient(proxy.url) as through, ComfyClient(server.url) as direct:
        assert through.identify().comfyui_version == direct.identify().comfyui_version
        assert through.object_info("KSampler") == direct.object_info("KSampler")
        with socket_of(proxy, "c") as ear:
            assert isinstance(ear.first_status(), Status)
            answer = sent(proxy)
            assert isinstance(answer, Accepted)
            assert answer.prompt_id is not None
            assert str(uuid.UUID(answer.prompt_id)) == answer.prompt_id
            messages = heard(ear, answer.prompt_id)
        assert isinstance(messages[-1], Executing)
        file = entry_of(server, answer.prompt_id).files[0]
        assert through.view(file) == direct.view(file)
    assert proxy.has_closed(5)
    assert [one.path for one in proxy.passed if one.path == "/prompt"] == ["/prompt"]


def test_strangers_get_nothing_of_the_server(proxy: FaultProxy) -> None:
    """Only who knows the path that it made up does."""
    parts = urlsplit(proxy.url)
    with ComfyClient(f"http://{parts.netloc}") as stranger, pytest.raises(TargetError, match="404"):
        stranger.identify()
    assert proxy.passed == []


def test_it_refuses_as_nobody_who_listens_and_is_back_at_the_same_place(proxy: FaultProxy) -> None:
    """Also what is open is cut."""
    with socket_of(proxy, "c") as ear, ComfyClient(proxy.url) as client:
        ear.first_status()
        with proxy.failing(Fault.REFUSES):
            with pytest.raises(TargetError, match="refuses connections"):
                client.queue()
            assert ear.wait(len(ear.told), 5)
            assert ear.end is not None
            assert ear.end.code == 1006
        client.queue()


def test_it_freezes_and_lets_go(server: Stand, proxy: FaultProxy) -> None:
    """What was asked meanwhile never comes to the server: it is cut, and refused when it is asked once more."""
    mark = mark_of_ours()
    with ComfyClient(proxy.url, timeout_s=0.2) as client, proxy.failing(Fault.FREEZES):
        with pytest.raises(TargetError, match=r"did not answer within 0\.2 s"):
            client.post_prompt(json.dumps({"prompt": graphs.little(mark)}).encode())
        assert proxy.struck == 1
    with ComfyClient(proxy.url) as client, ComfyClient(server.url) as direct:
        client.queue()
        assert not [one for one in direct.history_page(100) if mark in str(one)]


def test_it_refuses_the_socket_alone(proxy: FaultProxy) -> None:
    """502, as a proxy whose upstream refuses."""
    with proxy.failing(Fault.NO_SOCKET), ComfyClient(proxy.url) as client:
        with pytest.raises(NotOpenError, match="HTTP 502 instead of 101"):
            socket_of(proxy, "c")
        client.queue()


def test_it_answers_500_to_prompts_of_ours_and_passes_those_of_others(proxy: FaultProxy) -> None:
    """Known by the mark in their graph; unless it is told to take any."""
    with proxy.failing(Fault.ANSWERS_500):
        assert isinstance(sent(proxy), SubmitFailed)
        assert isinstance(sent(proxy, THEIRS), Accepted)
        proxy.any_prompt = True
        assert isinstance(sent(proxy, THEIRS), SubmitFailed)


def test_it_cuts_a_socket_as_a_node_begins_and_the_prompt_seems_to_run_on(server: Stand, proxy: FaultProxy) -> None:
    """Without a close frame; the server goes on, and history tells so when the time is over."""
    proxy.runs_on_s = 0.4
    with socket_of(proxy, "c") as ear:
        ear.first_status()
        with proxy.failing(Fault.CUTS), ComfyClient(proxy.url) as client:
            answer = sent(proxy)
            assert isinstance(answer, Accepted)
            heard(ear, str(answer.prompt_id))
            assert ear.end is not None
            assert ear.end.code == 1006
            assert proxy.struck == 1
            entry_of(server, str(answer.prompt_id))
            assert not isinstance(client.history(str(answer.prompt_id)), HistoryEntry)
            assert client.queue().running == (answer.prompt_id,)
            latest_s = time.monotonic() + 5
            while not isinstance(client.history(str(answer.prompt_id)), HistoryEntry):
                assert time.monotonic() < latest_s
                time.sleep(0.05)


def test_it_swallows_the_end_of_our_prompt_only(server: Stand, proxy: FaultProxy) -> None:
    """All else of it passes, and the end of somebody else's."""
    with socket_of(proxy, "c") as ear, proxy.failing(Fault.LOSES_END):
        ear.first_status()
        ours, theirs = sent(proxy), sent(proxy, THEIRS)
        entry_of(server, ours.prompt_id)
        messages = heard(ear, theirs.prompt_id)
        ends = [one.prompt_id for one in messages if isinstance(one, Executing) and one.node is None]
        assert ends == [theirs.prompt_id]
        assert proxy.struck == 1
        assert any(isinstance(one, Executing) and one.prompt_id == ours.prompt_id for one in messages)


def test_it_holds_a_socket_until_it_is_told_to_go_on(server: Stand, proxy: FaultProxy) -> None:
    """Nothing is lost by that."""
    with socket_of(proxy, "c") as ear:
        ear.first_status()
        with proxy.failing(Fault.HOLDS):
            answer = sent(proxy)
            entry_of(server, answer.prompt_id)
            assert proxy.waits(lambda: proxy.struck == 1, 5)
            assert not any(isinstance(one.message, Executing) for one in ear.told)
        messages = heard(ear, answer.prompt_id)
    assert isinstance(messages[-1], Executing)


def test_it_exchanges_the_graph_of_a_prompt_of_ours(proxy: FaultProxy) -> None:
    """The mark goes with it; others' prompts stay what they are."""
    mark = mark_of_ours()
    with proxy.rewriting(graphs.unknown):
        assert isinstance(sent(proxy, mark), Refused)
        assert isinstance(sent(proxy, THEIRS), Accepted)
    assert proxy.marks == [mark]
    assert isinstance(sent(proxy), Accepted)


def test_it_ends_with_its_block_whatever_is_open(server: Stand) -> None:
    """Also what it holds frozen; its thread is gone."""
    with FaultProxy(server.url, "127.0.0.1", steady_ns) as proxy:
        ear = socket_of(proxy, "c")
        ear.first_status()
        place = urlsplit(proxy.url)
    assert ear.wait(len(ear.told), 5)
    assert ear.end is not None
    ear.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(place.hostname), int(place.port or 0)), 5)
    assert not [thread for thread in threading.enumerate() if thread.name == "fault-proxy"]


def test_a_server_that_is_away_is_away_through_it_too() -> None:
    """The connection ends; nothing hangs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with (
            FaultProxy(url, "127.0.0.1", steady_ns) as proxy,
            ComfyClient(proxy.url) as client,
            pytest.raises(TargetError, match="closed the connection"),
        ):
            client.queue()


@pytest.mark.parametrize("pieces", [1, 2, 3, 7])
def test_frames_are_found_in_whatever_pieces_they_come(pieces: int) -> None:
    """Short, middle and long ones; each with its own text."""
    texts = [b"a", b"b" * 125, b"c" * 126, b"d" * 70_000, b""]
    whole = b"".join(frame(text) for text in texts) + bytes([0x82, 1, 7])
    found: list[bytes] = []
    frames = Frames()
    for at in range(0, len(whole), pieces if pieces < 3 else pieces * 1000):
        found += frames.feed(whole[at : at + (pieces if pieces < 3 else pieces * 1000)])
    assert b"".join(found) == whole
    assert [text_of(one) for one in found] == [*texts, b""]


def frame(text: bytes) -> bytes:
    """A text of a server."""
    if len(text) < 126:
        return bytes([0x81, len(text)]) + text
    if len(text) < 65_536:
        return bytes([0x81, 126]) + len(text).to_bytes(2, "big") + text
    return bytes([0x81, 127]) + len(text).to_bytes(8, "big") + text


def read(data: bytes) -> Any:
    """One request out of these bytes."""

    async def reading() -> Any:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await read_request(reader)

    return asyncio.run(reading())


def test_a_body_in_chunks_is_read_and_sent_in_one_piece() -> None:
    """With credentials of the server's URL, its own host, and no compression of frames."""
    head = b"POST /p/prompt HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
    request = read(head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n").without("/p")
    assert request.body == b"abcde"
    sent = request.sent_to(urlsplit("http://me:pw@gpu-1:8188/base"))
    assert sent.startswith(b"POST /base/prompt HTTP/1.1\r\nHost: gpu-1:8188\r\n")
    assert b"Authorization: Basic bWU6cHc=\r\n" in sent
    assert b"Content-Length: 5\r\n" in sent
    assert b"chunked" not in sent


@pytest.mark.parametrize(
    "data",
    [
        b"rubbish\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_request_is_not_passed_on(data: bytes) -> None:
    """The connection ends with it."""
    with pytest.raises(WireError):
        read(data)


def test_what_seems_to_run_on_is_told_as_comfyui_tells_it() -> None:
    """Only to who asks for it."""
    running = RunningOn("p", {"1": {}}, 0)
    assert running.answer("GET", "/history/p") == b"{}"
    assert json.loads(running.answer("GET", "/api/queue") or b"")["queue_running"][0][1] == "p"
    assert running.answer("GET", "/history/other") is None
    assert running.answer("POST", "/queue") is None


def test_the_address_by_which_a_machine_is_reached_is_its_own() -> None:
    """Nothing is sent to find out."""
    assert address_towards("http://127.0.0.1:8080") == "127.0.0.1"
