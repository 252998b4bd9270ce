"""What an answer to a failure means, what its words give away, and which prompts are never sent. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from comfysoak.check.parts.errors import graphs
from comfysoak.check.parts.errors.judging import Shown, of_failure, of_giving_up, of_loss
from comfysoak.check.parts.errors.words import Said, words_row
from comfysoak_core.comfyui.shape import graph_or_none

ID = "errors.unreachable"
MOST = {"width": 16384, "height": 16384, "length": 16384, "batch_size": 4096}
KEY = "sk-of-comfyui-0123456789"


@pytest.mark.parametrize(
    ("shown", "state", "code", "remedy"),
    [
        (Shown(503, 0, "ComfyUI is away (id 17)", 0.4), "ok", None, ""),
        (Shown(400, 0, "Something went wrong :/", 0.4), "ok", None, ""),
        (Shown(0, 0, "", 60.0, is_well=True), "failed", "GATEWAY_HANG", "a deadline for the whole picture"),
        (Shown(200, 0, "", 0.4), "failed", "GATEWAY_EMPTY", "heed execution_error"),
        (Shown(0, 0, "", 0.4, broke="closed the connection"), "failed", None, "answer with a status"),
        (Shown(401, 0, "Unauthorized", 0.4), "warning", None, "502, 503 or 504"),
        (Shown(429, 0, "too many", 0.4), "warning", None, "502, 503 or 504"),
        (Shown(504, 0, "too late", 31.0), "warning", None, "a connect timeout"),
        (Shown(200, 1, "", 0.4), "failed", "OUTPUT_WRONG", "ComfyUI made none"),
    ],
)
def test_an_error_that_is_told_soon_is_sound_and_nothing_else(
    shown: Shown, state: str, code: str | None, remedy: str
) -> None:
    """Hanging, empty and broken answers fail; a status that blames the user, and slowness, warn."""
    row = of_failure(ID, "ComfyUI refused connections", shown)
    assert (row.state.value, row.code) == (state, code)
    assert remedy in row.remedy
    assert row.seen.startswith("ComfyUI refused connections: users got ")


def test_a_hang_is_told_with_what_the_health_route_said() -> None:
    """That is what a load balancer believes."""
    row = of_failure(ID, "frozen", Shown(0, 0, "", 60.0, is_well=True))
    assert "60.00 s" in row.seen
    assert "health route said that all is well" in row.seen
    assert "health" not in of_failure(ID, "frozen", Shown(0, 0, "", 60.0)).seen


@pytest.mark.parametrize(
    ("shown", "ran_on", "state"),
    [
        (Shown(200, 1, "", 3.0), True, "ok"),
        (Shown(400, 0, "gone", 0.1), False, "ok"),
        (Shown(400, 0, "gone", 0.1), True, "warning"),
        (Shown(0, 0, "", 60.0), True, "failed"),
        (Shown(200, 1, "", 45.0), True, "ok"),
    ],
)
def test_a_picture_that_comfyui_made_all_the_same_should_have_been_fetched(
    shown: Shown, *, ran_on: bool, state: str
) -> None:
    """Found by history it is sound, however long that took; lost it is a warning; waited for without end it fails."""
    assert of_loss("errors.cut", "cut", shown, ran_on=ran_on).state.value == state


def test_a_prompt_that_is_taken_back_is_sound_and_one_that_runs_for_nobody_is_not() -> None:
    """With the routes that take it back."""
    assert of_giving_up("gone", taken_back=True, fetched=False, ran=True).state == "ok"
    assert of_giving_up("gone", taken_back=False, fetched=False, ran=False).state == "ok"
    row = of_giving_up("gone", taken_back=False, fetched=True, ran=True)
    assert (row.state, row.code) == ("warning", "GAVE_UP")
    assert "kept it for nobody" in row.seen
    assert "/interrupt" in row.remedy


def said(**answers: str) -> list[Said]:
    """By the end of a row's id, its words."""
    return [Said(f"errors.{name}", words, f'{{"detail": "{words}"}}') for name, words in answers.items()]


def test_words_that_name_each_cause_are_sound() -> None:
    """Failures of one kind may be told in the same words; numbers in them differ each time."""
    answers = said(
        unreachable="ComfyUI is away, id 17", refused="ComfyUI is away, id 18", node="a node failed", memory="too large"
    )
    row = words_row(answers, [KEY], ["comfyui:8188"])
    assert row.state == "ok"
    assert "4 answers" in row.seen


def test_the_same_words_for_everything_name_no_cause() -> None:
    """Told with what they stood for; no words at all, too."""
    row = words_row(said(unreachable="Oops", workflow="Oops", node=""), [], [])
    assert row.state == "warning"
    assert "'Oops' is all that is said of ComfyUI away and a broken workflow" in row.seen
    assert "not a word is said of a node that raises" in row.seen


def test_a_secret_in_an_answer_fails_and_is_not_repeated() -> None:
    """Only where it stands is told."""
    row = words_row(said(refused=f"401 with Bearer {KEY}", node="x"), [KEY], [])
    assert row.state == "failed"
    assert "errors.refused" in row.seen
    assert KEY not in row.seen + row.remedy


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("Cannot connect to host comfyui:8188", "an address"),
        ("connect to 10.1.2.3 failed", "an address"),
        ("GET http://inside/prompt", "an address"),
        ("Traceback (most recent call last): x", "a traceback"),
        ("in /app/backend/open_webui/main.py", "paths"),
    ],
)
def test_addresses_and_insides_in_an_answer_are_told(words: str, what: str) -> None:
    """As a warning: they help nobody but who should not be there."""
    row = words_row(said(refused=words), [KEY], ["comfyui:8188"])
    assert row.state == "warning"
    assert what in row.seen
    assert "raw exceptions" in row.remedy


def test_where_nothing_was_said_there_is_nothing_to_judge() -> None:
    """Skipped."""
    assert words_row([], [KEY], []).state == "skipped"


def video(most: dict[str, Any], module: str = "comfy_extras.nodes_hunyuan") -> Any:
    """What /object_info says of the classes for the graph that asks for too much."""
    inputs = {name: ["INT", {"max": value} if value is not None else {}] for name, value in most.items()}
    classes = {graphs.VIDEO: {"python_module": module, "input": {"required": inputs}}, graphs.TELLS: {}}
    return classes.get


def test_what_is_asked_for_is_more_than_any_process_can_address() -> None:
    """In one allocation, by the server's own limits; marked, and a graph."""
    found = graphs.too_large_or_why(video(MOST), 10**12)
    assert not isinstance(found, str)
    graph = found("comfysoak-check-01234567")
    assert graph_or_none(graph) is not None
    asked = {name: graph["1"]["inputs"][name] for name in MOST}
    assert asked == MOST
    assert graphs.latent_bytes(**MOST) == 2**51


@pytest.mark.parametrize(
    ("described", "memory_bytes", "why"),
    [
        (video(MOST | {"batch_size": 64, "length": 81}), 0, "not sent"),
        (video(MOST), 2**50, "not sent"),
        (video(MOST), 2**63, "not sent"),
        (video(MOST | {"width": None}), 0, "declares no limits"),
        (video(MOST, "custom_nodes.mine"), 0, "not the stock one"),
        (lambda _name: None, 0, "lacks"),
    ],
)
def test_what_could_perhaps_be_allocated_is_never_sent(described: Any, memory_bytes: int, why: str) -> None:
    """Lower limits, more memory, other nodes: skipped, with the reason."""
    found = graphs.too_large_or_why(described, memory_bytes)
    assert isinstance(found, str)
    assert why in found


def test_a_server_without_the_node_that_raises_is_not_tried() -> None:
    """The reason names it."""
    assert graphs.raising_or_why(lambda _name: None) == (
        "the server lacks RegexReplace and PreviewAny: no other stock node is known to raise harmlessly"
    )
    assert graphs.raising_or_why(lambda _name: {}) is graphs.raising


@pytest.mark.parametrize("make", [graphs.little, graphs.broken, graphs.unknown, graphs.raising])
def test_every_node_of_ours_has_inputs_and_its_mark(make: Any) -> None:
    """A node without inputs kills the worker of some servers; one without the mark could come from the cache."""
    for node in make("comfysoak-check-01234567").values():
        assert node["inputs"][graphs.INPUT] == "comfysoak-check-01234567"
