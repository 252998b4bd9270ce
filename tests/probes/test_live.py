"""`comfysoak probe`: what it shows, with and without a terminal, and what it records."""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.errors import ExitCode, UsageError
from comfysoak_core.rows import Event, Gpu, GpuSlow, Host, Row, Server, ServerLog
from comfysoak_core.terminal import printable
from comfysoak_probes.board import Board
from comfysoak_probes.config import SamplerConfig
from comfysoak_probes.live import probe

GIB = 1024**3


def gpu(**values: object) -> Gpu:
    base = {"at_ns": 0, "read_cost_ns": 1, "host": "h", "source": "nvml", "uuid": "GPU-1", "index": 0}
    return Gpu(**{**base, **values})  # type: ignore[arg-type]  # columns of a row


def shown(board: Board, now_ns: int = 0) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    console.print(board.panel(now_ns))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def board_of(*rows: Row) -> Board:
    board = Board()
    board.take(rows)
    return board


def test_the_latest_of_each_gpu_is_shown() -> None:
    """Memory, utilisation, power and temperature of the last rows."""
    slow = GpuSlow(
        at_ns=0, read_cost_ns=1, host="h", source="nvml", uuid="GPU-1", name="H100", power_watts=312.4,
        temperature_celsius=61.0, sm_clock_hertz=1_980_000_000, event_reasons="software_power_cap",
    )  # fmt: skip
    first = gpu(memory_used_bytes=GIB)
    last = gpu(memory_used_bytes=3 * GIB, memory_total_bytes=80 * GIB, utilisation_ratio=0.97)
    text = shown(board_of(first, slow, last))
    for word in ("H100", "3.00 GiB", "80.00 GiB", "97%", "312 W", "61 °C", "1980 MHz", "software_power_cap"):
        assert word in text
    assert "1.00 GiB" not in text


def test_what_is_missing_is_a_dash_with_a_reason_and_old_values_are_said_to_be_old() -> None:
    """No value looks like zero, and a GPU that is no longer read does not look alive."""
    board = board_of(gpu(missing="all: the GPU is lost (NVML error 15)"))
    assert "the GPU is lost" in shown(board)
    assert "0.00 GiB" not in shown(board)
    assert "no sample for 60 s" in shown(board, 60 * NS_PER_S)


def test_nothing_to_watch_says_so() -> None:
    """Without a GPU the table says that, not nothing."""
    assert "no GPU is watched" in shown(Board())
    assert Board().line(0) == "nothing is watched"


def test_a_line_tells_gpus_queues_and_the_host() -> None:
    """What a log shows every ten seconds."""
    server = Server(at_ns=0, server="http://s", queue_running=1, queue_pending=4)
    host = Host(at_ns=0, read_cost_ns=1, host="h", cpu_ratio=0.5, memory_available_bytes=GIB)
    line = board_of(gpu(memory_used_bytes=GIB, utilisation_ratio=0.5), server, host).line(0)
    assert line == ("GPU 0 50% 1.00 GiB | http://s 1 running, 4 waiting | host h: CPU 50%, memory free 1.00 GiB")


def test_text_of_others_cannot_steer_the_terminal() -> None:
    """Escape sequences, markup and line ends in what servers and exporters say are shown as text, or not at all."""
    evil = "\x1b]0;owned\x07 [bold red]x[/] \u202e\r\n\x9b2J"
    board = board_of(
        gpu(host=evil, missing=evil),
        Event(at_ns=0, source="sampler", kind="bad_answer", detail=evil),
        ServerLog(at_ns=0, server=evil, source="http", kind="error", text=evil),
        Server(at_ns=0, server="s", missing=evil),
    )
    for text in (shown(board), board.line(0)):
        assert not set(text) & set("\x1b\x07\x9b\u202e\r")
    assert "[bold red]x[/]" in shown(board)


def test_printable_keeps_ordinary_text() -> None:
    """Umlauts, signs of other scripts and brackets stay."""
    assert printable("Größe [1] 画像\tx\n") == "Größe [1] 画像 x "


@pytest.mark.parametrize("terminal", [True, False])
def test_it_shows_the_host_and_ends_by_itself(terminal: bool) -> None:
    """Alone, for a given time: a table in a terminal, lines without one; exit code 0."""
    console = Console(file=io.StringIO(), width=160, force_terminal=terminal)
    assert probe(SamplerConfig(host_every_s=0.1), seconds=0.7, console=console) is ExitCode.OK
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "memory free" in text
    assert "no NVIDIA driver is installed here" in text


def test_it_records_a_run_that_is_sealed(tmp_path: Path) -> None:
    """With a folder: a run directory whose tables hold the samples and whose run.json says how it ended."""
    console = Console(file=io.StringIO(), width=160)
    probe(SamplerConfig(nvml=False, host_every_s=0.1), out=tmp_path, seconds=0.7, console=console)
    (run,) = tmp_path.iterdir()
    told = orjson.loads((run / "run.json").read_bytes())
    assert (told["sealed"], told["ended"]["reason"]) == (True, "finished")
    assert list((run / "tables" / "host").glob("*.parquet"))


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    """A file stands where the folder should be: UsageError, nothing is started."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError):
        probe(SamplerConfig(nvml=False), out=tmp_path / "file", seconds=0.1, console=Console(file=io.StringIO()))
