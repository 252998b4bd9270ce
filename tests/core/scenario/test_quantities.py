"""Quantities as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.scenario.quantities import (
    format_duration,
    format_ratio,
    format_size,
    parse_duration,
    parse_rate,
    parse_ratio,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("12h", 43200),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1.5 min", 90),
        ("2d", 172800),
        (3, 3),
        (0.5, 0.5),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    """A duration is read in any unit, or several."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "3 parsecs", "1h 3", "h1", "-3s", "1e3s", True, None, [], float("nan"), -1])
def test_no_durations(text: object) -> None:
    """What is no duration is refused with an example of one."""
    with pytest.raises(ValueError, match=r"expected a duration.* such as 90s"):
        parse_duration(text)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("text", "size"), [("24 GiB", 24 * 2**30), ("500 MB", 500_000_000), ("1.5KiB", 1536), (77, 77), ("12 b", 12)]
)
def test_sizes(text: str | float, size: int) -> None:
    """A size is read in binary and decimal units."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["24", "GiB", "24 bananas", "-1 GiB", "", None])
def test_no_sizes(text: object) -> None:
    """What is no size is refused with an example of one; a bare number in quotes names no unit."""
    with pytest.raises(ValueError, match=r"expected a size.* such as 24 GiB"):
        parse_size(text)  # type: ignore[arg-type]  # on purpose


def test_rates() -> None:
    """A rate counts per second whatever it is written in."""
    assert parse_rate("2/s") == 2
    assert parse_rate("30/min") == pytest.approx(0.5)
    assert parse_rate("360 / h") == pytest.approx(0.1)
    with pytest.raises(ValueError, match="expected a rate such as 2/s"):
        parse_rate("often")


def test_ratios() -> None:
    """A share is read as per cent or as a number between 0 and 1, and nothing else."""
    assert parse_ratio("1%") == pytest.approx(0.01)
    assert parse_ratio(0.25) == 0.25
    for wrong in ("101%", 1.5, "lots", "x%", None):
        with pytest.raises(ValueError, match="expected a share"):
            parse_ratio(wrong)  # type: ignore[arg-type]  # on purpose


@given(st.floats(min_value=0, max_value=1e9))
def test_every_duration_can_be_written(seconds: float) -> None:
    """Any duration has words for a reader, with a unit."""
    assert format_duration(seconds)[-1] in "snh"


@pytest.mark.parametrize(
    ("ratio", "written"),
    [(0, "0 %"), (0.0000642, "0.0064 %"), (0.0118, "1.18 %"), (0.4491, "44.9 %"), (1, "100 %"), (1e-12, "< 0.0001 %")],
)
def test_written_shares(ratio: float, written: str) -> None:
    """A share has the digits a reader needs, and never an exponent."""
    assert format_ratio(ratio) == written


def test_written_sizes() -> None:
    """A size is written in the unit that fits."""
    assert format_size(512) == "512 B"
    assert format_size(1536) == "1.5 KiB"
    assert format_size(24 * 2**30) == "24 GiB"
