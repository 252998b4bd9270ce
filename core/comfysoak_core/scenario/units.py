"""Quantities as people write them, read and written without a model: `90s`, `24 GiB`, `30/min`, `1%`, in base units.

The types that scenarios are made of stand in `quantities`: their library costs 10 MB, which a probe does without.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

_SECONDS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "b": 1,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
}
_PER = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*([a-z]+)")


def parse_duration(text: str | float) -> float:
    """Seconds from `90s`, `12h`, `1h30m`, `250ms`; ValueError with an example for anything else."""
    if not isinstance(text, str):
        return _number(text, "a duration", "90s, 12h or 1h30m")
    seconds, position = 0.0, 0
    for part in _PART.finditer(text):
        if part.start() != position or part[2].lower() not in _SECONDS:
            break
        seconds += float(part[1]) * _SECONDS[part[2].lower()]
        position = part.end()
    if position == 0 or text[position:].strip():
        raise ValueError(_expected("a duration such as 90s, 12h or 1h30m", text))
    return seconds


def parse_size(text: str | float) -> int:
    """Bytes from `24 GiB` or `500 MB`; ValueError with an example for anything else."""
    if not isinstance(text, str):
        return round(_number(text, "a size", "24 GiB or 500 MB"))
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].lower() not in _BYTES:
        raise ValueError(_expected("a size such as 24 GiB or 500 MB", text))
    return round(float(match[1]) * _BYTES[match[2].lower()])


def parse_rate(text: str | float) -> float:
    """Events per second from `2/s` or `30/min`; ValueError with an example for anything else."""
    if not isinstance(text, str):
        return _number(text, "a rate", "2/s or 30/min")
    match = _RATE.fullmatch(text.strip().lower())
    if match is None or match[2] not in _PER:
        raise ValueError(_expected("a rate such as 2/s, 30/min or 100/h", text))
    return float(match[1]) / _PER[match[2]]


def parse_ratio(text: str | float) -> float:
    """A share between 0 and 1 from `1%` or `0.01`; ValueError with an example for anything else."""
    if isinstance(text, str) and text.strip().endswith("%"):
        try:
            ratio = float(text.strip()[:-1]) / 100
        except ValueError:
            raise ValueError(_expected("a share such as 1% or 0.01", text)) from None
    else:
        ratio = _number(text, "a share", "1% or 0.01")
    if not 0 <= ratio <= 1:
        raise ValueError(_expected("a share between 0% and 100%", str(text)))
    return ratio


def format_duration(seconds: float) -> str:
    """`seconds` as a person would write them: 250 ms, 1.5 s, 90 s, 2 min 30 s, 3 h 5 min."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def format_ratio(ratio: float) -> str:
    """`ratio` in percent: 44.9 %, of less than one percent two digits (0.0064 %)."""
    if 0 < ratio < 1e-6:
        return "< 0.0001 %"
    return f"{ratio * 100:.2g} %" if abs(ratio) < 0.01 else f"{ratio * 100:.3g} %"


def format_size(size_bytes: float) -> str:
    """`size_bytes` as a person would write them: 512 B, 1.5 MiB, 24 GiB."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"


def _number(value: object, what: str, example: str) -> float:
    if isinstance(value, bool):
        raise ValueError(_expected(f"{what} such as {example}", str(value).lower()))  # noqa: TRY004  # pydantic wants ValueError
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever came is refused below
    except (TypeError, ValueError):
        raise ValueError(_expected(f"{what} such as {example}", str(value))) from None
    if number < 0 or not math.isfinite(number):
        raise ValueError(_expected(f"{what} of zero or more, such as {example}", str(value)))
    return number


def _expected(what: str, came: str) -> str:
    return f"expected {what}, got {came!r}"


def _any_case(words: Iterable[str]) -> str:
    """A pattern for one of `words` in upper or lower case; JSON Schema has no flag for that."""
    return "|".join("".join(f"[{letter}{letter.upper()}]" for letter in word) for word in words)


_DECIMAL = r"[0-9]+(\.[0-9]+)?"
DURATION_PATTERN = rf"(\s*{_DECIMAL}\s*({_any_case(_SECONDS)}))+\s*"
SIZE_PATTERN = rf"\s*{_DECIMAL}\s*({_any_case(_BYTES)})\s*"
RATE_PATTERN = rf"\s*{_DECIMAL}\s*/\s*({_any_case(_PER)})\s*"
RATIO_PATTERN = r"\s*((100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)\s*%|0?\.[0-9]+|[01](\.0+)?)\s*"
