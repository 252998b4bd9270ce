"""`comfysoak probe --listen` as people start it: what it serves, to whom, and what hostile clients get."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import orjson
import psutil
import pytest

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.errors import UsageError
from comfysoak_probes.remote.listening import ListenAddress, Listening, ListenOn, token_in
from tests.probes.far_probe import FarProbe, ended
from tests.probes.sampling import WAIT_S
from tests.probes.test_metrics import Exposition

TOKEN = "Zq7xVw9Kt3Lm5-probe"
FORBIDDEN = ("locust", "pandas", "plotly", "pyarrow", "gevent", "pydantic", "numpy", "http.server")


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory, driver: Path) -> Iterator[FarProbe]:
    """One that listens beside two stand-in GPUs, for all tests of this file that do it no harm."""
    started = FarProbe.start(tmp_path_factory.mktemp("far"), driver=driver, script="gpus 2\n")
    yield started
    started.end()


def rows_come(probe: FarProbe) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s and not any(batch[0] == "gpu_slow" for batch in probe.batches()[1]):
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("9410", "127.0.0.1", 9410), ("127.0.0.1:1", "127.0.0.1", 1), ("[::1]:9410", "::1", 9410),
     ("gpu-1:80", "gpu-1", 80), ("0.0.0.0:9410", "0.0.0.0", 9410), (" 0 ", "127.0.0.1", 0)],
)  # fmt: skip
def test_an_address_is_a_port_or_a_host_with_one(text: str, host: str, port: int) -> None:
    """A port alone is of the loopback interface."""
    assert ListenAddress.of(text) == ListenAddress(host, port)


@pytest.mark.parametrize(
    "text", ["", "x", ":9410", "::1:9410", "h:", "h:x", "70000", "h:-1", "http://h:1", "[::1]", "h:٣"]
)
def test_what_is_no_address_is_refused_with_examples(text: str) -> None:
    """The message shows what is right."""
    with pytest.raises(ValueError, match=r"0\.0\.0\.0:9410"):
        ListenAddress.of(text)


def test_it_says_where_it_listens_and_what_to_write_into_a_scenario(probe: FarProbe) -> None:
    """Two lines that can be copied."""
    assert f"listening on {probe.url}" in probe.said[0]
    line = probe.process.stdout.readline().decode() if probe.process.stdout else ""
    assert f"probes: {{gpu: [{{probe: {probe.url}}}]}}" in line


def test_rows_have_numbers_without_gaps_and_can_be_asked_for_twice(probe: FarProbe) -> None:
    """Two readers, or one that lost its connection, get the same; what one has it need not have again."""
    rows_come(probe)
    head, batches = probe.batches()
    again = probe.batches()[1]
    assert again[: len(batches)] == batches
    assert (head["format"], head["first"]) == (1, 1)
    expected = 1
    for table, first, rows in batches:
        assert first == expected
        assert all(len(row) == len(head["columns"][table]) for row in rows)
        expected += len(rows)
    later = probe.batches(after=expected - 1)[1]
    assert all(first >= expected for _, first, _ in later)
    status, body = probe.get(f"/rows?since_ns={head['clock_ns']}")
    assert (status, orjson.loads(body.splitlines()[0])["ring"]) == (200, head["ring"])


def test_its_clock_is_told(probe: FarProbe) -> None:
    """Between two reads of ours."""
    before_ns = time.time_ns()
    told = orjson.loads(probe.get("/clock")[1])
    assert before_ns - 10**8 < told["clock_ns"] < time.time_ns() + 10**8


def test_its_metrics_are_valid_prometheus_text(probe: FarProbe) -> None:
    """Read strictly; both GPUs have their values."""
    rows_come(probe)
    status, body = probe.get("/metrics")
    found = Exposition.read(body)
    assert status == 200
    for index in ("0", "1"):
        assert found.value("comfysoak_gpu_memory_total_bytes", gpu=index) > 0
        assert found.value("comfysoak_gpu_power_watts", gpu=index) > 0


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/nothing", 404), ("/rows?after=x", 400), ("/rows?after=-1", 400), ("/rows?after=" + "9" * 30, 400),
     ("/rows?after=%00", 400), ("/rows?since_ns=", 200)],
)  # fmt: skip
def test_every_question_has_an_answer(probe: FarProbe, path: str, status: int) -> None:
    """What it is, what there is not, and numbers that are none."""
    assert probe.get(path)[0] == status


def say(port: int, said: bytes) -> bytes:
    """All that is answered to these bytes until the connection closes, or nothing more comes."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(1.0)
        connection.sendall(said)
        answer = b""
        with suppress(OSError):
            while part := connection.recv(65536):
                answer += part
        return answer


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"POST /rows HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"GET /rows HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"400"),
        (b"GET rows HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 10_000, b"431"),
        (b"x" * 100, b"400"),
        (b"GET /clock HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n", b"403"),
    ],
)
def test_a_hostile_request_is_refused_and_the_next_one_is_answered(probe: FarProbe, said: bytes, status: bytes) -> None:
    """A status and a sentence; nobody else notices."""
    assert say(probe.port, said).split(b" ")[1] == status
    assert probe.get("/clock")[0] == 200


def test_who_asks_for_a_head_alone_gets_no_body(probe: FarProbe) -> None:
    """Monitors that look whether somebody is there."""
    assert say(probe.port, b"HEAD / HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")[2] == b""


def test_requests_that_come_together_are_answered_in_order(probe: FarProbe) -> None:
    """Four hundred of them in one breath."""
    said = b"GET /nothing HTTP/1.1\r\n\r\n" * 400 + b"GET /clock HTTP/1.1\r\nConnection: close\r\n\r\n"
    answer = say(probe.port, said)
    assert answer.count(b"HTTP/1.1 404") == 400
    assert answer.rstrip().endswith(b"}")


def test_readers_that_never_read_and_connections_without_end_hold_nobody_up(probe: FarProbe) -> None:
    """Forty connections that say half a request, or ask for everything and read nothing: samples and answers go on."""
    rows_come(probe)
    with ExitStack() as stack:
        for number in range(40):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", probe.port)))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with suppress(OSError):
                connection.sendall(b"GET /rows?after=0 HTTP/1.1\r\n" + (b"\r\n" * 1 if number % 2 else b""))
        first = probe.batches()[0]["next"]
        deadline_s = time.monotonic() + WAIT_S
        while probe.batches(first)[0]["next"] < first + 20:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    assert psutil.Process(probe.process.pid).num_fds() < 60


def test_it_is_light(probe: FarProbe) -> None:
    """Under 60 MB while it samples and serves."""
    rows_come(probe)
    assert psutil.Process(probe.process.pid).memory_info().rss < 60e6


def test_nothing_heavy_is_imported_by_the_whole_command(tmp_path: Path) -> None:
    """The modules of the process at its end, with everything that listening needs."""
    code = (
        "import sys; from comfysoak.main import run_command; "
        "code = run_command(['probe', '--listen', '0', '--for', '300ms', '--server', 'http://127.0.0.1:9']); "
        f"print(code, [name for name in {FORBIDDEN!r} if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert said.stdout.splitlines()[-1] == "0 []"


def test_beyond_loopback_a_token_is_asked_for(tmp_path: Path) -> None:
    """Without one it does not start; with it the right header opens, and nothing else does."""
    status, said = ended("--listen", "0.0.0.0:0", environment={"COMFYSOAK_PROBE_TOKEN": ""})
    assert (status, "no token keeps strangers out" in said, "[redacted]" in said) == (2, True, False)
    probe = FarProbe.start(tmp_path, listen="0.0.0.0:0", environment={"COMFYSOAK_PROBE_TOKEN": TOKEN})
    try:
        for headers in (
            {},
            {"Authorization": "Bearer x"},
            {"Authorization": TOKEN},
            {"Authorization": f"Bearer {TOKEN}x"},
        ):
            for path in ("/", "/rows", "/clock", "/metrics", "/nothing"):
                status, body = probe.get(path, headers)
                assert status == 401
                assert body.count(b"\n") == 1
        assert probe.get("/rows", {"Authorization": f"Bearer {TOKEN}"})[0] == 200
    finally:
        status, said = probe.end()
    assert TOKEN not in "".join(probe.said) + said
    assert "token_variable: COMFYSOAK_PROBE_TOKEN" in said


def test_a_port_that_is_taken_and_an_address_that_is_not_ours_are_clear_errors() -> None:
    """Exit code 2, what is wrong, what to do; no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, said = ended("--listen", str(taken.getsockname()[1]))
    assert (status, "in use" in said, "Traceback" in said) == (2, True, False)
    status, said = ended("--listen", "192.0.2.1:9410", environment={"COMFYSOAK_PROBE_TOKEN": TOKEN})
    assert (status, "cannot listen on 192.0.2.1:9410" in said) == (2, True)
    status, said = ended("--listen", "nonsense:port")
    assert (status, "--listen" in said) == (2, True)


def test_a_token_no_header_can_carry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line break at its end, as files have it."""
    monkeypatch.setenv("SOME_TOKEN", "abc\n")
    with pytest.raises(UsageError, match="line break"):
        token_in("SOME_TOKEN")


def test_it_listens_on_ipv6() -> None:
    """Where the machine has it: loopback, and the address in brackets."""
    try:
        listening = Listening(
            ListenOn(ListenAddress.of("[::1]:0"), 60), AnchoredClock(Anchor.take()), "h", "1", every_s=0.1
        )
    except UsageError:
        pytest.skip("this machine has no IPv6")
    with listening, socket.create_connection(("::1", listening.port)) as connection:
        connection.sendall(b"GET /clock HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert all("http://[::1]:" in hint for hint in listening.hints()[:2])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_at_once_while_somebody_reads(tmp_path: Path, number: int, code: int) -> None:
    """With connections open: the exit code of the signal, and the port is free again."""
    probe = FarProbe.start(tmp_path)
    with socket.create_connection(("127.0.0.1", probe.port)) as connection:
        connection.sendall(b"GET /rows HTTP/1.1\r\n\r\n")
        assert connection.recv(10)
        os.kill(probe.process.pid, number)
        said, _ = probe.process.communicate(timeout=WAIT_S)
    assert probe.process.returncode == code
    assert b"Traceback" not in said


def test_it_records_and_listens_at_once(tmp_path: Path) -> None:
    """The run directory is sealed, and what was served is in it."""
    probe = FarProbe.start(tmp_path, "--out", str(tmp_path / "runs"), "--for", "1s")
    assert probe.get("/clock")[0] == 200
    said, _ = probe.process.communicate(timeout=WAIT_S)
    assert probe.process.returncode == 0
    assert b"recording to " in said
    (run,) = (tmp_path / "runs").iterdir()
    assert orjson.loads((run / "run.json").read_bytes())["sealed"] is True
    assert list((run / "tables" / "host").glob("*.parquet"))


def test_a_probe_shows_what_another_one_sees(probe: FarProbe) -> None:
    """`--probe URL`: the far GPUs in the lines of here."""
    command = [sys.executable, "-m", "comfysoak", "probe", "--probe", probe.url, "--no-nvml", "--for", "1s"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT_S)
    assert re.search(r"GPU 0 .*GPU 1 ", said.stdout)
