"""`comfysoak trace`, and replaying what it made."""

from __future__ import annotations

import gzip
import io
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from comfysoak.main import run_command
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.errors import ExitCode
from comfysoak_core.recording.recording import Recording
from tests.cli.runs import comfysoak, only_run, small_scenario

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
STATS = {"system": {"comfyui_version": "0.3.64"}, "devices": []}
LOG = """\
10.0.0.1 - alice [10/Oct/2026:13:55:36 -0700] "POST /api/prompt HTTP/1.1" 200 2326 "-" "curl"
10.0.0.1 - - [10/Oct/2026:13:55:36 -0700] "POST /prompt?x=1 HTTP/1.1" 502 2326
10.0.0.1 - - [10/Oct/2026:13:55:37 -0700] "GET /prompt HTTP/1.1" 200 2326
{"time":"2026-10-10T20:55:38.5Z","request":"POST /v1/images/generations HTTP/1.1","status":200,"remote_addr":"10.1.1.1"}
{"ts":1791665739.5,"request":{"method":"POST","uri":"/api/v1/images/generations","remote_ip":"10.1.1.2"},"status":200}
{"asctime":"2026-10-10 20:55:40,250","message":"10.0.0.2:4 - \\"POST /prompt HTTP/1.1\\" 200"}
2026-10-10 20:55:41,250 INFO 10.0.0.2:4 - "POST /prompt HTTP/1.1" 200
rubbish
"""


def recorded_history(folder: Path) -> dict[str, Any]:
    """Every entry of /history in the recordings of a version, by prompt id."""
    entries: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        for step in json.loads(path.read_text(encoding="utf-8"))["steps"]:
            told = step.get("json")
            if step["dir"] == "response" and "/history" in str(step.get("path")) and isinstance(told, dict):
                entries |= {key: entry for key, entry in told.items() if isinstance(entry, dict) and "prompt" in entry}
    return entries


@contextmanager
def serving(history: Mapping[str, Any], *, page_most: int = 1000) -> Iterator[tuple[str, list[str]]]:
    """The address of a server with this history, and what it was asked; more than `page_most` entries are too many."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, answer = self.answer()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            body = json.dumps(answer).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def answer(self) -> tuple[int, object]:
            parts = urlsplit(self.path)
            if parts.path == "/system_stats":
                return 200, STATS
            if parts.path == "/object_info/EmptyImage":
                return 200, {"EmptyImage": {"input": {"required": {"color": ["INT", {}]}}}}
            if parts.path == "/object_info/ImageScale":
                options = {
                    "upscale_method": [["nearest-exact", "bilinear"], {}],
                    "crop": ["COMBO", {"options": ["disabled"]}],
                }
                return 200, {"ImageScale": {"input": {"required": options}}}
            if parts.path.startswith("/object_info/"):
                return 200, {}
            query = {name: int(values[0]) for name, values in parse_qs(parts.query).items()}
            if query["max_items"] > page_most:
                return 500, {}
            return 200, dict(list(history.items())[query["offset"] :][: query["max_items"]])

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def lines(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    text = gzip.decompress(content) if path.suffix == ".gz" else content
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("version", ["", "v0.33"])
def test_a_trace_of_a_recorded_history(tmp_path: Path, version: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All prompts in order of time, their workflows by shape, and nobody's words or names."""
    history = recorded_history(RECORDINGS / version)
    out = tmp_path / "trace.jsonl"
    with serving(history) as (url, asked):
        assert run_command(["trace", url, "--out", str(out), "--workflows", str(tmp_path / "w")]) == ExitCode.OK
    found = lines(out)
    unread = sum(
        not entry["status"]["messages"] and "create_time" not in entry["prompt"][3] for entry in history.values()
    )
    assert len(found) == len(history) - unread
    assert [line["time"] for line in found] == sorted(line["time"] for line in found)
    assert found[0]["time"] == 0
    assert {frozenset(line) for line in found} == {frozenset({"time", "workflow"})}
    for name in {line["workflow"] for line in found}:
        Workflow.load(tmp_path / "w" / f"{name}.json")
    assert ("when they started" in capsys.readouterr().err) == (not version)
    pages = [path for path in asked if path.startswith("/history")]
    assert all("max_items=20&" in path for path in pages)
    assert len(pages) >= len(history) / 20


def test_the_same_graph_is_the_same_workflow_whatever_its_ids(tmp_path: Path) -> None:
    """Values and ids do not matter, nodes and links do; inputs go by the ids of the workflow that is written."""
    with serving({"a": entry(1, "1", "2"), "b": entry(2, "9", "7"), "c": entry(3, "1", "2", "PreviewImage")}) as (
        url,
        _,
    ):
        arguments = [
            "trace",
            url,
            "--out",
            str(tmp_path / "t.jsonl"),
            "--workflows",
            str(tmp_path / "w"),
            "--with-inputs",
        ]
        assert run_command(arguments) == ExitCode.OK
    first, second, third = lines(tmp_path / "t.jsonl")
    assert first["workflow"] == second["workflow"] != third["workflow"]
    assert second["inputs"] == {"1.color": 2, "2.filename_prefix": "private"}
    graph = json.loads((tmp_path / "w" / f"{first['workflow']}.json").read_text(encoding="utf-8"))
    assert graph["1"]["inputs"]["color"] == 1


def test_words_are_left_out_and_choices_kept(tmp_path: Path) -> None:
    """Of a workflow that is written out numbers, links and choices stay; texts go, unless inputs are asked for."""
    inputs = {"image": ["1", 0], "upscale_method": "bilinear", "crop": "disabled"}
    scale = {"class_type": "ImageScale", "inputs": inputs}
    odd = {"class_type": "Odd", "inputs": {"text": "my secret", "list": [["my"], 2], "on": True}}
    with serving({"a": entry(1, "1", "2", more={"3": scale, "4": odd})}) as (url, _):
        assert run_command(["trace", url, "--out", str(tmp_path / "t"), "--workflows", str(tmp_path / "w")]) == 0
    (written,) = (tmp_path / "w").iterdir()
    graph = json.loads(written.read_text(encoding="utf-8"))
    assert graph["3"]["inputs"] == inputs
    assert graph["1"]["inputs"] == {"color": 1}
    assert graph["2"]["inputs"]["filename_prefix"] == "left-out"
    assert graph["4"]["inputs"] == {"text": "left-out", "list": "left-out", "on": True}


def test_entries_of_any_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read is counted, and entries too large to come together come one by one."""
    loop = {"class_type": "Loop", "inputs": {"a": ["5", 0], "b": ["6", 0]}}
    rubbish: dict[str, Any] = {"x": None, "y": {"prompt": []}, "z": {"prompt": [1, "z", {"1": 3}, {}]}}
    rubbish["t"] = entry(9, "1", "2") | {"status": None}
    rubbish["big"] = entry(2**80, "1", "2")
    good = {"a": entry(1, "1", "2", create_time=5000), "b": entry(1, "1", "2", more={"5": loop, "6": loop})}
    with serving(rubbish | good, page_most=1) as (url, asked):
        arguments = ["trace", url, "--out", str(tmp_path / "t.jsonl.gz"), "--with-identities", "--with-inputs"]
        assert run_command(arguments) == ExitCode.OK
    assert [line["client"] for line in lines(tmp_path / "t.jsonl.gz")][-1] == "me"
    told = capsys.readouterr().err
    assert "4 entries could not be read" in told
    assert "when they started" in told
    assert any("max_items=1&" in path for path in asked)


def entry(
    color: int, image: str, save: str, saver: str = "SaveImage", *, more: object = None, create_time: int | None = None
) -> dict[str, Any]:
    """A history entry of a small graph."""
    graph = {
        image: {"class_type": "EmptyImage", "inputs": {"color": color}},
        save: {"class_type": saver, "inputs": {"images": [image, 0], "filename_prefix": "private"}},
        **(more if isinstance(more, dict) else {}),
    }
    extra: dict[str, Any] = {"client_id": "me"} | ({} if create_time is None else {"create_time": create_time})
    started = ["execution_start", {"timestamp": 1_795_349_154_000 + color % 1000}]
    return {"prompt": [0, "id", graph, extra, [save]], "status": {"messages": [started]}}


def test_a_trace_of_an_access_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """POSTs to paths that take prompts, in any of the usual forms; those of one second are spread over it."""
    log = tmp_path / "access.log.gz"
    log.write_bytes(gzip.compress(LOG.encode()))
    assert run_command(["trace", str(log), "--out", str(tmp_path / "t.jsonl")]) == ExitCode.OK
    assert lines(tmp_path / "t.jsonl") == [{"time": time} for time in (0, 0.5, 2.5, 3.5, 4.25, 5.25)]
    assert "1 of them were answered with an error" in capsys.readouterr().err
    assert run_command(["trace", str(log), "--out", str(tmp_path / "t.jsonl"), "--with-identities"]) == ExitCode.OK
    assert [line.get("client") for line in lines(tmp_path / "t.jsonl")][:4] == [
        "alice",
        "10.0.0.1",
        "10.1.1.1",
        "10.1.1.2",
    ]


def test_a_log_from_a_pipe_with_paths_of_its_own(monkeypatch: pytest.MonkeyPatch, capsysbinary: Any) -> None:
    """`-` reads standard input and writes standard output; `--path` says which requests count."""
    text = b'a - - [10/Oct/2026:13:55:36 +0000] "POST /render/ HTTP/1.1" 200 1\n' + LOG.encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert run_command(["trace", "-", "--path", "/render"]) == ExitCode.OK
    assert capsysbinary.readouterr().out == b'{"time":0.0}\n'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no POST"),
        (b'INFO:     127.0.0.1:5 - "POST /prompt HTTP/1.1" 200 OK\n', "do not say when"),
        (b'a - - [10/Oct/2026:13:55:36 +0000] "GET / HTTP/1.1" 200 1\n', "no POST"),
        (b"\x1f\x8b\x08\x00cut off", "cannot be read"),
    ],
)
def test_a_source_that_is_none(tmp_path: Path, content: bytes, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What holds no prompts, or tells no times, is refused in words, and no trace is left."""
    log = tmp_path / "log"
    log.write_bytes(content)
    assert run_command(["trace", str(log), "--out", str(tmp_path / "t.jsonl")]) == ExitCode.WRONG_CALL
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [log]


def test_no_source_and_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is nothing, and a folder that is not there, are told."""
    assert run_command(["trace", str(tmp_path / "none")]) == ExitCode.WRONG_CALL
    assert "there is no" in capsys.readouterr().err
    (tmp_path / "log").write_text(LOG, encoding="utf-8")
    assert run_command(["trace", str(tmp_path / "log"), "--out", str(tmp_path / "no" / "t")]) == ExitCode.WRONG_CALL
    assert "cannot be written" in capsys.readouterr().err


def test_a_trace_is_replayed_and_told_again(tmp_path: Path) -> None:
    """Two processes send each line once, with its inputs, when it is due; the recording gives the trace back."""
    times = [0.2 * number for number in range(16)]
    trace = [{"time": time, "workflow": "sdxl", "inputs": {"3.seed": seed}} for seed, time in enumerate(times)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in trace), encoding="utf-8")
    small_scenario(tmp_path, ("  - {users: 2, for: 3s}\n", "  - {trace: t.jsonl, speed: 2, phase: replay}\n"))
    done = comfysoak("run", "small.yaml", "--processes", "2", cwd=tmp_path)
    assert done.returncode in (ExitCode.OK, ExitCode.NOT_VALID), done.stdout + done.stderr
    rows = Recording.open(only_run(tmp_path)).table("prompts").to_pylist()
    assert {(row["phase"], row["outcome"]) for row in rows} == {("replay", "success")}
    assert len({row["worker"] for row in rows}) == 2
    arguments = ["trace", str(only_run(tmp_path)), "--out", str(tmp_path / "again.jsonl"), "--with-inputs"]
    assert run_command(arguments) == ExitCode.OK
    again = lines(tmp_path / "again.jsonl")
    assert [line["time"] for line in again] == pytest.approx([time / 2 for time in times], abs=2e-6)
    assert [line["inputs"]["3.seed"] for line in again] == list(range(16))


def test_a_trace_that_does_not_fit_is_refused_before_the_start(tmp_path: Path) -> None:
    """An unknown workflow is told with its line and the scenario's, and nothing is recorded."""
    (tmp_path / "t.csv").write_text("time,workflow\n1,sdxl\n2,flux\n", encoding="utf-8")
    small_scenario(tmp_path, ("  - {users: 2, for: 3s}\n", "  - {trace: t.csv}\n"))
    done = comfysoak("run", "small.yaml", cwd=tmp_path)
    assert done.returncode == ExitCode.WRONG_CALL
    assert "t.csv:3: no workflow of the scenario is called 'flux'" in done.stderr
    assert "small.yaml:" in done.stderr
    assert not (tmp_path / "runs").exists()
