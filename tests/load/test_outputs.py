from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from PIL import Image

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.expected import ExpectedFiles
from comfysoak_core.comfyui.history import OutputFile, OutputText
from comfysoak_core.outputs.expected import Expected
from comfysoak_core.outputs.kinds import OutputKind
from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.edge.http_answers import Answer
from comfysoak_load.prompts.outputs import Asked, Checked, Given, check_outputs


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 60).convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


SMALL = png(32, 24)


def file(name: str, node_id: str = "9", *, animated: bool = False) -> OutputFile:
    return OutputFile(node_id, "images", name, "", "output", animated)


def target(**answers: Any) -> Any:
    """A server whose /view answers by the stem of the file's name; 404 for others. What was asked for is kept."""
    asked: list[str] = []

    def view(wanted: OutputFile) -> Any:
        asked.append(wanted.filename)
        answer = answers.get(wanted.filename.partition(".")[0])
        return Answer(404, b"") if answer is None else Answer(200, answer) if isinstance(answer, bytes) else answer

    return SimpleNamespace(view=view, asked=asked)


def checked(server: Any, given: Given, asked: Asked) -> Checked:
    found = check_outputs(server, given, asked)
    assert found is not None
    return found


def test_good_files_are_counted_and_weighed() -> None:
    """What is as it should be has no problem."""
    given = Given([file("a.png"), file("b.png")])
    found = checked(target(a=SMALL, b=SMALL), given, Asked({"9": ExpectedFiles(2, Expected(32, 24))}))
    assert (found.received, found.size_bytes, found.problem) == (2, 2 * len(SMALL), None)


def test_too_few_files_are_told_by_their_node() -> None:
    """A node that gives other than it saves is named."""
    found = checked(target(a=SMALL), Given([file("a.png")]), Asked({"9": ExpectedFiles(2)}))
    assert found.problem == "node 9 gave 1 files instead of 2"


def test_only_what_a_sampler_made_may_not_be_blank() -> None:
    """A graph with a sampler may put out a mask as well."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    server, asked = target(a=buffer.getvalue()), Asked({}, noise=frozenset({"9"}))
    assert checked(server, Given([file("a.png")]), asked).problem == "a.png: all of one colour"
    assert checked(server, Given([file("a.png", "8")]), asked).problem is None


def test_a_missing_file_outweighs_a_wrong_one() -> None:
    """Of several problems the first is told, and one of a file that is gone before all."""
    found = checked(target(a=b"rubbish"), Given([file("a.png"), file("b.png"), file("c.png")]), Asked({}))
    assert (found.problem, found.code) == ("b.png: HTTP 404", Code.OUTPUT_MISSING)


def test_only_the_kinds_that_are_wanted_are_fetched() -> None:
    """What the scenario does not ask for is not asked for."""
    server = target(a=SMALL)
    given = Given(
        [file("a.png"), file("b.webp", animated=True), file("c.mp4"), file("d.latent")], [OutputText("5", "")]
    )
    found = checked(server, given, Asked({}, kinds=frozenset({OutputKind.IMAGES})))
    assert server.asked == ["a.png"]
    assert (found.received, found.problem) == (1, None)


def test_a_text_that_says_nothing_is_a_wrong_output() -> None:
    """Texts are outputs too."""
    found = checked(target(), Given([], [OutputText("5", "a cat"), OutputText("6", "")]), Asked({}))
    assert (found.received, found.problem, found.code) == (2, "node 6: empty text", Code.OUTPUT_WRONG)


def test_pictures_that_come_as_messages_are_counted_and_checked() -> None:
    """SaveImageWebsocket leaves no file; its pictures are looked at all the same, unless the socket was away."""
    asked = Asked({"4": ExpectedFiles(2, Expected(32, 24), by_socket=True)})
    assert checked(target(), Given([], (), {"4": [SMALL, SMALL]}), asked).problem is None
    assert checked(target(), Given([], (), {"4": [SMALL]}), asked).problem == "node 4 gave 1 files instead of 2"
    assert checked(target(), Given([], (), {"4": [SMALL]}, whole=False), asked).problem is None
    wrong = checked(target(), Given([], (), {"4": [SMALL, SMALL[:-200]]}), asked)
    assert wrong.problem is not None
    assert wrong.problem.startswith("picture 2 of node 4.png: cut off")


def test_a_server_that_is_gone_is_told_as_gone() -> None:
    """A refused connection is about the server, not about the file."""
    refused = Failure(FailureKind.REFUSED, "connection refused")
    assert check_outputs(target(a=refused), Given([file("a.png")]), Asked({})) is None


def test_the_judge_has_the_last_word_on_good_files() -> None:
    """Whoever knows more of what a file should be is asked when nothing else is wrong with it."""
    asked = Asked({}, judge=lambda _file, data: ("differs", Code.OUTPUT_CORRUPT) if data == SMALL else None)
    found = checked(target(a=SMALL), Given([file("a.png")]), asked)
    assert (found.problem, found.code) == ("a.png: differs", Code.OUTPUT_CORRUPT)
    assert checked(target(a=b"rubbish"), Given([file("a.png")]), asked).code is Code.OUTPUT_WRONG


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pixels are being decoded at once, each time that changes."""
    now, seen = [0], []

    def apply(work: Any) -> Any:
        now[0] += 1
        seen.append(now[0])
        gevent.sleep(0)
        gevent.sleep(0)
        now[0] -= 1
        return work()

    monkeypatch.setattr(gevent, "get_hub", lambda: SimpleNamespace(threadpool=SimpleNamespace(apply=apply)))
    return seen


def test_huge_pictures_wait_for_one_another(at_once: list[int]) -> None:
    """What is decoded at once is bounded; what fits goes side by side, and in the end all were checked."""
    buffer = io.BytesIO()
    Image.new("1", (4096, 4096)).save(buffer, "PNG")  # a quarter of all there may be
    large = buffer.getvalue()
    work = [gevent.spawn(check_outputs, target(a=large), Given([file("a.png")]), Asked({})) for _ in range(6)]
    gevent.joinall(work, raise_error=True)
    assert all(one.value.problem is None for one in work)
    assert max(at_once) == 4
