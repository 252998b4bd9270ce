"""What a trace says, line by line."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.errors import Problem
from comfysoak_core.trace.lines import MAX_LINE_BYTES, TraceLine, bounded_lines, lines_of_trace


def read(content: bytes) -> list[TraceLine | Problem]:
    return list(lines_of_trace(bounded_lines(io.BytesIO(content)), "t"))


def told(content: bytes) -> list[tuple[float, str | None, object]]:
    found = read(content)
    assert all(isinstance(line, TraceLine) for line in found), found
    return [(line.time_s, line.workflow, line.inputs) for line in found if isinstance(line, TraceLine)]


def problem(content: bytes) -> Problem:
    (found,) = [line for line in read(content) if isinstance(line, Problem)]
    return found


@pytest.mark.parametrize(
    "content",
    [
        b'{"time": 1, "workflow": "a", "inputs": {"3.seed": 7}}\n\n{"time": 2.5}\n',
        b'\xef\xbb\xbf{"time": "1", "workflow": "a", "inputs": {"3.seed": 7}}\r\n{"time": 2.5, "inputs": null}',
        b'time,workflow,inputs\n1,a,"{""3.seed"": 7}"\n2.5,,\n',
        b'Time, workflow ,inputs,client\r\n1,a,"{""3.seed"":\n 7}",me\r\n\r\n2.5,,,\r\n',
    ],
)
def test_json_lines_and_csv_say_the_same(content: bytes) -> None:
    """Both forms hold time, workflow and inputs, with or without a byte order mark, blank lines and empty cells."""
    assert told(content) == [(1.0, "a", {"3.seed": 7}), (2.5, None, None)]


@pytest.mark.parametrize(
    ("first", "second", "apart_s"),
    [
        ("10", "12.5", 2.5),
        ("1795349154", "1795349156", 2),
        ("1795349154193", "1795349156193", 2),
        ("1795349154193000", "1795349156193000", 2),
        ("1795349154193000000", "1795349156193000000", 2),
        ("2026-11-22T10:15:00Z", "2026-11-22T12:15:02.5+02:00", 2.5),
        ("2026-11-22 10:15:00", "2026-11-22T10:15:02Z", 2),
    ],
)
def test_times(first: str, second: str, apart_s: float) -> None:
    """Seconds, seconds to nanoseconds since 1970, and dates; one without a zone is in UTC."""
    (one, *_), (other, *_) = told(f"time\n{first}\n{second}\n".encode())
    assert other - one == pytest.approx(apart_s, abs=1e-3)


@pytest.mark.parametrize(
    ("content", "where", "words"),
    [
        (b"", "t", "empty"),
        (b"\n \n", "t", "empty"),
        (b'{"time": 1}\n{"time": 2\n', "t:2", "line of JSON"),
        (b'{"time": 1}\n[1]\n', "t:2", "an object"),
        (b'[{"time": 1}]\n', "t:1", "an object"),
        (b'{"tim": 1}\n', "t:1", "unknown key 'tim'"),
        (b'{"workflow": "a"}\n', "t:1", "no time"),
        (b'{"time": true}\n', "t:1", "expected a time"),
        (b'{"time": "soon"}\n', "t:1", "expected a time"),
        (b'{"time": 1}\n{"time": "2026-11-22T10:15:00Z"}\n', "t:2", "expected a number"),
        (b'{"time": "2026-11-22T10:15:00Z"}\n{"time": 2}\n', "t:2", "expected a date"),
        (b'{"time": 1, "workflow": 3}\n', "t:1", "name of a workflow"),
        (b'{"time": 1, "inputs": [3]}\n', "t:1", "expected inputs"),
        (b'{"time": 1, "inputs": "' + b"x" * MAX_LINE_BYTES + b'"}\n{"time": 2}\n', "t:1", "longer than 1 MiB"),
        (b"when,workflow\n1,a\n", "t:1", "time,workflow,inputs"),
        (b"time,colour\n1,a\n", "t:1", "unknown column 'colour'"),
        (b"time,time\n1,1\n", "t:1", "twice"),
        (b"time,workflow\n1\n", "t:2", "2 cells"),
        (b"time,inputs\n1,{x\n", "t:2", "line of JSON"),
        (b'time,workflow\n1,"a\n2,b\n', "t:2", "CSV"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "t:1", "UTF-8"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(content: bytes, where: str, words: str) -> None:
    """Each mistake names its line and says what was expected."""
    found = problem(content)
    assert found.where == where
    assert words in found.what


def test_a_mistake_does_not_hide_what_follows() -> None:
    """After a broken line of JSON the next ones are read."""
    kinds = [type(line) for line in read(b'{"time": 1}\n{"x\n{"time": 2}\nx\n')]
    assert kinds == [TraceLine, Problem, TraceLine, Problem]


@given(st.binary(max_size=300) | st.text('{}[]",:time\n0123.workflinputs ', max_size=300).map(str.encode))
def test_any_bytes_are_prompts_or_problems(content: bytes) -> None:
    """Nothing but a prompt or a problem with a place comes of any bytes."""
    for found in read(content):
        assert isinstance(found, TraceLine) or found.where.startswith("t")
