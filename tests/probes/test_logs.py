"""Lines of the server's log, in the wording of both versions, from the recordings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_probes.log.lines import TEXT_CHARACTERS, Lines, LogKind, LogLine, parse_line

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
MIB = 1024 * 1024


def kinds(case: str) -> list[str]:
    """The kinds of the lines worth keeping in a recorded log."""
    lines = (RECORDINGS / case).read_text(encoding="utf-8").split("\n")
    return [said.kind for line in lines if (said := parse_line(line)) is not None]


DIES = ["prompt_got", "prompt_invalid", "prompt_executed", "prompt_got", "worker_died"]
LOAD = ["prompt_got", "model_read", "model_requested", "model_loaded", "prompt_executed"]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("logs/14b_model_load_ksampler_previews.log", [*LOAD, "prompt_got", "prompt_executed"]),
        ("v0.33/logs/14b_model_load_ksampler_previews.log", [*LOAD, "prompt_got", "prompt_executed"]),
        ("logs/04b_execution_error_oom.log", ["prompt_got", "exception", "oom", "prompt_executed"]),
        ("v0.33/logs/04b_execution_error_oom.log", ["prompt_got", "exception", "oom", "prompt_executed"]),
        (
            "logs/22_worker_thread_dies.log",
            [*DIES, "prompt_got", "interrupt_asked"],
        ),
        ("logs/05a_interrupt_global.log", ["prompt_got", "interrupt_asked", "interrupted", "prompt_executed"]),
        ("logs/19_startup_readiness.log", [*["setting"] * 4, "ready"]),
    ],
)  # fmt: skip
def test_recorded_logs_say_what_happened(case: str, expected: list[str]) -> None:
    """The lines worth keeping of a recorded log, in order; tracebacks and progress bars are not among them."""
    assert kinds(case) == expected


def test_both_versions_say_the_same_of_a_load() -> None:
    """Model and bytes are read from either wording."""
    assert parse_line("Requested to load SD3") == LogLine(LogKind.MODEL_REQUESTED, "Requested to load SD3", model="SD3")
    older = parse_line("loaded completely 9.5367431640625e+25 7.153564453125 True")
    newer = parse_line("\x1b[32m[INFO]\x1b[0m loaded completely;  7.15 MB loaded, full load: True")
    assert older is not None
    assert newer is not None
    assert (older.kind, older.loaded_bytes) == (LogKind.MODEL_LOADED, round(7.153564453125 * MIB))
    assert (newer.kind, newer.loaded_bytes) == (LogKind.MODEL_LOADED, round(7.15 * MIB))
    assert newer.text == "loaded completely;  7.15 MB loaded, full load: True"


PARTIALLY = (
    "loaded partially; 500.00 MB usable, 400.50 MB loaded, 99.50 MB offloaded, 10.00 MB buffer reserved, "
    "lowvram patches: 0"
)


@pytest.mark.parametrize(
    ("line", "kind", "size"),
    [
        ("loaded partially 64.0 63.99 0", LogKind.MODEL_LOADED, round(63.99 * MIB)),
        (PARTIALLY, LogKind.MODEL_LOADED, round(400.5 * MIB)),
        ("loaded completely; 95367431640625005117571072.00 MB usable, 159.87 MB loaded, full load: True",
         LogKind.MODEL_LOADED, round(159.87 * MIB)),
        ("Unloaded partially: 3.00 MB freed, 4.00 MB remains loaded, ...", LogKind.MODEL_UNLOADED_PARTLY, None),
        ("Model Flux prepared for dynamic VRAM loading. 11350MB Staged.", LogKind.MODEL_STAGED, None),
        ("2 models unloaded.", LogKind.MODEL_UNLOADED, None),
        ("[INFO] model weight dtype torch.float32, manual cast: None", LogKind.MODEL_READ, None),
        ("VAE load device: cuda:0, offload device: cpu, dtype: torch.bfloat16", LogKind.MODEL_READ, None),
        ("CLIP/text encoder model load device: cuda:0, offload device: cpu, current: cpu, dtype: torch.float16",
         LogKind.MODEL_READ, None),
        ("[INFO] Using RAM pressure cache.", LogKind.CACHE_EMPTIED, None),
        ("Using LRU cache", LogKind.CACHE_EMPTIED, None),
        ("Warning: Ran out of memory when regular VAE decoding, retrying with tiled VAE decoding.",
         LogKind.VAE_TILED, None),
        ("Set vram state to: NORMAL_VRAM", LogKind.SETTING, None),
        ("Device: cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync", LogKind.SETTING, None),
        ("Using pytorch attention", LogKind.SETTING, None),
        ("[ERROR] something broke", LogKind.ERROR, None),
        ("[2026-11-22 15:00:00,123] [INFO] got prompt", LogKind.PROMPT_GOT, None),
        ("WARNING, memory leak with model SDXL. Please make sure ...", LogKind.MEMORY_LEAK, None),
        ("To see the GUI go to: http://127.0.0.1:8188", LogKind.READY, None),
    ],
)  # fmt: skip
def test_a_line_has_its_kind_and_bytes(line: str, kind: LogKind, size: int | None) -> None:
    """Every wording that is known has its kind; staged weights are no loaded bytes."""
    said = parse_line(line)
    assert said is not None
    assert (said.kind, said.loaded_bytes) == (kind, size)


@pytest.mark.parametrize(
    "line",
    ["", "0 models unloaded.", "model_type FLOW",
     "loaded diffusion model directly to GPU", "loaded completely", "Using a hammer",
     "100%|####| 6/6 [00:00<00:00]", "[INFO] Starting server",
     "[ERROR] Traceback (most recent call last):", "[ERROR] * SaveImage 3:", "he said: got prompt"],
)  # fmt: skip
def test_lines_that_say_nothing_are_not_kept(line: str) -> None:
    """Chatter, tracebacks, progress bars, and `0 models unloaded.`, which is normal with dynamic VRAM."""
    assert parse_line(line) is None


@pytest.mark.parametrize(
    ("line", "seconds"),
    [("Prompt executed in 0.21 seconds", 0.21), ("Prompt executed in 00:12:05", 725.0),
     ("Prompt executed in 25:00:00", 90000.0),
     ("\x1b[32m[INFO]\x1b[0m \x1b[32mPrompt executed in 0.14 seconds\x1b[0m", 0.14)],
)  # fmt: skip
def test_durations_are_seconds(line: str, seconds: float) -> None:
    """Seconds as such, and hours, minutes and seconds from ten minutes on; with colours or without."""
    said = parse_line(line)
    assert said is not None
    assert said.duration_s == seconds


@given(st.text(max_size=200))
def test_any_line_is_harmless(line: str) -> None:
    """Whatever a server writes: no error, a bounded text, no control characters in it."""
    for text in (line, f"[ERROR] {line}", f"!!! Exception during processing !!! {line * 50}"):
        said = parse_line(text)
        if said is not None:
            assert len(said.text) <= TEXT_CHARACTERS
            assert not set(said.text) & {chr(code) for code in range(32) if code not in (9, 10)}


@pytest.mark.parametrize(
    "line",
    ["Requested to load ", "loaded completely nan nan True", "loaded completely; MB loaded", "loaded partially 1",
     "Model prepared for dynamic VRAM loading.", "99999999999 models unloaded.", "-1 models unloaded."],
)  # fmt: skip
def test_a_line_that_is_nearly_one_of_loading_is_none(line: str) -> None:
    """What lacks its model or its number says nothing that could be derived from."""
    assert parse_line(line) is None


@pytest.mark.parametrize(
    "line",
    ["Requested to load a truck with hay", "Processing interrupted by thunder, oil on canvas",
     "model weight dtype of my dreams", "VAE load device: a poem", "To see the GUI go to: Narnia",
     "Unloaded partially: a ship", "CLIP/text encoder model load device: a poem", "Prompt executed in 5 seconds flat",
     "12 models unloaded their trucks", "Model T prepared for dynamic VRAM loading bay"],
)  # fmt: skip
def test_what_a_user_wrote_is_no_line_of_the_server(line: str) -> None:
    """A node that prints its prompt may begin as the server does; the whole wording tells them apart."""
    assert parse_line(line) is None


def test_a_duration_that_is_no_number_of_seconds_is_none() -> None:
    """Thousands of digits are no traceback and no endless prompt."""
    assert parse_line(f"Prompt executed in {'9' * 5000}:00:00") is None
    said = parse_line("Prompt executed in 1e999 seconds")
    assert said is None or said.duration_s is None


@pytest.mark.parametrize(
    "bar",
    [
        "\r 50%|#####     | 3/6 [00:01<00:01,  2.50it/s]",
        "  0%|          | 0/6 [00:00<?, ?it/s]",
        "\rTiles:  9%|# | 1/9 [00:01]",
    ],
)
@pytest.mark.parametrize("line", ["Requested to load SD3", "[INFO] Requested to load SD3"])
def test_a_line_behind_a_bar_that_is_not_done_is_read(bar: str, line: str) -> None:
    """In a file that has both, a bar stands before what a logger writes meanwhile."""
    assert parse_line(bar + line) == LogLine(LogKind.MODEL_REQUESTED, "Requested to load SD3", model="SD3")


@pytest.mark.parametrize("escape", ["\x1b[?25h", "\x1b]0;title\x07", "\x1b(B", "\x9b0m"])
def test_escapes_of_a_terminal_hide_no_line(escape: str) -> None:
    """A bar that showed the cursor again, or set a title, is followed by a line like any other."""
    assert parse_line(f"{escape}got prompt") == LogLine(LogKind.PROMPT_GOT, "got prompt")


def test_a_name_of_a_model_is_bounded() -> None:
    """A class name of a megabyte, or one that holds markup, is kept short and as text."""
    said = parse_line(f"Requested to load {'<script>' * 1000}")
    assert said is not None
    assert said.model is not None
    assert len(said.model) == 100


def test_a_huge_number_is_no_size() -> None:
    """More bytes than a column holds are None."""
    said = parse_line("loaded completely 1 99999999999999999999999999 True")
    assert said is not None
    assert said.loaded_bytes is None


def test_lines_are_put_together_from_pieces() -> None:
    """A text and its newline may come in two writes; a progress bar is overwritten by what comes after it."""
    lines = Lines()
    assert list(lines.feed("got ")) == []
    assert list(lines.feed("prompt\nReq")) == ["got prompt"]
    assert list(lines.feed("uested\n\r 50%")) == ["Requested"]
    done = list(lines.feed("\r100%\rgot prompt\n"))
    assert parse_line(done[0]) == LogLine(LogKind.PROMPT_GOT, "got prompt")


def test_a_line_without_an_end_is_bounded() -> None:
    """A server that never ends its line costs no more than a bound."""
    lines = Lines()
    for _ in range(1000):
        assert list(lines.feed("x" * 1000)) == []
    assert len(next(lines.feed("\n"))) <= 20_000
