"""One request to a gateway ends in exactly one outcome, named after its cause, whatever the gateway says of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.gateway.recorded import DEADLINE_NS, START_NS, a_life, document, ended, generations

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.gateway.api import OPEN_WEBUI_OLD, OPENAI
from comfysoak_core.gateway.life import Checked, GatewayLife, Need, Unanswered
from comfysoak_core.gateway.sighting import Sighting, Whereabouts
from comfysoak_core.gateway.traces import Ledger, Trace, parse_history_page
from comfysoak_core.rows import Outcome, Prompt

SERVER = "http://gpu-1:8188"


def history_of(name: str) -> tuple[Trace, ...]:
    """What ComfyUI's /history said in a recording."""
    bodies = [
        event["body"]
        for event in document(name)["upstream"]
        if event["what"] == "response" and isinstance(event["body"], dict) and "prompt_id" not in event["body"]
    ]
    traces = [parse_history_page(200, json.dumps(body).encode()) for body in bodies]
    return tuple(trace for found in traces if isinstance(found, tuple) for trace in found)


def answered(name: str, index: int = 0, **options: Any) -> GatewayLife:
    """A life that got the recorded answer."""
    request, status, body = generations(name)[index]
    wanted = request.get("n") if isinstance(request.get("n"), int) else 1
    life = a_life(max(wanted or 1, 1), **options)
    life.answered(status, body, START_NS + NS_PER_S)
    return life


@pytest.mark.parametrize("name", ["ok-generate", "ok-n3-size", "ok-slow-node", "v0335-ok-generate"])
def test_pictures_that_are_fetched_and_right_are_a_success(name: str) -> None:
    """200, as many as were asked for, each a picture."""
    row = ended(answered(name))
    assert (row.outcome, row.code, row.outputs_ok) == (Outcome.SUCCESS, None, True)
    assert row.end_received_ns == START_NS + NS_PER_S


@pytest.mark.parametrize(
    "name", ["silent-execution-error", "silent-model-load-error", "silent-other-output-class", "silent-interrupted",
             "v0335-silent-execution-error"],
)  # fmt: skip
def test_an_empty_list_is_a_failure(name: str) -> None:
    """200 with [] is no success, whoever says so."""
    row = ended(answered(name))
    assert (row.outcome, row.code) == (Outcome.FAILED, Code.GATEWAY_EMPTY)
    assert row.error_message == "0 pictures instead of 1"


@pytest.mark.parametrize(
    ("name", "outcome", "code", "words"),
    [
        ("silent-execution-error", Outcome.FAILED, Code.NODE_ERROR, "outside the output folder"),
        ("silent-interrupted", Outcome.INTERRUPTED, Code.INTERRUPT_MISFIRE, ""),
        ("silent-other-output-class", Outcome.FAILED, Code.GATEWAY_EMPTY, "takes those of SaveImage"),
        ("v0335-silent-execution-error", Outcome.FAILED, Code.NODE_ERROR, "outside the output folder"),
    ],
)
def test_comfyui_knows_the_cause_of_an_empty_list(name: str, outcome: Outcome, code: Code, words: str) -> None:
    """What its history says of the prompt is the outcome, and names the node."""
    ledger, traces = Ledger(), history_of(name)
    ledger.note(traces, START_NS + 1)
    trace = ledger.take(traces, generations(name)[0][0]["prompt"], START_NS, succeeded=False)
    assert trace is not None
    row = ended(answered(name, watched=True), sighting=Sighting(Whereabouts.ENDED, SERVER, trace))
    assert (row.outcome, row.code) == (outcome, code)
    assert words in (row.error_message or "")
    assert (row.node_id is not None) is (code is not Code.GATEWAY_EMPTY)
    assert row.started_server_ns is not None


def test_old_gateways_give_each_picture_twice() -> None:
    """Four pictures where two output nodes save one each: told, unless the workload expects four."""
    row = ended(answered("v0335-silent-duplicates", api=OPEN_WEBUI_OLD))
    assert (row.outcome, row.code) == (Outcome.FAILED, Code.OUTPUT_WRONG)
    assert row.error_message == "4 pictures instead of 1"
    life = a_life(4)
    life.answered(*generations("v0335-silent-duplicates")[0][1:], START_NS)
    assert ended(life).outcome == Outcome.SUCCESS


@pytest.mark.parametrize(
    ("name", "index", "outcome", "code", "words"),
    [
        ("fail-auth", 0, Outcome.FAILED, Code.SUBMIT_ERROR, "no token"),
        ("fail-auth", 1, Outcome.FAILED, Code.SUBMIT_ERROR, "expired or the token is invalid"),
        ("v0335-fail-auth", 0, Outcome.FAILED, Code.SUBMIT_ERROR, "Not authenticated"),
        ("fail-generation-disabled", 0, Outcome.FAILED, Code.SUBMIT_ERROR, "switched off"),
        ("fail-payloads", 0, Outcome.REJECTED, Code.VALIDATION_REJECTED, "body.prompt: Field required"),
        ("fail-payloads", 1, Outcome.REJECTED, Code.VALIDATION_REJECTED, "valid integer"),
        ("fail-payloads", 2, Outcome.FAILED, Code.SUBMIT_ERROR, "Internal Server Error"),
        ("fail-comfyui-down", 0, Outcome.FAILED, Code.SUBMIT_ERROR, "Something went wrong"),
    ],
)
def test_every_refusal_is_named(name: str, index: int, outcome: Outcome, code: Code, words: str) -> None:
    """Status and words of the gateway, and what the status means."""
    row = ended(answered(name, index))
    assert (row.outcome, row.code) == (outcome, code)
    assert words in (row.error_message or "")
    assert row.error_type == f"HTTP {row.http_status}"
    assert row.accepted_ns is None


@pytest.mark.parametrize(
    ("sighting", "outcome", "code", "words"),
    [
        (Sighting(down=(SERVER,)), Outcome.FAILED, Code.SERVER_DOWN, "refuses connections"),
        (Sighting(silent=(SERVER,)), Outcome.FAILED, Code.SUBMIT_ERROR, "does not answer"),
        (Sighting(), Outcome.FAILED, Code.SUBMIT_ERROR, "ComfyUI does not know it"),
        (Sighting(Whereabouts.RUNS, SERVER), Outcome.FAILED, Code.SUBMIT_ERROR, "runs in http://gpu-1:8188 all the"),
        (Sighting(Whereabouts.GONE, SERVER), Outcome.FAILED, Code.SUBMIT_ERROR, "taken out of the queue"),
        (Sighting(Whereabouts.ENDED, SERVER), Outcome.FAILED, Code.OUTPUT_MISSING, "did not hand them over"),
    ],
)
def test_a_400_without_a_cause_gets_one_from_comfyui(
    sighting: Sighting, outcome: Outcome, code: Code, words: str
) -> None:
    """`Something went wrong :/` is explained by where the prompt is."""
    row = ended(answered("fail-ws-closed-midrun", watched=True), sighting=sighting)
    assert (row.outcome, row.code) == (outcome, code)
    assert words in (row.error_message or "")


def silent(*, has_health: bool = True, watched: bool = False) -> GatewayLife:
    """A life whose deadline has passed."""
    life = a_life(has_health=has_health, watched=watched)
    life.unanswered(Unanswered.TIMEOUT, "no answer in time", DEADLINE_NS)
    return life


@pytest.mark.parametrize(
    ("has_health", "is_well", "code"),
    [(True, True, Code.GATEWAY_HANG), (True, False, Code.DEADLINE), (True, None, Code.DEADLINE),
     (False, None, Code.DEADLINE)],
)  # fmt: skip
def test_no_answer_is_a_hang_only_where_the_gateway_is_well(has_health: bool, is_well: bool | None, code: Code) -> None:
    """Health fine and no answer: a hang; anything less is a deadline that has passed."""
    row = ended(silent(has_health=has_health), is_well=is_well)
    assert (row.outcome, row.code) == (Outcome.TIMEOUT, code)
    assert "no answer within 60 s" in (row.error_message or "")
    assert is_well is False or "work on" in (row.error_message or "")


def test_a_gateway_that_has_gone_is_down() -> None:
    """Its health route refuses connections: it went away with the request in it."""
    life = silent()
    life.gone("connection refused", DEADLINE_NS)
    assert (life.row.outcome, life.row.code) == (Outcome.LOST, Code.SERVER_DOWN)


def _ended_at(moment_ns: int) -> Trace:
    (trace,) = history_of("ok-generate")
    assert trace.entry is not None
    messages = [["execution_success", {"timestamp": moment_ns // NS_PER_MS}]]
    page = {"a": {"prompt": [1, "a", trace.graph], "outputs": {}, "status": {"messages": messages}}}
    found = parse_history_page(200, json.dumps(page).encode())
    assert isinstance(found, tuple)
    return found[0]


@pytest.mark.parametrize(
    ("sighting", "outcome", "code", "words"),
    [
        (Sighting(Whereabouts.WAITS, SERVER), Outcome.TIMEOUT, Code.DEADLINE, "waits in http://gpu-1:8188"),
        (Sighting(Whereabouts.RUNS, SERVER), Outcome.TIMEOUT, Code.DEADLINE, "work on"),
        (Sighting(Whereabouts.GONE, SERVER), Outcome.VANISHED, Code.PROMPT_VANISHED, "taken out of the queue"),
        (Sighting(Whereabouts.ENDED, SERVER, _ended_at(START_NS)), Outcome.TIMEOUT, Code.GATEWAY_HANG, "long before"),
        (Sighting(Whereabouts.ENDED, SERVER, _ended_at(DEADLINE_NS - NS_PER_S)), Outcome.TIMEOUT, Code.DEADLINE,
         "just before"),
        (Sighting(down=(SERVER,)), Outcome.TIMEOUT, Code.SERVER_DOWN, "refuses connections"),
        (Sighting(silent=(SERVER,)), Outcome.TIMEOUT, Code.LOOP_BLOCKED, "does not answer either"),
        (Sighting(), Outcome.TIMEOUT, Code.GATEWAY_HANG, "does not know the prompt"),
    ],
)  # fmt: skip
def test_comfyui_knows_why_there_is_no_answer(sighting: Sighting, outcome: Outcome, code: Code, words: str) -> None:
    """A full queue is no hang, and a prompt that somebody deleted is neither."""
    row = ended(silent(watched=True), sighting=sighting)
    assert (row.outcome, row.code) == (outcome, code)
    assert words in (row.error_message or "")


@pytest.mark.parametrize("stamp_ms", [-1, 0, 2**43, 2**62])
def test_times_that_no_clock_shows_are_none(stamp_ms: int) -> None:
    """A server may stamp what no column holds."""
    sighting = Sighting(Whereabouts.ENDED, SERVER, _ended_at(stamp_ms * NS_PER_MS))
    assert ended(silent(watched=True), sighting=sighting).ended_server_ns is None


def test_pictures_of_a_prompt_that_goes_on_are_not_its_pictures() -> None:
    """Asked twice, a second apart; if its prompt is still in the queue then, they are of something else."""
    life = answered("ok-generate", watched=True)
    life.checked(Checked(1, 100), START_NS)
    life.sighted(Sighting(Whereabouts.RUNS, SERVER), START_NS)
    assert (life.need, life.due_ns) == (Need.ASK_COMFYUI, START_NS + NS_PER_S)
    life.sighted(Sighting(Whereabouts.RUNS, SERVER), START_NS + NS_PER_S)
    assert (life.row.outcome, life.row.code) == (Outcome.FAILED, Code.OUTPUT_WRONG)


def test_a_prompt_from_the_cache_is_no_success() -> None:
    """The second of two equal requests did no work, as ComfyUI's history shows."""
    first, second = history_of("ok-repeat-is-cached")[:2]
    for trace, outcome in ((first, Outcome.SUCCESS), (second, Outcome.CACHED)):
        row = ended(answered("ok-repeat-is-cached", watched=True), sighting=Sighting(Whereabouts.ENDED, SERVER, trace))
        assert row.outcome == outcome


def test_a_picture_that_is_wrong_or_missing_makes_it_a_failure() -> None:
    """What the fetch found is the code, and its words the message."""
    problem = Checked(0, 0, "picture 1 of 1: None: HTTP 404", Code.OUTPUT_MISSING)
    row = ended(answered("v0335-silent-view-404"), problem)
    assert (row.outcome, row.code, row.outputs_ok) == (Outcome.FAILED, Code.OUTPUT_MISSING, False)


def test_openai_gives_pictures_in_the_answer_and_errors_with_a_status() -> None:
    """data[].b64_json or data[].url; an invalid request is rejected, too many are told as that."""
    data = [{"b64_json": base64.b64encode(b"picture").decode()}, {"url": "https://cdn/1.png"}]
    life = a_life(2, api=OPENAI, has_health=False)
    life.answered(200, json.dumps({"created": 1, "data": data}).encode(), START_NS)
    assert ended(life).outcome == Outcome.SUCCESS
    stub = document("openai-shape")["upstream_stub"]
    for index, outcome, code in (
        (1, Outcome.REJECTED, Code.VALIDATION_REJECTED),
        (2, Outcome.FAILED, Code.SUBMIT_ERROR),
    ):
        life = a_life(api=OPENAI)
        answer = stub[index]["response"]
        life.answered(answer["status"], json.dumps(answer["body"]).encode(), START_NS)
        row = ended(life)
        assert (row.outcome, row.code) == (outcome, code)
        assert row.error_type == stub[index]["response"]["body"]["error"]["type"]


def test_a_request_that_is_open_when_the_run_ends_is_aborted() -> None:
    """And it is said that those behind it work on."""
    life = a_life()
    life.stop(START_NS + 1)
    assert (life.row.outcome, life.row.error_message) == (
        Outcome.ABORTED, "the run ended; gateway and ComfyUI work on"
    )  # fmt: skip


_SIGHTINGS = st.sampled_from(
    [Sighting(), Sighting(down=(SERVER,)), *(Sighting(place, SERVER) for place in Whereabouts)]
)
_STEPS = st.one_of(
    st.tuples(st.just("answered"), st.integers(100, 599), st.one_of(st.binary(max_size=200), st.just(b"[]"))),
    st.tuples(st.just("unanswered"), st.sampled_from(Unanswered)),
    st.tuples(st.just("health"), st.sampled_from([True, False, None])),
    st.tuples(st.just("gone")),
    st.tuples(st.just("checked"), st.sampled_from([Checked(1, 1), Checked(0, 0, "x", Code.OUTPUT_WRONG)])),
    st.tuples(st.just("sighted"), _SIGHTINGS),
    st.tuples(st.just("stop")),
)


@given(st.lists(_STEPS, max_size=8), st.booleans(), st.booleans())
def test_any_sequence_of_events_ends_in_one_outcome(steps: list[Any], watched: bool, fetch: bool) -> None:
    """Whatever comes in whatever order: one outcome, which nothing changes any more."""
    life = a_life(watched=watched, fetch=fetch)
    rows: list[Prompt] = []
    for name, *values in steps:
        if name in {"unanswered", "gone"}:
            values.append("words")
        getattr(life, name)(*values, START_NS)
        if life.need is Need.DONE:
            rows.append(life.row)
    life.stop(DEADLINE_NS)
    assert life.row.outcome is not None
    assert all(row.outcome == life.row.outcome for row in rows)


@pytest.mark.parametrize("item", [{}, {"url": None}, {"b64_json": "%"}, {"url": "/cache/image/generations/None"}])
def test_what_shows_by_itself_that_it_is_no_picture_need_not_be_fetched(item: dict[str, Any]) -> None:
    """Where only a share of the answers is looked at, the rest is no success for that."""
    life = a_life(2, fetch=False)
    life.answered(200, json.dumps([{"url": "/a.png"}, item]).encode(), START_NS + NS_PER_S)
    row = ended(life)
    assert (row.outcome, row.code) == (Outcome.FAILED, Code.OUTPUT_MISSING)
    assert row.error_message is not None
    assert row.error_message.startswith("picture 2 of 2: ")
