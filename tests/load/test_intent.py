"""What is out of the ordinary is drawn from the numbers of a prompt: shares, seeds, and what becomes of its body."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest

from comfysoak_core.comfyui.vary import Vary
from comfysoak_core.rows import Outcome, Prompt
from comfysoak_core.scenario.workload import Cancel, GiveUp, Mistakes, Upload, Workload
from comfysoak_load.process.built_in import GRAPH
from comfysoak_load.prompts.intent import Intent, Intents, mistaken
from comfysoak_load.prompts.workloads import PreparedWorkload

ROW = Prompt(id="p", server="s", worker="w", client_id="c", workflow="f", scheduled_ns=5, outputs_expected=1)
MANY = 2000


def workload(**keys: Any) -> Workload:
    return Workload(name="w", graph=GRAPH, **keys)


def drawn(found: Workload) -> list[Intent]:
    intents = Intents.of(found)
    assert intents is not None
    return [intents.draw(Random(seed)) for seed in range(MANY)]


def test_an_ordinary_workload_has_no_intents() -> None:
    """Nothing is drawn for it, so nothing changes in what a seed gives."""
    assert Intents.of(workload()) is None
    prepared = PreparedWorkload(workload())
    numbers = Random(1)
    before = numbers.getstate()
    assert prepared.intent(numbers) is None
    assert numbers.getstate() == before


def test_shares_are_those_of_the_scenario() -> None:
    """A tenth, a fifth and a third, each within the bounds of chance; the rest is ordinary."""
    found = drawn(workload(
        front=0.1, cancel=Cancel(share=0.2, after_s=(1, 5)), mistakes=Mistakes(share=1 / 3, kinds=("bad-type",))
    ))  # fmt: skip
    wrong = [intent for intent in found if intent.mistake]
    cancelled = [intent for intent in found if intent.leave_after_s is not None]
    assert sum(intent.front for intent in found) / MANY == pytest.approx(0.1, abs=0.03)
    assert len(wrong) / MANY == pytest.approx(1 / 3, abs=0.04)
    assert len(cancelled) / (MANY - len(wrong)) == pytest.approx(0.2, abs=0.04)
    assert not any(intent.leave_after_s for intent in wrong)
    assert all(1 <= (intent.leave_after_s or 0) <= 5 and intent.withdraw and not intent.give_up for intent in cancelled)


def test_the_same_numbers_give_the_same_intent() -> None:
    """A seed fixes who cancels, and when."""
    found = workload(cancel=Cancel(share=0.5, after_s=(0, 9)), mistakes=Mistakes(share=0.5), front=0.5)
    assert drawn(found) == drawn(found)


def test_who_gives_up_tries_again_so_often_and_no_more() -> None:
    """Each attempt knows the one before it, and waits as long."""
    (first, *_) = drawn(workload(give_up=GiveUp(after_s=(3, 4), again=2)))
    second = first.next_attempt("one")
    assert second is not None
    third = second.next_attempt("two")
    assert third is not None
    assert [(one.attempt, one.retry_of, one.leave_after_s) for one in (first, second, third)] == [
        (1, None, first.leave_after_s),
        (2, "one", first.leave_after_s),
        (3, "two", first.leave_after_s),
    ]
    assert third.next_attempt("three") is None
    leave = first.leave(10)
    assert leave is not None
    assert (leave.give_up, leave.withdraw) == (True, False)
    assert 3e9 <= leave.at_ns - 10 <= 4e9


def test_a_mistake_is_in_the_body_and_in_the_row() -> None:
    """The server gets the mistake; the row says its kind, what is expected, and how to make it again."""
    prepared = PreparedWorkload(workload(mistakes=Mistakes(share=1, kinds=("missing-input",)), front=1))
    numbers = Random(3)
    right = prepared.draw(numbers)
    intent = prepared.intent(numbers)
    assert intent is not None
    assert intent.mistake is not None
    wrong = mistaken(right, intent.mistake)
    body = json.loads(intent.body(wrong, "p", "c"))
    (path,) = intent.mistake.edits
    node_id, name = path.split(".")
    assert name in right.graph[node_id]["inputs"]
    assert name not in body["prompt"][node_id]["inputs"]
    assert (body["front"], body["prompt_id"], body["client_id"]) == (True, "p", "c")
    row = intent.marked(ROW)
    assert (row.deliberate, row.expected, row.front, row.outputs_expected) == (
        "missing-input", Outcome.REJECTED, True, None,
    )  # fmt: skip
    assert json.loads(wrong.variation)[path] is None


def test_broken_json_is_broken() -> None:
    """Half a body."""
    prepared = PreparedWorkload(workload(mistakes=Mistakes(share=1, kinds=("broken-json",))))
    numbers = Random(3)
    right, intent = prepared.draw(numbers), prepared.intent(numbers)
    assert intent is not None
    with pytest.raises(json.JSONDecodeError):
        json.loads(intent.body(right, "p", "c"))


def test_the_size_of_a_batch_is_what_is_expected_back() -> None:
    """`batch` goes into the node that makes the pictures, and the count that is checked follows."""
    prepared = PreparedWorkload(workload(vary=Vary(batch=(1, 3))))
    counts = Counter()  # type: ignore[var-annotated]  # of pairs
    for seed in range(50):
        one = prepared.draw(Random(seed))
        counts[one.graph["1"]["inputs"]["batch_size"], one.expected["3"].count] += 1
    assert set(counts) == {(1, 1), (3, 3)}


def test_a_picture_has_a_mark_until_it_is_uploaded() -> None:
    """The name a server gives it is not known before."""
    graph: dict[str, Any] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    prepared = PreparedWorkload(Workload(name="w", graph=graph, uploads=(Upload(input="1.image", size=(8, 8)),)))
    assert prepared.draw(Random(0)).graph["1"]["inputs"]["image"] == "the picture of upload 0"
    assert graph["1"]["inputs"]["image"] == "a.png"
