"""Input pictures on their way: who uploads, who waits, and what is sent after it."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.comfyui.server_clock import ServerClock
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Outcome, Prompt
from comfysoak_core.scenario.workload import Upload, Workload
from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.edge.http_answers import Answer
from comfysoak_load.prompts.order import Order
from comfysoak_load.prompts.prompt_run import PromptRun
from comfysoak_load.prompts.uploads import Delivered, Delivery
from comfysoak_load.prompts.workloads import PreparedWorkload

CLOCK = AnchoredClock(Anchor.take())
GRAPH: dict[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


class Server:
    """A target that stores under the name it is given, or answers as told; `posted` are the paths."""

    url = "http://s"

    def __init__(self, *answers: Answer | Failure) -> None:
        self.http = self
        self.address = SimpleNamespace(several=False)
        self.standing = SimpleNamespace(remaining=None)
        self.submitted = Answer(500, b"")
        self.server_clock = ServerClock()
        self.posted: list[str] = []
        self._answers = list(answers)

    def post(self, path: str, body: bytes, **_: Any) -> Answer | Failure:
        """Take a while, as a server does."""
        gevent.sleep(0.01)
        self.posted.append(path)
        name = body.partition(b'filename="')[2].partition(b'"')[0].decode()
        stored = Answer(200, json.dumps({"name": name, "subfolder": "comfysoak"}).encode())
        return self._answers.pop(0) if self._answers else stored

    def submit(self, _: bytes) -> Answer:
        """Answer as told."""
        self.posted.append("/prompt")
        return self.submitted


def prepared(each: Any) -> PreparedWorkload:
    return PreparedWorkload(Workload(name="w", graph=GRAPH, uploads=(Upload(input="1.image", each=each, size=(8, 8)),)))


def deliveries(workload: PreparedWorkload, count: int) -> list[Delivery]:
    drawn = workload.draw(Random(1))
    assert workload.uploads is not None
    return [workload.uploads.delivery(drawn, drawn.body("p", "c"), seed) for seed in range(count)]


def delivered(server: Any, found: list[Delivery]) -> list[Delivered | Failure]:
    """All at once."""
    sending = [gevent.spawn(one.send_to, server) for one in found]
    gevent.joinall(sending, timeout=10)
    return [one.value for one in sending]


def sizes(found: list[Delivered | Failure]) -> list[int | None]:
    return [one.size_bytes if isinstance(one, Delivered) else None for one in found]


def test_who_comes_while_a_picture_is_on_its_way_waits_for_it() -> None:
    """It is uploaded by the first, and only the first has bytes to show for it."""
    server, workload = Server(), prepared("once")
    assert [size == 0 for size in sizes(delivered(server, deliveries(workload, 4)))] == [False, True, True, True]
    assert server.posted == ["/upload/image"]


def test_who_waits_for_an_upload_that_fails_has_failed() -> None:
    """A hundred users of a server that never answers wait once, not one after the other; the next one tries anew."""
    server, workload = Server(Failure(FailureKind.TIMEOUT)), prepared("once")
    assert sizes(delivered(server, deliveries(workload, 4))) == [None] * 4
    assert len(server.posted) == 1
    assert sizes(delivered(server, deliveries(workload, 1))) != [None]


def test_a_picture_is_uploaded_anew_only_after_a_refusal_nobody_wanted() -> None:
    """The input folder may be a new one then; a mistake made on purpose says nothing of it."""
    server, workload = Server(), prepared("once")
    (one,) = deliveries(workload, 1)
    delivered(server, [one])
    one.release(server, refused=False)  # type: ignore[arg-type]  # a target as far as it matters
    assert sizes(delivered(server, deliveries(workload, 1))) == [0]
    one.release(server, refused=True)  # type: ignore[arg-type]  # as above
    assert sizes(delivered(server, deliveries(workload, 1))) != [0]


def test_a_prompt_that_was_made_and_never_sent_takes_no_name() -> None:
    """Or the files of a long soak would grow with those that were called off."""
    server, workload = Server(), prepared("prompt")
    deliveries(workload, 50)
    (one,) = deliveries(workload, 1)
    (found,) = delivered(server, [one])
    assert isinstance(found, Delivered)
    assert json.loads(found.variation)["1.image"].endswith("-0001.png")


@pytest.fixture
def process(tmp_path: Path) -> Any:
    """What a run asks of its load process."""
    journal = Journal(tmp_path, host="h", process="p", clock=CLOCK)
    return SimpleNamespace(clock=CLOCK, journal=journal, self_check=SimpleNamespace(left_late=lambda _: None))


def run_of(process: Any, server: Server, **fields: Any) -> tuple[PromptRun, PreparedWorkload]:
    workload = prepared("once")
    prompt = Prompt(id="p", server="s", worker="w", client_id="c", workflow="w", scheduled_ns=CLOCK.now_ns(), **fields)
    (pictures,) = deliveries(workload, 1)
    line: Any = SimpleNamespace(target=server, queue_remaining=None, listen=lambda _: None, unlisten=lambda _: None)
    order = Order(b"{}", workload.asked(workload.draw(Random(1))), pictures)
    return PromptRun(prompt, PromptLife(prompt, workload.shape), order, line, process), workload


def test_a_prompt_that_is_stopped_in_mid_upload_is_not_sent(process: Any) -> None:
    """Its row says that it was not sent: then it must not be, as nobody would take it back."""
    server = Server()
    run, _ = run_of(process, server)
    going = gevent.spawn(run.run)
    gevent.sleep(0)
    run.stop("over")
    assert going.get(timeout=10).outcome == Outcome.NOT_SENT
    assert server.posted == ["/upload/image"]


@pytest.mark.parametrize("expected", [Outcome.SUCCESS, Outcome.REJECTED])
def test_a_refusal_that_was_wanted_is_told_from_one_that_was_not(process: Any, expected: Outcome) -> None:
    """Only the latter makes the picture be uploaded again."""
    server = Server()
    refusal = {"error": {"type": "prompt_outputs_failed_validation", "message": "no"}, "node_errors": {}}
    server.submitted = Answer(400, json.dumps(refusal).encode())
    run, workload = run_of(process, server, expected=expected)
    assert run.run().outcome == Outcome.REJECTED
    again = sizes(delivered(server, deliveries(workload, 1)))
    assert (again == [0]) is (expected == Outcome.REJECTED)
