"""Prompts are taken back by id, and only ours: what is asked of a server, and what not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.comfyui.answers import Damaged, Queue
from comfysoak_core.rows import Outcome
from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.edge.http_answers import Answer
from comfysoak_load.prompts.abort import abort
from comfysoak_load.prompts.withdraw import take_back
from tests.core.comfyui.lives import ID, accepted, begin, entry, run, tell, told

CLOCK = AnchoredClock(Anchor.take())
DONE = Answer(200, b"")
REFUSED = Failure(FailureKind.REFUSED)


class Server:
    """A target that answers as told, and remembers what it was asked, in order."""

    def __init__(self, queue: Any, answers: Sequence[Answer | Failure] = (DONE, DONE)) -> None:
        self.http = self
        self.asked: list[tuple[str, Any]] = []
        self.told: Callable[[], object] = lambda: None  # once it is asked to interrupt
        self._queue = queue
        self._answers = list(answers)

    def post(self, path: str, body: bytes, *, deadline_s: float) -> Answer | Failure:
        """Remember, and answer."""
        assert deadline_s > 0
        self.asked.append((path, json.loads(body)))
        if path == "/interrupt":
            self.told()
        return self._answers.pop(0)

    def queue(self, since_ns: int) -> Any:
        """The queue that was given."""
        assert since_ns <= CLOCK.now_ns()
        self.asked.append(("/queue", None))
        return self._queue


def taken_back(server: Server, *ids: str) -> Any:
    return take_back(server, ids, CLOCK)  # type: ignore[arg-type]  # it is asked for no more than this


def test_what_waits_is_deleted_and_nobody_interrupted() -> None:
    """Another client's prompt runs: servers that know no ids would end that one."""
    queue = Queue(("theirs",), (), 1)
    server = Server(queue)
    assert taken_back(server, "ours") == queue
    assert server.asked == [("/queue", {"delete": ["ours"]}), ("/queue", None)]


def test_what_runs_is_interrupted_after_a_look() -> None:
    """The queue is asked for after the deletion and right before the interrupt, which names the prompt."""
    queue = Queue(("b",), ("theirs",), 1)
    server = Server(queue)
    assert taken_back(server, "a", "b") == queue
    assert server.asked == [
        ("/queue", {"delete": ["a", "b"]}),
        ("/queue", None),
        ("/interrupt", {"prompt_id": "b"}),
    ]


@pytest.mark.parametrize("broken", [Answer(500, b""), Failure(FailureKind.TIMEOUT)])
def test_what_was_not_done_is_damaged(broken: Answer | Failure) -> None:
    """Whoever asked asks again."""
    assert isinstance(taken_back(Server(Queue((), (), None), [broken]), "ours"), Damaged)
    assert isinstance(taken_back(Server(Queue(("ours",), (), 1), [DONE, broken]), "ours"), Damaged)


def test_a_server_that_is_gone_is_gone() -> None:
    """Nothing to interrupt, and nothing to wait for."""
    assert taken_back(Server(REFUSED, [REFUSED]), "ours") == REFUSED


def test_what_a_run_takes_back_at_its_end_is_aborted() -> None:
    """The answers of one server are not waited for to hear from another that it was interrupted: nobody failed."""
    server = Server(Queue((ID,), (), 7))
    one = accepted()
    tell(one, *begin(), *run("1"))

    def interrupted() -> None:
        tell(one, told("execution_interrupted", node_id="2"), told("executing", node=None), at_s=6)
        one.history(entry("execution_interrupted", node_id="2"), CLOCK.now_ns())

    server.told = interrupted
    abort([SimpleNamespace(life=one, target=server, stop=lambda why: one.stop(CLOCK.now_ns(), why))], CLOCK, "over")  # type: ignore[list-item]  # a run as far as it matters
    assert [path for path, _ in server.asked] == ["/queue", "/queue", "/interrupt"]
    assert (one.row.outcome, one.row.error_message) == (Outcome.ABORTED, "over")
    assert one.row.cancel_asked_ns is not None
