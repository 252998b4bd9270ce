"""The two channels: what is no disagreement on any recorded server, and what is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.core.comfyui.lives import FILE, accepted, begin, entry, run, s, success, tell, told
from tests.core.comfyui.recorded import CASES, Replay

from comfysoak_core.comfyui.history import HistoryEntry

FORGOTTEN = ("08c_second_socket_same_client_id", "v0.33/08c_second_socket_same_client_id")  # a zombie is told nothing
TWICE = "v0.33/33_prompt_id_forms"  # sends one id twice: the entry is that of the second prompt


def disagreements(told_files: list[dict[str, str]] | None = None, **entry_changes: Any) -> tuple[str, ...]:
    """Of a prompt whose socket told of these files, and whose history entry differs by so much."""
    one = accepted(fetch=False)
    shown = [FILE] if told_files is None else told_files
    tell(one, *begin(), *run("1", "2"), told("executed", node="3", output={"images": shown}), *success())
    found = entry()
    assert isinstance(found, HistoryEntry)
    one.history(replace(found, **entry_changes), s(3))
    return one.disagreements


@pytest.mark.parametrize("case", CASES)
def test_no_recorded_server_disagrees_with_itself(case: str) -> None:
    """But for sockets that the server has forgotten, and one id sent twice, all recordings tell the same twice."""
    found = {what for life in Replay(case).run().lives for what in life.disagreements}
    if case == TWICE:
        assert {what.partition(":")[0] for what in found} == {"execution_start", "the end", "outputs"}
        return
    assert found == ({"history had its end, its socket had not told of it"} if case in FORGOTTEN else set())


def test_channels_that_agree() -> None:
    """The same files, the same cached nodes, the same times."""
    assert disagreements() == ()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"cached": ("2", "1")}, "cached nodes: the socket told none, history 1, 2"),
        ({"started_ms": 999}, "execution_start: the socket told 1000 ms, history 999 ms"),
        ({"ended_ms": 3001}, "the end: the socket told 3000 ms, history 3001 ms"),
        ({"files": ()}, "outputs: only the socket told 3:output//a_00001_.png, only history none"),
    ],
)
def test_each_thing_told_differently_is_named(changes: dict[str, Any], what: str) -> None:
    """With both sides of it."""
    assert disagreements(**changes) == (what,)


def test_a_file_that_only_history_has_is_named() -> None:
    """And one that both have is not."""
    assert disagreements(told_files=[]) == ("outputs: only the socket told none, only history 3:output//a_00001_.png",)


def test_what_a_server_does_not_tell_is_no_disagreement() -> None:
    """Old servers have no timestamps."""
    assert disagreements(started_ms=None, ended_ms=None) == ()


def test_a_gap_between_two_sockets_is_no_disagreement() -> None:
    """What was missed there is missing on the socket's side, and nothing more."""
    one = accepted(fetch=False)
    tell(one, *begin())
    one.socket_lost(s(2))
    one.socket_reopened(s(3))
    one.history(entry(), s(3))
    assert one.disagreements == ()


def test_an_end_that_the_open_socket_never_told_of_is_one() -> None:
    """The socket was there all the while."""
    one = accepted(fetch=False)
    tell(one, *begin())
    one.tick(one.next.due_ns)
    one.history(entry(), s(13))
    assert one.disagreements == ("history had its end, its socket had not told of it",)
