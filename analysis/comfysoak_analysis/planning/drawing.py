"""The charts of the memo as SVG: no script, and they print. Colours are the page's own, light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from comfysoak_analysis.planning.answer import Answer
from comfysoak_analysis.planning.model import Point
from comfysoak_analysis.planning.words import change_text, needed_text, seconds
from comfysoak_analysis.text import bounded

WIDTH, HEIGHT = 560.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 14.0, 34.0
BEYOND_GOAL = 3.0  # what is so many times the goal is only shown to be above
RUNGS = 4  # at least
BAR, LABEL, NEEDED, TORNADO_WIDTH = 22.0, 270.0, 130.0, 1000.0


def latency_chart(answer: Answer) -> str:
    """The goal's statistic against the number of GPUs, with 90 % of the replicates and the goal."""
    points, limit_s = answer.points, answer.question.wish.limit_s
    top = min(max(max((point.high_s for point in points), default=limit_s), limit_s * 1.15), limit_s * BEYOND_GOAL)
    frame = _Frame(points, top)
    goal = (
        f'<line class="goal" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{frame.y(limit_s):.1f}" y2="{frame.y(limit_s):.1f}"/>'
    )
    goal += f'<text class="goal-word" x="{WIDTH - RIGHT}" y="{frame.y(limit_s) - 5:.1f}">goal {seconds(limit_s)}</text>'
    marks = "".join(_mark(frame, point, chosen=point.gpus == answer.gpus) for point in points)
    name = f"{answer.question.wish.time.replace('_', ' ')} {answer.question.wish.statistic} by number of GPUs"
    return _svg(name, frame.axes(seconds) + goal + marks)


def busy_chart(answer: Answer) -> str:
    """Utilisation against the number of GPUs."""
    frame = _Frame(answer.points, 1.0)
    bars = "".join(_bar(frame, point, chosen=point.gpus == answer.gpus) for point in answer.points)
    return _svg("utilisation by number of GPUs", frame.axes(lambda value: f"{value:.0%}") + bars)


class _Frame:
    """Where values stand."""

    def __init__(self, points: Sequence[Point], top: float) -> None:
        self._gpus = [point.gpus for point in points]
        self._rung = _rung(top)
        self.top = math.ceil(round(top / self._rung, 6)) * self._rung
        self.step = (WIDTH - LEFT - RIGHT) / max(len(points), 1)

    def x(self, gpus: int) -> float:
        return LEFT + (self._gpus.index(gpus) + 0.5) * self.step

    def y(self, value: float) -> float:
        share = min(max(value / self.top, 0.0), 1.0) if self.top > 0 else 0.0
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)

    def axes(self, show: Callable[[float], str]) -> str:
        return "".join(self._lines(show)) + "".join(
            f'<text class="under" x="{self.x(gpus):.1f}" y="{HEIGHT - BOTTOM + 18:.1f}">{gpus:,}</text>'
            for gpus in self._gpus
        )

    def _lines(self, show: Callable[[float], str]) -> Iterator[str]:
        for number in range(round(self.top / self._rung) + 1):
            value = self._rung * number
            y = self.y(value)
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="value" x="{LEFT - 7}" y="{y + 4:.1f}">{escape(show(value))}</text>'


def _rung(top: float) -> float:
    """A round step that makes at least `RUNGS` of `top`."""
    if top <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(top / RUNGS))
    return max(step for step in (size, 2 * size, 5 * size) if step <= top / RUNGS)


def _mark(frame: _Frame, point: Point, *, chosen: bool) -> str:
    """A dot in the range of the replicates; an arrow where the dot is above the chart."""
    x, shown = frame.x(point.gpus), "chosen" if chosen else "other"
    words = f"{point.gpus:,}: {seconds(point.value_s)} ({seconds(point.low_s)} to {seconds(point.high_s)})"
    band = (
        f'<line class="band {shown}" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(point.low_s):.1f}"'
        f' y2="{frame.y(point.high_s):.1f}"/>'
    )
    if point.value_s > frame.top:
        y = TOP + 8
        dot = (
            f'<path class="dot {shown}" d="M{x - 6:.1f},{y + 6:.1f} L{x:.1f},{y - 6:.1f} L{x + 6:.1f},{y + 6:.1f} Z"/>'
        )
    else:
        dot = f'<circle class="dot {shown}" cx="{x:.1f}" cy="{frame.y(point.value_s):.1f}" r="5.5"/>'
    return f"<g><title>{escape(words)}</title>{band}{dot}</g>"


def _bar(frame: _Frame, point: Point, *, chosen: bool) -> str:
    x, y, width = frame.x(point.gpus), frame.y(point.utilisation), min(frame.step * 0.6, 46.0)
    return (
        f"<g><title>{point.gpus:,}: {point.utilisation:.0%} busy</title>"
        f'<rect class="busy {"chosen" if chosen else "other"}"'
        f' x="{x - width / 2:.1f}" width="{width:.1f}" y="{y:.1f}" height="{HEIGHT - BOTTOM - y:.1f}" rx="3"/>'
        f'<text class="under" x="{x:.1f}" y="{y - 5:.1f}">{point.utilisation:.0%}</text></g>'
    )


def tornado(answer: Answer) -> str:
    """Each change as a bar to the right (slower) or left (faster), the largest above, and what is needed with it."""
    if not answer.swings:
        return ""
    largest = max(1e-9, *(min(abs(swing.change), BEYOND_GOAL) for swing in answer.swings))
    height, width = BAR * len(answer.swings) + 8, TORNADO_WIDTH - LABEL - NEEDED
    middle, half, rows = LABEL + width / 2, width / 2 - 60, []
    for number, swing in enumerate(answer.swings):
        y, length = 4 + BAR * number, half * min(abs(swing.change), BEYOND_GOAL) / largest
        slower = swing.change > 0
        x, words_x = (middle, middle + length + 6) if slower else (middle - length, middle - length - 6)
        anchor, look = ("start", "slower") if slower else ("end", "faster")
        needed = needed_text(swing) + ("" if swing.needed.gpus is None else " needed")
        rows.append(
            f'<text x="0" y="{y + 15:.1f}">{escape(bounded(swing.name, 44))}</text>'
            f'<rect class="{look}" x="{x:.1f}" y="{y + 3:.1f}" width="{max(length, 1):.1f}" height="{BAR - 6}" rx="2"/>'
            f'<text text-anchor="{anchor}" x="{words_x:.1f}" y="{y + 15:.1f}">{escape(change_text(swing))}</text>'
            f'<text text-anchor="end" x="{TORNADO_WIDTH}" y="{y + 15:.1f}">{needed}</text>'
        )
    axis = f'<line class="grid" x1="{middle:.1f}" x2="{middle:.1f}" y1="0" y2="{height:.1f}"/>'
    return _svg("what the answer hangs on", axis + "".join(rows), TORNADO_WIDTH, math.ceil(height))


def _svg(name: str, body: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(name)}">{body}</svg>'
