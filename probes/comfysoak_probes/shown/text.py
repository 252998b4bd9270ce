"""Lines of the live table: values in words, columns that fit a width, lines that fit a height. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from comfysoak_core.terminal import printable

GIB = 1024**3
UNKNOWN = "-"
PLAIN, DIM, BOLD, RED, YELLOW, GREEN = "", "dim", "bold", "bold red", "yellow", "green"
BETWEEN = "  "
BAR_CELLS = 8
LAST_CELLS = 32  # the last column may be cut, but not below this


@dataclass(frozen=True, slots=True)
class Span:
    """Some text in one style; what others have named is made harmless here."""

    text: str
    style: str = PLAIN

    @classmethod
    def of(cls, text: object, style: str = PLAIN) -> Span:
        """Of any value; None is a dash."""
        return cls(UNKNOWN if text is None else printable(str(text)), style)


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and how important it is: of those that do not fit, the ones with the highest rank go first."""

    spans: tuple[Span, ...]
    rank: int

    def within(self, width: int) -> Iterator[Span]:
        """Its spans, cut at `width` cells."""
        left = width
        for span in self.spans:
            cells = cell_len(span.text)
            if cells > left:
                yield Span(set_cell_size(span.text, max(0, left - 1)) + "…" if left else "", span.style)
                return
            left -= cells
            yield span


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the least important ones (highest rank) are left out where the width is too small."""

    title: str
    rank: int
    right: bool = True


def table(columns: Sequence[Column], rows: Sequence[tuple[int, Sequence[Span]]], width: int) -> list[Line]:
    """The title line and a line for each row (of a rank, with a cell for each column); empty columns are left out."""
    widths = [max((cell_len(cells[at].text) for _, cells in rows), default=0) for at in range(len(columns))]
    shown = [at for at, cells in enumerate(widths) if cells]
    widths = [max(cells, cell_len(column.title)) for cells, column in zip(widths, columns, strict=True)]
    while (
        len(shown) > 1
        and sum(widths[at] + len(BETWEEN) for at in shown[:-1]) + min(widths[shown[-1]], LAST_CELLS) > width
    ):
        shown.remove(max(shown, key=lambda at: columns[at].rank))
    titles = [Span(column.title, DIM) for column in columns]
    return [Line(tuple(_aligned(cells, columns, widths, shown)), rank) for rank, cells in [(0, titles), *rows]]


def _aligned(
    cells: Sequence[Span], columns: Sequence[Column], widths: Sequence[int], shown: Sequence[int]
) -> Iterator[Span]:
    for at in shown:
        span, space = cells[at], " " * max(0, widths[at] - cell_len(cells[at].text))
        last = at == shown[-1] and not columns[at].right
        text = f"{space}{span.text}" if columns[at].right else f"{span.text}{'' if last else space}"
        yield Span(text, span.style)
        if at != shown[-1]:
            yield Span(BETWEEN)


def packed(head: Span, items: Iterable[Span], width: int, ranks: tuple[int, int]) -> list[Line]:
    """A name and what there is to say of it, on as many lines as it takes; the first has another rank than the rest."""
    lines: list[list[Span]] = [[head]]
    used = cell_len(head.text)
    indent = " " * min(2 + len(head.text) - len(head.text.lstrip()), 8)
    for item in items:
        cells = cell_len(item.text) + len(BETWEEN)
        if used + cells > width and len(lines[-1]) > 1:
            lines.append([Span(indent), item])
            used = len(indent) + cells
        else:
            lines[-1] += [Span(BETWEEN), item]
            used += cells
    return [Line(tuple(spans), ranks[0] if at == 0 else ranks[1]) for at, spans in enumerate(lines)]


def fitted(lines: Sequence[Line], height: int) -> list[Line]:
    """The most important lines, in their order, and at the end how many there was no room for."""
    if len(lines) <= height:
        return list(lines)
    by_rank = sorted(range(len(lines)), key=lambda at: (lines[at].rank, at))
    kept = sorted(by_rank[: max(1, height - 1)])
    left_out = Span(f"… {len(lines) - len(kept)} lines more in a higher window", DIM)
    return [*(lines[at] for at in kept), Line((left_out,), 0)]


def gib(size: float | None) -> str:
    """Bytes as `1.00 GiB`."""
    return UNKNOWN if size is None else f"{size / GIB:.2f} GiB"


def share(ratio: float | None) -> str:
    """A ratio as a percentage."""
    return UNKNOWN if ratio is None else f"{ratio:.0%}"


def number(value: float | None) -> str:
    """A number without decimals."""
    return UNKNOWN if value is None else f"{value:.0f}"


def rate(bytes_per_s: float | None) -> str:
    """Bytes a second, as `1.2 MB/s`."""
    if bytes_per_s is None:
        return UNKNOWN
    for unit, size in (("GB/s", 1e9), ("MB/s", 1e6)):
        if bytes_per_s >= size:
            return f"{bytes_per_s / size:.1f} {unit}"
    return f"{bytes_per_s / 1e3:.0f} kB/s"


def duration(seconds: float) -> str:
    """As `12 s`, `3 min`, `2 h 05 min`, `4 d 3 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def bar(ratio: float | None) -> str:
    """How full something is, in eighths of a cell."""
    if ratio is None:
        return UNKNOWN
    eighths = round(min(max(ratio, 0.0), 1.0) * BAR_CELLS * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + " ▏▎▍▌▋▊▉"[part] * (part > 0)).ljust(BAR_CELLS, "░")


def heat(ratio: float | None, warm: float, hot: float) -> str:
    """The style of a value that is worth a look from `warm` and a problem from `hot`."""
    if ratio is None or math.isnan(ratio) or ratio < warm:
        return PLAIN
    return RED if ratio >= hot else YELLOW
