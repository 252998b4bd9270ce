"""What a remote probe answers, read without trusting it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from comfysoak_core.recording.journal import columns
from comfysoak_core.rows import Host, Process, Row
from comfysoak_probes.remote.answers import NotAProbeError, parse_answer

HOST = columns(Host)


def head(**values: Any) -> bytes:
    told = {"format": 1, "ring": "r", "host": "gpu-2", "version": "1", "clock_ns": 9, "first": 1, "next": 3,
            "columns": {"host": HOST}}  # fmt: skip
    return orjson.dumps({**told, **values})


def answer(*lines: bytes, **values: Any) -> bytes:
    return b"\n".join([head(**values), *lines]) + b"\n"


def batch(*rows: Sequence[Any], table: str = "host", first: int = 1) -> bytes:
    return orjson.dumps([table, first, rows])


def host_row(**values: Any) -> list[Any]:
    known = {"at_ns": 5, "read_cost_ns": 1, "host": "gpu-2", **values}
    return [known.get(name) for name in HOST]


def rows_of(body: bytes, after: int = 0) -> list[Row]:
    return [row for found in parse_answer(body, after).batches for row in found.rows]


def test_rows_come_back_as_they_were() -> None:
    """Columns, types and numbers."""
    (found,) = parse_answer(answer(batch(host_row(cpu_ratio=0.5), host_row(at_ns=6))), 0).batches
    assert found.rows == (Host(at_ns=5, read_cost_ns=1, host="gpu-2", cpu_ratio=0.5),
                          Host(at_ns=6, read_cost_ns=1, host="gpu-2"))  # fmt: skip
    assert (found.first, found.last, found.bad) == (1, 2, 0)


def test_rows_of_another_version_are_matched_by_name() -> None:
    """Another order, a column we do not know, one it does not know: left out, and None."""
    names = ["unheard_of", "host", "cpu_ratio", "read_cost_ns", "at_ns"]
    body = answer(batch([[1], "gpu-2", 1, 2, 5]), columns={"host": names})
    assert rows_of(body) == [Host(at_ns=5, read_cost_ns=2, host="gpu-2", cpu_ratio=1)]


def test_a_table_we_do_not_know_is_named_and_skipped() -> None:
    """Also prompts, of which a probe has none, and a table that lacks what every row needs."""
    lines = (batch([1], table="new"), batch([1], table="prompts", first=2), batch(host_row(), first=3))
    found = parse_answer(answer(*lines), 0).batches
    assert [each.unknown_table for each in found] == ["new", "prompts", None]
    assert len(found[2].rows) == 1
    assert parse_answer(answer(batch([5]), columns={"host": ["at_ns"]}), 0).batches[0].unknown_table == "host"


def test_what_was_had_before_is_not_had_again() -> None:
    """A batch of which a part is known gives the rest."""
    body = answer(batch(host_row(at_ns=1), host_row(at_ns=2), host_row(at_ns=3), first=10))
    assert [row.at_ns for row in rows_of(body, after=11)] == [3]  # type: ignore[attr-defined]  # hosts
    assert rows_of(body, after=12) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"at_ns": "now"}, {"at_ns": None}, {"at_ns": 1.5}, {"at_ns": True}, {"at_ns": 2**63}, {"host": 7},
        {"host": None}, {"host": "x" * 5_000}, {"cpu_ratio": "much"}, {"cpu_ratio": []}, {"cpu_count": 0.5},
        {"missing": {}},
    ],
)  # fmt: skip
def test_a_row_with_a_wrong_value_is_left_out_and_counted(wrong: dict[str, Any]) -> None:
    """The others of its batch are there."""
    (found,) = parse_answer(answer(batch(host_row(**wrong), host_row())), 0).batches
    assert (len(found.rows), found.bad) == (1, 1)


@pytest.mark.parametrize("row", [None, 7, "row", {}, [], [1] * 100])
def test_a_row_that_is_none_is_left_out(row: object) -> None:
    """Not a list, or one of another length."""
    assert parse_answer(answer(orjson.dumps(["host", 1, [row]])), 0).batches[0].bad == 1


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"7", b'["host",1]', b'["host","1",[[]]]', b'["host",1,{}]',
                                  b'[["host"],1,[[]]]', b'["host",1,[[5,'])  # fmt: skip
def test_what_follows_a_broken_line_is_left_for_the_next_time(line: bytes) -> None:
    """Batches before it count."""
    found = parse_answer(answer(batch(host_row()), line, batch(host_row(), first=2)), 0).batches
    assert len(found) == 1


@pytest.mark.parametrize("body", [
    b"", b"<html>", b"[]", b"7", b"null", b'{"a": 1}', head(format=2), head(format="x" * 10_000), head(ring=7),
    head(ring=""), head(host=None), head(clock_ns=-1), head(clock_ns=1.5), head(next="x"), head(first=2**63),
    head(next=True), b"\x00\xff",
])  # fmt: skip
def test_what_is_no_probe_is_one_short_sentence(body: bytes) -> None:
    """No exception but that one, and no text of any length."""
    with pytest.raises(NotAProbeError) as told:
        parse_answer(body, 0)
    assert 0 < len(str(told.value)) < 200


@pytest.mark.parametrize("columns_", [None, [], {"host": 7}, {"host": [None, 7]}, {"host": {}}])
def test_columns_that_are_none_give_no_rows(columns_: object) -> None:
    """Whatever stands there."""
    assert rows_of(answer(batch(host_row()), columns=columns_)) == []


def test_every_table_of_a_probe_can_be_read() -> None:
    """Each column type there is has a check; a row of each table goes through and back."""
    from comfysoak_probes.remote.answers import ROW_TYPES, RowReader

    for table, row_type in ROW_TYPES.items():
        assert RowReader.of(table, list(columns(row_type))) is not None
    process = Process(at_ns=1, read_cost_ns=1, host="h", pid=1, role="server", started_ns=3)
    body = answer(
        batch([getattr(process, name) for name in columns(Process)], table="processes"),
        columns={"processes": columns(Process)},
    )
    assert rows_of(body) == [process]
