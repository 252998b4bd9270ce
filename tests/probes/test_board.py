"""The live table: what it says of each thing, and what it leaves out where there is no room."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import (
    Container,
    Event,
    Gpu,
    GpuHealth,
    GpuSlow,
    Host,
    Process,
    Row,
    Server,
    ServerLog,
)
from comfysoak_core.terminal import printable
from comfysoak_probes.shown.board import KEPT_MOST, NOTES, Board
from comfysoak_probes.shown.panel import Panel
from comfysoak_probes.shown.text import Column, Line, Span, bar, duration, fitted, rate, table

GIB = 1024**3
URL = "http://127.0.0.1:8188"


def gpu(index: int = 0, **values: object) -> Gpu:
    base = {"at_ns": 0, "read_cost_ns": 1, "host": "h", "source": "nvml", "uuid": f"GPU-{index}", "index": index}
    return Gpu(**{**base, **values})  # type: ignore[arg-type]  # columns of a row


def slow(index: int = 0, **values: object) -> GpuSlow:
    base = {"at_ns": 0, "read_cost_ns": 1, "host": "h", "source": "nvml", "uuid": f"GPU-{index}", "index": index}
    return GpuSlow(**{**base, **values})  # type: ignore[arg-type]  # columns of a row


def process(pid: int, role: str, **values: object) -> Process:
    base = {"at_ns": 0, "read_cost_ns": 1, "host": "h", "pid": pid, "role": role, "name": "python3"}
    return Process(**{**base, **values})  # type: ignore[arg-type]  # columns of a row


def contained(at_s: int, **values: object) -> Container:
    base = {"at_ns": at_s * NS_PER_S, "read_cost_ns": 1, "host": "h", "server": URL, "container": "a1b2"}
    return Container(**{**base, "cpu_limit_cores": 8, "oom_kills": 1, **values})  # type: ignore[arg-type]  # columns


def event(kind: str, at_s: int = 0, detail: str = "x") -> Event:
    return Event(at_ns=at_s * NS_PER_S, source="sampler", kind=kind, detail=detail)


def board_of(*rows: Row) -> Board:
    board = Board()
    board.take(rows)
    return board


def shown(board: Board, now_ns: int = 0, *, width: int = 200, height: int = 60, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=colour,
        color_system="standard" if colour else None,
    )
    console.print(Panel(board, now_ns), end="")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_the_latest_of_each_gpu_is_shown() -> None:
    """Memory, utilisation, power, temperature and clock of the last rows, and what slows it down."""
    values = slow(
        name="NVIDIA H100", power_watts=312.4, power_limit_watts=700.0, temperature_celsius=61.0,
        sm_clock_hertz=1_980_000_000, event_reasons="gpu_idle,software_power_cap", sm_active_ratio=0.88,
        tensor_active_ratio=0.41,
    )  # fmt: skip
    last = gpu(memory_used_bytes=3 * GIB, memory_total_bytes=80 * GIB, utilisation_ratio=0.97)
    text = shown(board_of(gpu(memory_used_bytes=GIB), values, last))
    for word in ("H100", "3.0/80.0", "97%", "312/700", "61", "1980", "88%", "41%", "software power cap"):
        assert word in text
    assert "1.0/" not in text
    assert "NVIDIA" not in text
    assert "idle" not in text


def test_a_lost_gpu_shows_what_is_wrong_and_no_value() -> None:
    """Dashes, no zeros and none of the values from before; in red."""
    board = board_of(slow(name="H100", power_watts=300.0), gpu(missing="all: the GPU is lost (NVML error 15)"))
    text = shown(board)
    assert "the GPU is lost (NVML error 15)" in text
    assert "H100" in text
    assert "300" not in text
    assert "-/-" in text
    assert "\x1b[1;31mthe GPU is lost" in shown(board, colour=True)


def test_colours_can_be_refused() -> None:
    """NO_COLOR: weights stay, colours go."""
    console = Console(file=io.StringIO(), width=80, height=20, force_terminal=True, no_color=True)
    console.print(Panel(board_of(gpu(missing="all: the GPU is lost")), 0))
    assert isinstance(console.file, io.StringIO)
    assert "the GPU is lost" in console.file.getvalue()
    assert "31m" not in console.file.getvalue()


def test_old_values_are_said_to_be_old() -> None:
    """A GPU that is no longer read does not look alive; one that is read every 30 s is not old after 31."""
    board = board_of(gpu(memory_used_bytes=GIB))
    assert "no sample for 59 s" in shown(board, 59 * NS_PER_S)
    assert board.line(59 * NS_PER_S) == "GPU 0 no sample for 59 s"
    board.take([gpu(at_ns=30 * NS_PER_S, memory_used_bytes=GIB)])
    assert "no sample" not in shown(board, 61 * NS_PER_S)


def test_refused_rights_and_foreign_processes_are_named() -> None:
    """Words, not only empty cells."""
    health = GpuHealth(
        at_ns=0, read_cost_ns=1, host="h", source="nvml", uuid="GPU-0", processes=3, foreign_processes=1,
        foreign_bytes=2 * GIB,
    )  # fmt: skip
    text = shown(board_of(gpu(missing="utilisation_ratio: NO_PERMISSION"), health))
    assert "no permission" in text
    assert "1, 2.0 GiB" in text


def test_mig_instances_stand_under_their_gpu() -> None:
    """In order, with their own memory."""
    rows = [gpu(1), gpu(0)] + [
        gpu(0, uuid=f"MIG-{at}", instance=f"{at}/0", memory_used_bytes=at * GIB) for at in (2, 1)
    ]
    starts = [line[:6].rstrip() for line in shown(board_of(*rows)).splitlines()[2:]]
    assert starts == ["0", " └ 1/0", " └ 2/0", "1"]
    named = slow(0, uuid="MIG-1", instance="1/0", name="NVIDIA H100 80GB HBM3 MIG 1g.10gb")
    told = board_of(*rows, named, gpu(0, missing="utilisation_ratio: not told while MIG is on"))
    assert " └ 1/0  1g.10gb" in shown(told)
    assert "MIG is on" in line_of(shown(told), "0")


def test_a_host_shows_rates_between_its_last_two_rows() -> None:
    """Of disks and network; a counter that fell gives none, and never a negative one."""
    first = Host(at_ns=0, read_cost_ns=1, host="h", disk_read_bytes=0, disk_written_bytes=9, network_sent_bytes=0)
    second = Host(
        at_ns=2 * NS_PER_S, read_cost_ns=1, host="h", cpu_ratio=0.5, cpu_count=8, busiest_core_ratio=0.99,
        memory_total_bytes=64 * GIB, memory_available_bytes=GIB, disk_read_bytes=4_000_000, disk_written_bytes=1,
        network_sent_bytes=8_000, io_pressure_ratio=0.03, cpu_pressure_ratio=0.7, swap_used_bytes=GIB,
    )  # fmt: skip
    text = shown(board_of(first, second), 2 * NS_PER_S)
    for words in ("host h  CPU 50% of 8", "busiest core 99%", "memory free 1.00 GiB of 64.0",
                  "disk read 2.0 MB/s written -",
                  "out 4 kB/s", "stalled cpu 70% memory - io 3%", "swap 1.00 GiB"):  # fmt: skip
        assert words in text


def test_hosts_are_kept_apart() -> None:
    """The load generator's machine and the GPU's each under its own name."""
    hosts = [Host(at_ns=0, read_cost_ns=1, host=name, cpu_ratio=0.1) for name in ("load-1", "gpu-1")]
    text = shown(board_of(gpu(host="gpu-1"), *hosts))
    order = [text.index(words) for words in ("── gpu-1 ─", "\n0 ", "host gpu-1", "── load-1 ─", "host load-1")]
    assert order == sorted(order)


def test_a_server_shows_its_queue_processes_and_container() -> None:
    """With what they used; what is counted every 10 s stays for the rows between."""
    rows: list[Row] = [
        Server(at_ns=0, server=URL, queue_running=1, queue_pending=4, oldest_pending_age_ns=12 * NS_PER_S,
               queue_answer_ns=3_000_000, canary_answer_ns=2_000_000, vram_free_bytes=GIB, history_length=7),
        Server(at_ns=0, server=URL, queue_running=1, queue_pending=5),
        ServerLog(at_ns=0, server=URL, source="socket", kind="model_loaded", model="SDXL", loaded_bytes=GIB, text="x"),
        process(5, "server", server=URL, handles=231, connections=12, connections_half_closed=3, started_ns=0),
        process(5, "server", server=URL, cpu_ratio=1.01, started_ns=0),
        process(6, "server_child", server=URL, cpu_ratio=0.5),
        process(7, "sampler", cpu_ratio=0.004, rss_bytes=48 * 2**20),
        contained(0, cpu_seconds=0.0, cpu_periods=0, cpu_periods_throttled=0),
        contained(1, cpu_seconds=3.2, cpu_periods=10, cpu_periods_throttled=2),
    ]  # fmt: skip
    text = shown(board_of(*rows), NS_PER_S)
    server = line_of(text, URL)
    for words in ("1 running, 5 waiting", "VRAM free 1.00 GiB", "last loaded SDXL 1.00 GiB", "history 7"):
        assert words in server
    assert "CPU 101%" in line_of(text, "  process 5 python3")
    assert "231 files  12 connections  3 half closed  up 1 s" in text
    assert line_of(text, "    started 6")
    assert "1 OOM kill  CPU 3.2 of 8 cores  throttled 20%" in line_of(text, "  container a1b2")
    assert line_of(text, "harness") == "harness  sampler 0.4% 48 MiB"


def test_processes_that_ended_are_forgotten() -> None:
    """Their lines go at once, what is kept of them a minute later: a server may start thousands in a week."""
    board = board_of(*(process(pid, "server_child", server=URL) for pid in range(1, 100)))
    assert "started 5 " in shown(board, NS_PER_S)
    assert "started" not in shown(board, 10 * NS_PER_S)
    board.line(61 * NS_PER_S)
    assert not board.processes


def test_what_is_kept_is_bounded() -> None:
    """Instances that are made anew every hour, events of a week: the oldest go."""
    board = Board()
    for at in range(KEPT_MOST + 50):
        board.take([gpu(at), event("restart", at, str(at))])
    assert len(board.gpus) == KEPT_MOST
    assert len(board.notes) == NOTES


def test_notes_tell_when_and_how_often() -> None:
    """The time of day, one line for the same thing again and again; a log's usual lines, none."""
    log = ServerLog(at_ns=0, server=URL, source="socket", kind="prompt_got", text="got prompt")
    text = shown(board_of(event("gpu_lost", 3661), event("gpu_lost", 3662), event("gpu_lost", 3663), log))
    assert text.endswith("01:01:03 gpu lost : x (3 times)\n")
    assert "got prompt" not in text


@pytest.mark.parametrize("width", [40, 80, 160])
def test_nothing_is_wider_or_higher_than_the_window(width: int) -> None:
    """Eight GPUs in trouble, a server, notes: the worst and the GPUs stay, and it is said that lines are left out."""
    gpus = [gpu(at, missing="all: the GPU has fallen off the bus") for at in range(8)]
    names = [slow(at, name="NVIDIA RTX PRO 6000 Blackwell Server Edition") for at in range(8)]
    host = Host(at_ns=0, read_cost_ns=1, host="h", cpu_ratio=0.5, disk_free_bytes=5 * GIB, swap_used_bytes=GIB)
    server = Server(at_ns=0, server=URL, queue_running=0, queue_pending=0)
    children = [process(pid, "server_child", server=URL) for pid in range(100, 140)]
    root = process(9, "server", server=URL)
    board = board_of(
        *gpus, *names, host, server, root, *children, *(event("gpu_lost", at, str(at)) for at in range(20))
    )
    lines = shown(board, width=width, height=24).splitlines()
    assert len(lines) == 24
    assert max(len(line) for line in lines) <= width
    assert sum("GPU has f" in line or "…" in line for line in lines) >= 8
    assert [line for line in lines if line.startswith(URL)]
    assert lines[-1].startswith("… ")
    assert "lines more in a higher window" in lines[-1]


def test_the_least_important_columns_go_first() -> None:
    """And those in which no row has anything."""
    columns = [Column("a", 0), Column("b", 2), Column("c", 1), Column("empty", 0), Column("", 1, right=False)]
    cells = [Span("1"), Span("2" * 20), Span("3"), Span(""), Span("words")]
    wide, narrow = table(columns, [(1, cells)], 80), table(columns, [(1, cells)], 20)
    assert "".join(span.text for span in wide[0].spans).split() == ["a", "b", "c"]
    assert "".join(span.text for span in narrow[1].spans).split() == ["1", "3", "words"]


def test_lines_that_do_not_fit_are_those_that_matter_least() -> None:
    """In the order of the rest, and counted."""
    lines = [Line((Span(str(rank)),), rank) for rank in (3, 1, 2, 1)]
    assert [line.spans[0].text for line in fitted(lines, 3)] == ["1", "1", "… 2 lines more in a higher window"]
    assert fitted(lines, 4) == lines


def test_wide_signs_are_cut_by_their_cells() -> None:
    """Signs that take two cells each never push a line over the edge."""
    spans = Line((Span("画像" * 10),), 0).within(7)
    assert "".join(span.text for span in spans) == "画像画…"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (bar(0), "░░░░░░░░"), (bar(0.5), "████░░░░"), (bar(1.7), "████████"), (bar(None), "-"),
        (duration(59), "59 s"), (duration(3599), "59 min"), (duration(7500), "2 h 05 min"),
        (duration(270000), "3 d 3 h"),
        (rate(None), "-"), (rate(500), "0 kB/s"), (rate(2.5e9), "2.5 GB/s"),
    ],
)  # fmt: skip
def test_values_have_words(text: str, expected: str) -> None:
    """Short ones, with units."""
    assert text == expected


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
        gpu(host=evil, missing=f"all: {evil}"),
        slow(host=evil, name=evil, event_reasons=evil),
        Host(at_ns=0, read_cost_ns=1, host=evil),
        Event(at_ns=0, source="sampler", kind=evil, subject=evil, detail=evil),
        ServerLog(at_ns=0, server=evil, source="http", kind="error", text=evil),
        ServerLog(at_ns=0, server=evil, source="http", kind="model_loaded", model=evil, text=evil),
        Server(at_ns=0, server=evil, missing=evil),
        Server(at_ns=0, server="s", queue_running=1, queue_pending=0),
        process(1, evil, server="s", name=evil),
        process(2, "server", server="s", name=evil),
        Container(at_ns=0, read_cost_ns=1, host=evil, server="s", container=evil, name=evil, missing=f"all: {evil}"),
    )
    for text in (shown(board), board.line(0), *map(str, board.notes)):
        assert not set(text) & set("\x1b\x07\x9b\u202e\r")
    assert "[bold red]x[/]" in shown(board)


def test_printable_keeps_ordinary_text() -> None:
    """Umlauts, signs of other scripts and brackets stay."""
    assert printable("Größe [1] 画像\tx\n") == "Größe [1] 画像 x "
