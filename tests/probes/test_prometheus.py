"""Prometheus text: what exporters write, and what is no such text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_probes.dcgm.prometheus import KNOWN_BYTES, SERIES_MOST, NotPrometheusError, Parser, Series, parse_series

TEXT = b"""# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",modelName="NVIDIA H100 80GB"} 97
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-2",modelName="NVIDIA H100 80GB"} 0

up 1
with_time{a="b"} 2.5e3 1732280000000
odd NaN
"""


def parser() -> Parser[Series]:
    """One that keeps every series as it is."""
    return Parser(lambda series: series)


def test_samples_have_name_labels_and_value() -> None:
    """Names, labels and values are read; comments and empty lines are not; a timestamp is no value."""
    scrape = parser().parse(TEXT)
    assert scrape.bad_lines == 0
    assert scrape.samples[0] == (
        Series("DCGM_FI_DEV_GPU_UTIL", {"gpu": "0", "UUID": "GPU-1", "modelName": "NVIDIA H100 80GB"}),
        97.0,
    )
    assert scrape.samples[2:4] == [(Series("up", {}), 1.0), (Series("with_time", {"a": "b"}), 2500.0)]
    assert math.isnan(scrape.samples[4][1])


def test_a_second_scrape_gives_the_same_series_with_new_values() -> None:
    """What is remembered of a series changes nothing but the cost."""
    scraping = parser()
    first = scraping.parse(TEXT)
    second = scraping.parse(TEXT.replace(b"} 97", b"} 12"))
    assert second.samples[0] == (first.samples[0][0], 12.0)
    assert [series for series, _ in first.samples] == [series for series, _ in second.samples]


def test_only_lines_with_the_prefix_are_read() -> None:
    """Twenty thousand series of others cost next to nothing, and are neither samples nor bad lines."""
    read: list[str] = []

    def recognise(series: Series) -> str:
        read.append(series.name)
        return series.name

    scraping = Parser(recognise, "DCGM_")
    scrape = scraping.parse(b"go_threads 9\n" + b'other{a="b"} 1\nno sample\n' * 9 + TEXT)
    assert scrape.samples == [("DCGM_FI_DEV_GPU_UTIL", 97.0), ("DCGM_FI_DEV_GPU_UTIL", 0.0)]
    assert scrape.bad_lines == 0
    assert len(read) == 2


def test_series_that_come_and_go_are_not_kept_for_ever() -> None:
    """Labels that change from scrape to scrape cost no more memory after days than after an hour."""
    scraping = parser()
    for _ in range(3):
        body = "".join(f'm{{n="{number}"}} {number}\n' for number in range(SERIES_MOST // 2 + 9))
        scrape = scraping.parse(body.encode())
        assert scrape.samples[-1] == (Series("m", {"n": str(SERIES_MOST // 2 + 8)}), float(SERIES_MOST // 2 + 8))
        scrape = scraping.parse(body.replace("m{", "k{").encode())
        assert len(scrape.samples) == SERIES_MOST // 2 + 9
    assert len(scraping._known) <= SERIES_MOST


def test_long_lines_that_come_and_go_are_not_kept_for_ever() -> None:
    """What is remembered is bounded in bytes, too."""
    scraping = parser()
    for number in range(2000):
        assert scraping.parse(f'm{{n="{"x" * 15_000}{number}"}} 1\n'.encode()).samples
    assert sum(len(head) for head in scraping._known) <= KNOWN_BYTES


def test_a_value_that_equals_its_time_is_no_part_of_the_series() -> None:
    """What is remembered is the series, whatever number stands last."""
    scraping = parser()
    scraping.parse(b"a 5 5\n")
    assert scraping.parse(b"a 5 1732280000000\n").samples == [(Series("a", {}), 5.0)]


def test_lines_may_end_as_on_windows() -> None:
    """A proxy's CRLF is no part of a value, at first and from memory."""
    scraping = parser()
    for _ in range(2):
        scrape = scraping.parse(TEXT.replace(b"\n", b"\r\n"))
        assert (scrape.bad_lines, scrape.samples[0][1], len(scrape.samples)) == (0, 97.0, 5)


def test_a_line_without_its_end_is_left_out() -> None:
    """A body that was cut off must not give `1` where the exporter wrote `12`."""
    assert parser().parse(b"a 1\nb 12").samples == [(Series("a", {}), 1.0)]


def test_lines_that_are_no_samples_are_counted() -> None:
    """A few broken lines among good ones cost these lines only."""
    scrape = parser().parse(b'good 1\nno value\nbad{x=1} 2\nalso{a="b" 3\n1name 4\nlast 5\n')
    assert [series.name for series, _ in scrape.samples] == ["good", "last"]
    assert scrape.bad_lines == 4


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!DOCTYPE html><html>...</html>\n", "web page"),
        (b'\n  {"status": "ok"}\n', "JSON"),
        (b"hello, this is no exporter\n", "none of 1 lines"),
        (b"a_metric 12", "no whole line"),
    ],
)
def test_what_is_no_such_text_is_told_apart(body: bytes, words: str) -> None:
    """A web page, JSON, prose or half a line raise, and say what came."""
    with pytest.raises(NotPrometheusError, match=words):
        parser().parse(body)


def test_escapes_in_labels_are_undone() -> None:
    """Quotes, backslashes and line ends in a label come out as they were, and a brace in one ends nothing."""
    assert parse_series(r'm{a="x\"y\\z\n",b="}"}') == Series("m", {"a": 'x"y\\z\n', "b": "}"})


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    """Whatever comes gives samples or the one error."""
    try:
        scrape = parser().parse(body)
    except NotPrometheusError:
        return
    assert scrape.bad_lines == 0 or scrape.samples


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(max_size=20), max_size=4))
def test_labels_survive_being_written_and_read(labels: dict[str, str]) -> None:
    """Labels of any text, escaped as the format says, are read as they were."""
    escaped = {k: v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for k, v in labels.items()}
    inside = ",".join(f'{name}="{value}"' for name, value in escaped.items())
    assert parse_series(f"m{{{inside}}}") == Series("m", labels)
