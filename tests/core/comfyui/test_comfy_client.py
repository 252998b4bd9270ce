"""The plain client: against a server of recorded answers, and against all that is no ComfyUI."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.core.comfyui.recorded import body_of, steps_of

from comfysoak_core.comfyui.answers import Accepted
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.history import Job, NoEntry, NoJobsRoute, OutputFile
from comfysoak_core.errors import ExitCode, TargetError

Answers = dict[str, tuple[int, str, bytes]]  # "GET /path" -> status, content type, body
JSON = "application/json; charset=utf-8"


def _recorded(case: str) -> Answers:
    """The last answer of each route in a case."""
    return {
        f"{step['method']} {step['path']}": (step["status"], step.get("headers", {}).get("content-type", ""), body)
        for step in steps_of(case)
        if step["dir"] == "response" and step["status"] is not None and (body := body_of(step)) is not None
    }


@contextmanager
def _server(answers: Answers) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server on loopback that knows these answers; its URL, and the requests it got."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            got.append({"line": f"{self.command} {self.path}", "headers": dict(self.headers), "body": body})
            status, kind, content = answers.get(f"{self.command} {self.path}", (404, "", b""))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815  # the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", got
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _raw(*sends: bytes, keep_open: bool = False) -> Iterator[str]:
    """A server that sends these bytes to each connection, whatever it is asked, and closes it."""
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        for send in sends:
            connection, _ = listener.accept()
            held.append(connection)
            connection.recv(65536)
            connection.sendall(send)
            if not keep_open:
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for connection in held:
            connection.close()
        listener.close()
        thread.join(5)


def _refused_words(url: str, timeout_s: float = 5) -> str:
    with ComfyClient(url, timeout_s=timeout_s) as client, pytest.raises(TargetError) as caught:
        client.identify()
    assert caught.value.exit_code is ExitCode.TARGET_NOT_READY
    assert all(problem.remedy for problem in caught.value.problems)
    return str(caught.value)


@pytest.mark.parametrize(
    ("case", "version"), [("12a_information_routes", "0.3.64"), ("v0.33/12a_information_routes", "0.33.0")]
)
def test_both_versions_are_known(case: str, version: str) -> None:
    """A ComfyUI says what it is, what it can and what waits."""
    with _server(_recorded(case)) as (url, got), ComfyClient(url) as client:
        assert client.identify().comfyui_version == version
        assert client.features()["supports_preview_metadata"] is True
        assert client.queue_remaining() == 0
        assert client.queue().remaining == 0
        assert len({request["headers"]["Host"] for request in got}) == 1


def test_node_classes_and_history() -> None:
    """What a server knows of a class, of one prompt and of the newest."""
    answers = _recorded("01_success_fresh") | {
        "GET /object_info/KSampler": (200, JSON, b'{"KSampler": {"input": {}}}'),
        "GET /object_info/Not%20There": (200, JSON, b"{}"),
        "GET /history/p%2Fq": (200, JSON, b"{}"),
    }
    path = next(key for key in answers if key.startswith("GET /history/5"))
    prompt_id = path.rpartition("/")[2]
    answers["GET /history?max_items=5"] = answers[path]
    with _server(answers) as (url, _), ComfyClient(url) as client:
        assert client.object_info("KSampler") == {"input": {}}
        assert client.object_info("Not There") is None
        assert client.history("p/q") == NoEntry()
        entry = client.history(prompt_id)
        assert client.history_page(5) == (entry,)
        assert client.job(prompt_id) == NoJobsRoute()


def test_jobs() -> None:
    """Where the route is there, one answer tells all."""
    answers = _recorded("v0.33/30_jobs_lifecycle")
    path = next(key for key, (status, _, _) in answers.items() if key.startswith("GET /api/jobs/") and status == 200)
    with _server(answers) as (url, _), ComfyClient(url) as client:
        assert isinstance(client.job(path.rpartition("/")[2]), Job)


def test_what_it_asks_the_server_to_do() -> None:
    """Submit, interrupt, delete and free send what the routes take."""
    ok = (200, "", b"")
    answers = {f"POST /{route}": ok for route in ("interrupt", "queue", "free")}
    answers["POST /prompt"] = (200, JSON, b'{"prompt_id": "p", "number": 3, "node_errors": {}}')
    with _server(answers) as (url, got), ComfyClient(url, headers={"Authorization": "Bearer t"}) as client:
        assert client.post_prompt(b"{}") == Accepted("p", 3)
        client.interrupt()
        client.interrupt("p")
        client.delete_pending("p")
        client.free(free_memory=False)
    bodies = [json.loads(request["body"]) for request in got]
    assert bodies == [
        {},
        {},
        {"prompt_id": "p"},
        {"delete": ["p"]},
        {"unload_models": True, "free_memory": False},
    ]
    assert {request["headers"]["Authorization"] for request in got} == {"Bearer t"}


def test_view_gives_files_up_to_a_size() -> None:
    """A file is given whole; one that is missing or too large is told."""
    file = OutputFile("3", "images", "a b.png", "x", "output")
    path = "GET /view?filename=a+b.png&subfolder=x&type=output"
    with _server({path: (200, "image/png", b"12345")}) as (url, _), ComfyClient(url) as client:
        assert client.view(file) == b"12345"
        with pytest.raises(TargetError, match="larger than 4 bytes"):
            client.view(file, max_bytes=4)
        assert client.view(file) == b"12345"
        with pytest.raises(TargetError, match="has no file"):
            client.view(OutputFile("3", "images", "gone.png", "", "output"))


def test_a_base_path_and_credentials() -> None:
    """A path before the routes is kept; user and password are sent and shown nowhere."""
    answers = {"GET /comfy/prompt": (200, JSON, b'{"exec_info": {"queue_remaining": 2}}')}
    with _server(answers) as (url, got):
        with ComfyClient(url.replace("//", "//user:p%40ss@") + "/comfy/") as client:
            assert client.queue_remaining() == 2
            with pytest.raises(TargetError) as caught:
                client.queue()
        assert "user" not in str(caught.value) + client.base_url
        assert got[0]["headers"]["Authorization"] == "Basic dXNlcjpwQHNz"


def test_a_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    """A server that closes kept connections costs nothing but a new one."""
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{"exec_info": {"queue_remaining": 0}}\n'
    answer = answer.replace(b"37", str(len(answer.partition(b"\r\n\r\n")[2])).encode())
    with _raw(answer, answer) as url, ComfyClient(url) as client:
        assert [client.queue_remaining(), client.queue_remaining()] == [0, 0]


def test_nobody_there() -> None:
    """A port nobody listens on refuses."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "refuses connections" in _refused_words(f"http://127.0.0.1:{port}")


def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name nobody knows is told as such."""

    def unknown(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "the name 'gpu-1' of http://gpu-1:8188 is not known" in _refused_words("http://gpu-1:8188")


def test_a_server_that_never_answers() -> None:
    """Silence is bounded by the timeout."""
    with _raw(b"", keep_open=True) as url:
        assert "did not answer within 0.05 s" in _refused_words(url, timeout_s=0.05)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "closed the connection or does not speak HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "closed the connection or does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "cannot be asked"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", "/system_stats came as 200 '{}'"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "cannot be asked"),
    ],
)
def test_what_is_no_http(sent: bytes, words: str) -> None:
    """Bytes that are no HTTP answer, or half of one, are told as such."""
    with _raw(sent) as url:
        assert words in _refused_words(url)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, "text/html", b"<html>hello</html>"), "200 with a web page"),
        ((200, "", b"<!DOCTYPE html>"), "200 with a web page"),
        ((200, JSON, b"{broken"), "200 '{broken'"),
        ((200, JSON, b'{"status": "ok"}'), "expected a ComfyUI"),
        ((200, JSON, b'{"system": {}}'), "expected a ComfyUI"),
        ((404, "", b""), "404 without content"),
        ((500, "text/plain", b"500 Internal Server Error"), "500 '500 Internal Server Error'"),
        ((302, "text/html", b""), "302 with a web page"),
    ],
)
def test_what_is_no_comfyui(answer: tuple[int, str, bytes], words: str) -> None:
    """Another program on the port is told by what it answered."""
    with _server({"GET /system_stats": answer}) as (url, _):
        assert words in _refused_words(url)


@pytest.mark.parametrize("url", ["gpu-1:8188", "ftp://gpu-1", "http://", "http://h:99999", "", "http://[::1"])
def test_addresses_that_are_none(url: str) -> None:
    """A wrong address is told before anything is asked."""
    with pytest.raises(TargetError):
        ComfyClient(url)


def test_routes_that_answer_something_else() -> None:
    """Each route says what it expected and what came."""
    answers = {
        "GET /queue": (200, JSON, b"[]"),
        "GET /features": (200, JSON, b"[]"),
        "GET /history?max_items=1": (200, JSON, b"3"),
        "GET /broken": (200, JSON, b"{"),
        "GET /secret": (401, "", b""),
    }
    with _server(answers) as (url, _), ComfyClient(url) as client:
        assert client.job("p") == NoJobsRoute()
        with pytest.raises(TargetError, match=r"/queue: expected 200 with an object; got 200 '\[\]'"):
            client.queue()
        with pytest.raises(TargetError, match=r"expected an object from .*/features"):
            client.features()
        with pytest.raises(TargetError, match="expected an object of entries"):
            client.history_page(1)
        with pytest.raises(TargetError, match=r"expected JSON from .*/broken"):
            client.get_json("/broken")
        with pytest.raises(TargetError, match="holds a token"):
            client.get_json("/secret")


@pytest.mark.parametrize(
    "begins", [b"HTTP/1.1 200 OK\r\nX-Drip: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
)
def test_a_drip_does_not_put_the_deadline_off(begins: bytes) -> None:
    """Neither in the head of an answer nor in the size of a chunk: each byte comes in time, and the whole does not."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(begins)
                while not over.wait(0.01):
                    connection.sendall(b"0")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            client = ComfyClient(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout_s=0.05)
            with pytest.raises(TargetError, match="did not answer within"):
                client.queue_remaining()
        finally:
            over.set()
            thread.join()
