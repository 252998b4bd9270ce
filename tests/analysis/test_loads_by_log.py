"""Loads by lines of the log, in the words of both versions, with what gets lost and what is said twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_analysis.model_loads import Source
from tests.analysis.server_lines import loads_of, told

MIB = 1024**2

OLDER = """
got prompt
model weight dtype torch.float32, manual cast: None
model_type FLOW
Requested to load SD3
loaded completely 9.5367431640625e+25 7.153564453125 True
100%|##########| 6/6 [00:00<00:00, 75.86it/s]
Prompt executed in 0.75 seconds
got prompt
VAE load device: cpu, offload device: cpu, dtype: torch.float32
Requested to load TAESD
loaded completely 9.5367431640625e+25 9.32717514038086 True
Prompt executed in 0.09 seconds
"""
NEWER = """
\x1b[32m[INFO]\x1b[0m got prompt
\x1b[32m[INFO]\x1b[0m model weight dtype torch.float32, manual cast: None
\x1b[32m[INFO]\x1b[0m model_type FLOW
\x1b[32m[INFO]\x1b[0m Requested to load SD3
\x1b[32m[INFO]\x1b[0m loaded completely;  7.15 MB loaded, full load: True
100%|##########| 6/6 [00:00<00:00, 75.86it/s]
\x1b[32m[INFO]\x1b[0m \x1b[32mPrompt executed in 0.05 seconds\x1b[0m
\x1b[32m[INFO]\x1b[0m got prompt
\x1b[32m[INFO]\x1b[0m VAE load device: cpu, offload device: cpu, dtype: torch.float32
\x1b[32m[INFO]\x1b[0m Requested to load TAESD
\x1b[32m[INFO]\x1b[0m loaded completely;  9.33 MB loaded, full load: True
\x1b[32m[INFO]\x1b[0m \x1b[32mPrompt executed in 0.23 seconds\x1b[0m
"""


@pytest.mark.parametrize("text", [OLDER, NEWER])
def test_both_versions_tell_the_same_loads(text: str) -> None:
    """What real servers printed for a sampler and a decoder: model, time and bytes of each."""
    found = loads_of(text)
    assert told(found) == [("SD3", 1.0), ("TAESD", 1.0)]
    assert [round((load.size_bytes or 0) / MIB) for load in found] == [7, 9]
    assert {(load.source, load.partial, load.staged) for load in found} == {(Source.LOG, False, False)}


def test_several_models_at_once_are_told_in_their_order() -> None:
    """One call requests them all, then moves them in the same order, after room was made."""
    found = loads_of(
        """
        Requested to load ControlNet
        Requested to load SDXL
        0 models unloaded.
        loaded completely 5000.0 1378.0 True
        loaded partially 4000.0 3900.5 12
        Prompt executed in 9.00 seconds
        """
    )
    assert told(found) == [("ControlNet", 3.0), ("SDXL", 3.0)]
    assert [(round((load.size_bytes or 0) / MIB), load.partial) for load in found] == [(1378, False), (3900, True)]


def test_a_prompt_that_ends_takes_its_open_requests_with_it() -> None:
    """The line of the next prompt is the end of its own request, never of one before."""
    found = loads_of(
        """
        Requested to load Lost
        Prompt executed in 1.00 seconds
        Requested to load SDXL
        loaded completely; 9000.00 MB usable, 4900.00 MB loaded, full load: True
        """
    )
    assert told(found) == [("Lost", None), ("SDXL", 1.0)]
    assert found[0].size_bytes is None


def test_prompts_that_come_meanwhile_end_nothing() -> None:
    """`got prompt` is printed by another thread, at any time."""
    assert told(loads_of("Requested to load SDXL\ngot prompt\ngot prompt\nloaded completely 1 2 True")) == [
        ("SDXL", 3.0)
    ]


def test_a_model_requested_again_with_its_weights_there_is_no_load() -> None:
    """Another sampling patch, the same weights: the server asks for it and moves nothing."""
    again = "Requested to load SDXL\nPrompt executed in 1.00 seconds"
    assert told(loads_of(f"Requested to load SDXL\nloaded completely 1 2 True\n{again}\n{again}")) == [("SDXL", 1.0)]


def test_beside_a_model_that_is_there_the_end_is_that_of_the_new_one() -> None:
    """Two requests and one end: it belongs to the one whose weights were not there."""
    found = loads_of(
        """
        Requested to load SDXL
        loaded completely 1 5000 True
        Requested to load SDXL
        Requested to load ControlNet
        loaded completely 1 1378 True
        Prompt executed in 1.00 seconds
        """
    )
    assert told(found) == [("SDXL", 1.0), ("ControlNet", 1.0)]
    assert found[1].size_bytes == 1378 * MIB


def test_a_model_that_fits_only_partially_says_so_at_each_use() -> None:
    """Without a request it is no load, and beside a request it is not its end."""
    again = "loaded partially 3000.0 2900.0 0"
    found = loads_of(
        f"Requested to load Flux\n{again}\n{again}\nRequested to load FluxClipModel_\n{again}\n"
        "loaded completely 1 235 True"
    )
    assert told(found) == [("Flux", 1.0), ("FluxClipModel_", 2.0)]
    assert [load.partial for load in found] == [True, False]


DYNAMIC = """
[INFO] Requested to load SDXL
[INFO] Model SDXL prepared for dynamic VRAM loading. 4897MB Staged. 0 patches attached.
[INFO] Prompt executed in 3.00 seconds
[INFO] Model SDXL prepared for dynamic VRAM loading. 4897MB Staged. 0 patches attached.
[INFO] 0 models unloaded.
[INFO] Prompt executed in 2.00 seconds
[INFO] Model SDXL prepared for dynamic VRAM loading. 4897MB Staged. 28 patches attached. Force pre-loaded 2 weights.
[INFO] Prompt executed in 2.00 seconds
"""


def test_what_is_staged_is_not_loaded_and_comes_at_every_use() -> None:
    """Only the request is a load; it has no end, and its bytes are those that were staged."""
    (load,) = loads_of(DYNAMIC)
    assert (load.model, load.staged, load.moved_s, load.size_bytes) == ("SDXL", True, None, 4897 * MIB)


def test_staged_models_are_told_by_their_names() -> None:
    """In whatever order: that line names its model."""
    found = loads_of(
        """
        Requested to load ControlNet
        Requested to load SDXL
        Model SDXL prepared for dynamic VRAM loading. 4897MB Staged. 0 patches attached.
        Model ControlNet prepared for dynamic VRAM loading. 1378MB Staged. 0 patches attached.
        """
    )
    assert [(load.model, load.size_bytes) for load in found] == [("ControlNet", 1378 * MIB), ("SDXL", 4897 * MIB)]


def test_across_lost_lines_nothing_is_put_together() -> None:
    """A request before the gap has no end, an end after it no beginning; neither is a load of zero seconds."""
    found = loads_of("Requested to load SDXL\nloaded completely 1 235 True", gaps_s=(1.5,))
    assert [(load.model, load.moved_s, load.size_bytes) for load in found] == [
        ("SDXL", None, None),
        (None, None, 235 * MIB),
    ]


def test_a_load_that_fails_has_no_end() -> None:
    """Out of memory while it was moved: the next request loads it anew."""
    found = loads_of(
        """
        Requested to load Flux
        loaded completely 1 5000 True
        Requested to load Flux
        [ERROR] !!! Exception during processing !!! Allocation on device 0 would exceed allowed memory.
        [ERROR] Got an OOM, unloading all loaded models.
        Prompt executed in 1.00 seconds
        Requested to load Flux
        loaded completely 1 5000 True
        """
    )
    assert told(found) == [("Flux", 1.0), ("Flux", None), ("Flux", 1.0)]


def test_nothing_is_there_after_the_server_let_all_go() -> None:
    """A request after that without an end is a load: the weights cannot have been there."""
    for line in ("Using RAM pressure cache.", "To see the GUI go to: http://127.0.0.1:8188"):
        found = loads_of(
            f"Requested to load SD3\nloaded completely 1 2 True\n{line}\nRequested to load SD3\ngot prompt"
        )
        assert told(found) == [("SD3", 1.0), ("SD3", None)]


WORDS = st.sampled_from(
    [
        *(line for line in (OLDER + NEWER + DYNAMIC).split("\n") if line),
        "loaded partially 1 2 3",
        "Got an OOM",
        "",
        "\x00",
        "x",
    ]
)


@given(st.lists(WORDS, max_size=40), st.lists(st.floats(0, 40), max_size=3))
def test_lines_in_any_order_tell_no_nonsense(lines: list[str], gaps: list[float]) -> None:
    """Never more loads than requests and lost beginnings, none that ends before it began, all in order."""
    found = loads_of("\n".join(lines) or "x", gaps_s=tuple(gaps))
    asked = sum("Requested" in line for line in lines)
    assert sum(load.model is not None for load in found) <= asked
    assert all(load.moved_s is None or load.moved_s > 0 for load in found)
    assert all(load.size_bytes is None or load.size_bytes > 0 for load in found)
