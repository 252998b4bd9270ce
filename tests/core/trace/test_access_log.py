"""When prompts came, by an access log: whatever its lines are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.trace.access_log import LogReading
from comfysoak_core.trace.happening import Happening, as_trace, spread

REQUEST = b'a - - [10/Oct/2026:13:55:36 +0000] "POST /prompt HTTP/1.1" 200 1\n'


@given(
    st.lists(
        st.binary(max_size=200)
        | st.text('{}[]":, /promtPOST0123HT.\\-', max_size=200).map(str.encode)
        | st.dictionaries(
            st.sampled_from(["time", "ts", "request", "method", "uri", "status", "message"]),
            st.none() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["POST", "/prompt"]),
        ).map(lambda fields: repr(fields).replace("'", '"').encode())
    )
)
def test_any_lines_are_counted(lines: list[bytes]) -> None:
    """Each line is a request or is counted as none, and a good one is found among them."""
    reading = LogReading(with_identities=True)
    found = list(reading.happenings([*lines, REQUEST]))
    assert reading.requests + reading.unread == sum(bool(line.strip()) for line in lines) + 1
    assert found[-1].time_s == 1_791_640_536
    assert reading.prompts == len(found)


def test_a_date_that_is_none_is_no_time() -> None:
    """Months and days that do not exist are told as a request without a time."""
    reading = LogReading(with_identities=False)
    odd = [REQUEST.replace(b"Oct", b"Okt"), REQUEST.replace(b"10/", b"77/"), REQUEST.replace(b"+0000", b"+9900")]
    assert list(reading.happenings(odd)) == []
    assert reading.without_time == 3


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60))
def test_what_is_spread_stays_in_its_second_and_in_order(given_: list[tuple[int, bool]]) -> None:
    """Prompts of one second are spread over it, nobody is lost, and the order of times stays."""
    happenings = [Happening(float(second), is_whole=True) for second, _ in sorted(given_)]
    found = [happening.time_s for happening in spread(happenings)]
    assert found == sorted(found)
    assert [int(time_s) for time_s in found] == [second for second, _ in sorted(given_)]


def test_a_trace_begins_at_zero() -> None:
    """Times count from the first prompt; what is not known is not written."""
    lines = list(as_trace([Happening(100.25, "a", {"1.x": 2}), Happening(99.0)], window=10))
    assert lines == [b'{"time":0.0}\n', b'{"time":1.25,"workflow":"a","inputs":{"1.x":2}}\n']


def test_digits_that_are_no_number() -> None:
    """A status in superscript is none."""
    reading = LogReading(with_identities=False)
    line = '{"method": "POST", "path": "/prompt", "status": "\u2074\u2070\u2070", "time": 1}'.encode()
    assert [found.time_s for found in reading.happenings([line])] == [1]
    assert (reading.prompts, reading.refused) == (1, 0)
