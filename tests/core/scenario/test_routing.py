from __future__ import annotations

from collections import Counter

import pytest

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.routing import (
    LONGEST_PROBE_NS,
    Health,
    Route,
    Router,
    Standing,
    models_of,
    needs_of,
    preference,
    varies_models,
)

SERVERS = ("http://a:1", "http://b:1", "http://c:1")
LOADER = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl.safetensors"}}
LORA = {"class_type": "LoraLoader", "inputs": {"lora_name": "style.safetensors", "model": ["1", 0]}}


def s(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def standings(*remaining: int) -> list[Standing]:
    """Servers that have told so many waiting prompts each."""
    found = [Standing() for _ in remaining]
    for standing, count in zip(found, remaining, strict=True):
        standing.told(count, s(1))
    return found


def picked(route: Route, known: list[Standing], times: int, needs: str = "") -> Counter[int]:
    router = Router(route, SERVERS)
    return Counter(router.choose(known, needs) for _ in range(times))


def test_round_robin_takes_prompts_in_turn() -> None:
    """Each server gets the same share of the prompts, however long its queue is."""
    assert picked("round-robin", standings(9, 0, 0), 30) == {0: 10, 1: 10, 2: 10}


def test_the_shortest_queue_counts_what_is_under_way() -> None:
    """What a server told, what it took since, and what has not been answered yet are all waiting there."""
    known = standings(2, 0, 0)
    known[1].sent()
    known[1].taken(s(2), accepted=True)
    assert picked("shortest-queue", known, 4) == {2: 4}
    known[2].sent()
    assert picked("shortest-queue", known, 4) == {1: 2, 2: 2}
    known[1].told(0, s(3))
    assert picked("shortest-queue", known, 4) == {1: 4}


def test_a_prompt_sent_before_the_queue_was_told_is_in_it() -> None:
    """It is not counted twice."""
    (standing,) = standings(1)
    standing.sent()
    standing.told(2, s(3))
    standing.taken(s(2), accepted=True)
    assert standing.waiting == 2


@pytest.mark.parametrize("route", ["round-robin", "shortest-queue", "affinity"])
def test_a_server_that_is_down_gets_nothing(route: Route) -> None:
    """Nor one that is silent, as long as another one answers; when none does, the least bad is tried all the same."""
    known = standings(0, 5, 5)
    known[0].failed(Health.DOWN, "connection refused", s(2))
    known[1].failed(Health.SILENT, "no answer", s(2))
    assert set(picked(route, known, 12, "x")) == {2}
    known[2].failed(Health.DOWN, "connection refused", s(3))
    assert set(picked(route, known, 12, "x")) == {1}
    known[1].failed(Health.DOWN, "connection refused", s(3))
    assert sum(picked(route, known, 12, "x").values()) == 12


def test_affinity_keeps_a_model_on_one_server_and_moves_only_what_was_lost() -> None:
    """With a server gone, its models are spread over the others; all others stay where they were."""
    known = standings(0, 0, 0)
    models = [f"model-{number}" for number in range(60)]
    router = Router("affinity", SERVERS, needs=models)
    before = {model: router.choose(known, model) for model in models}
    assert Counter(before.values()) == {0: 20, 1: 20, 2: 20}
    known[1].failed(Health.DOWN, "connection refused", s(2))
    after = {model: router.choose(known, model) for model in models}
    assert all(after[model] == before[model] for model in models if before[model] != 1)
    assert {after[model] for model in models if before[model] == 1} == {0, 2}
    known[1].answered(s(9))
    assert {model: router.choose(known, model) for model in models} == before


def test_few_models_do_not_meet_on_one_server() -> None:
    """Whatever servers are called: three models on three servers have one each."""
    for port in range(50):
        router = Router("affinity", [f"http://gpu:{port + number}" for number in range(3)], needs=["x", "y", "z"])
        assert len({router.choose(standings(0, 0, 0), need) for need in ("x", "y", "z")}) == 3


def test_preference_is_the_same_in_every_process() -> None:
    """It hangs on names alone, not on Python's own hash."""
    assert preference("sdxl.safetensors", SERVERS) == (1, 0, 2)


def test_a_server_that_is_down_is_asked_again_later_and_later() -> None:
    """Each probe doubles the wait, up to a bound; other users that meet with it in between change nothing."""
    standing = Standing()
    at_ns, waits = s(1), []
    for _ in range(7):
        standing.failed(Health.DOWN, "connection refused", at_ns)
        standing.failed(Health.DOWN, "connection refused", at_ns + 1)
        waits.append(standing.due_ns - at_ns)
        at_ns = standing.due_ns
    assert waits == [s(0.5), s(1), s(2), s(4), LONGEST_PROBE_NS, LONGEST_PROBE_NS, LONGEST_PROBE_NS]
    assert (standing.health, standing.since_ns, standing.remaining) == (Health.DOWN, s(1), None)
    standing.told(3, at_ns)
    assert (standing.health, standing.since_ns, standing.waiting) == (Health.UP, at_ns, 3)


def test_what_a_prompt_needs_is_its_base_model() -> None:
    """A LoRA on the same checkpoint needs the same server; without models each workflow is a need of its own."""
    assert models_of({"1": LOADER, "2": LORA}, "a") == models_of({"1": LOADER}, "b") == "sdxl.safetensors"
    assert models_of({"2": LORA}, "a") == "style.safetensors"
    assert models_of({"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}, "a") == "workflow a"
    assert models_of({"1": LOADER}, "a", {"1.ckpt_name": "other.ckpt"}) == "other.ckpt"


def test_models_may_vary_within_a_workload() -> None:
    """Then each prompt goes where its own model is."""
    assert varies_models({"1": LOADER}, ["1.ckpt_name"])
    assert not varies_models({"1": LOADER, "2": LORA}, ["2.strength_model"])


def test_processes_that_meet_models_in_another_order_agree() -> None:
    """A model nobody knew of has the same server for all of them."""
    models = [f"model-{number}" for number in range(20)]
    one, other = (Router("affinity", SERVERS) for _ in range(2))
    found = {model: one.choose(standings(0, 0, 0), model) for model in models}
    assert {model: other.choose(standings(0, 0, 0), model) for model in reversed(models)} == found


def test_the_models_of_a_choice_are_known_from_the_start() -> None:
    """Each value of an input that varies is a need of its own; a range of numbers is none."""
    inputs = {"1.ckpt_name": ("a.safetensors", "b.ckpt"), "3.seed": (1, 2)}
    assert set(needs_of({"1": LOADER}, "w", inputs)) == {"a.safetensors", "b.ckpt"}
    assert set(needs_of({"1": LOADER}, "w", {})) == {"sdxl.safetensors"}
