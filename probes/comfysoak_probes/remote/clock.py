"""The clock of a probe on another machine: how far it is ahead, at which of its moments, and how surely.

Both clocks run steadily, but not equally fast: the distance drifts. It is measured by exchanges, the narrowest of each
ten seconds is kept, and a row is moved by the distance at its own time: between two measurements by the line through
both, beyond the last by the drift. A machine that slept stops its clock: that is a step, and no line leads across one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.distant_clock import Exchange

WINDOW_NS = 10 * NS_PER_S
POINTS_MOST = 60
DRIFT_PPM_MOST = 500  # what a clock that is led to the right time does at most
STEP_NS = 20 * NS_PER_MS  # more than a step of the coarsest clock there is, of older Windows
DRIFT_AFTER_NS = 20 * NS_PER_S
DRIFT_ERROR_PPM_MOST = 50.0
WIDE = 4  # a window is left out when its best exchange is so many times as wide as the narrowest there is
LEFT_OUT_NS_MOST = 60 * NS_PER_S
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Point:
    """At `probe_ns` of its own clock the probe was `ahead_ns` ahead of ours, give or take `error_ns`."""

    probe_ns: int
    ahead_ns: int
    error_ns: int

    @classmethod
    def of(cls, exchange: Exchange) -> Self:
        """What one exchange bounds."""
        middle_ns = (exchange.sent_ns + exchange.received_ns) // 2
        return cls(exchange.told_ns, exchange.told_ns - middle_ns, exchange.error_ns)


@dataclass(frozen=True, slots=True)
class _Before:
    """The clock until it stepped: its last moment then, and how far it was ahead."""

    probe_ns: int
    ahead_ns: int


class RemoteClock:
    """Moments of a probe's clock in ours; no I/O, and no clock of its own."""

    def __init__(self, points: Iterable[Point] = ()) -> None:
        self._points = sorted(points, key=lambda point: point.probe_ns)[-POINTS_MOST:]  # the last may still be bettered
        self._window_ns = self._points[-1].probe_ns if self._points else 0
        self._heard_ns = self._window_ns  # the last moment of the probe that was told
        self._before: _Before | None = None
        self.drift_ppm = self._find_drift() if self._points else None  # microseconds it gains in a second, once known

    @property
    def is_set(self) -> bool:
        """It was measured at least once."""
        return bool(self._points)

    @property
    def essence(self) -> tuple[Point, ...]:
        """Three points that say nearly the same as all: the first, the last but one, the last."""
        points = self._points
        return tuple(points) if len(points) < 4 else (points[0], points[-2], points[-1])

    def add(self, exchange: Exchange) -> int:
        """Take a measurement; by how much (ns) the probe's clock has stepped against ours, 0 when it did not."""
        point = Point.of(exchange)
        if not self._points:
            self._begin(point)
            return 0
        step_ns = self._step(point)
        if step_ns:
            self._before = _Before(self._heard_ns, self.ahead_ns(self._heard_ns))
            self._begin(point)
        elif point.probe_ns > self._heard_ns:
            self._heard_ns = point.probe_ns
            self._improve(point)
        return step_ns

    def ahead_ns(self, probe_ns: int) -> int:
        """How far the probe's clock was ahead at this moment of it."""
        if self._before is not None and probe_ns <= self._before.probe_ns:
            return self._before.ahead_ns
        points = self._points
        after = bisect_right(points, probe_ns, key=_moment)
        if 0 < after < len(points):
            left, right = points[after - 1], points[after]
            gained_ns = (right.ahead_ns - left.ahead_ns) * (probe_ns - left.probe_ns)
            return left.ahead_ns + gained_ns // (right.probe_ns - left.probe_ns)
        nearest = points[0] if after == 0 else points[-1]
        return nearest.ahead_ns + round((self.drift_ppm or 0.0) * (probe_ns - nearest.probe_ns) / _MILLION)

    def ours_ns(self, probe_ns: int) -> int:
        """A moment of the probe's clock in ours."""
        return probe_ns - self.ahead_ns(probe_ns)

    @property
    def error_ns(self) -> int:
        """How far off the last measurement may be."""
        return self._points[-1].error_ns

    def _find_drift(self) -> float | None:
        first, last = self._points[0], self._points[-1]
        span_ns = last.probe_ns - first.probe_ns
        if span_ns < DRIFT_AFTER_NS:
            return None
        if (first.error_ns + last.error_ns) * _MILLION > DRIFT_ERROR_PPM_MOST * span_ns:
            return None
        return _slope(self._points) * _MILLION

    def _begin(self, point: Point) -> None:
        self._points = [point]
        self.drift_ppm = None
        self._window_ns = self._heard_ns = point.probe_ns

    def _step(self, point: Point) -> int:
        """How far it is from where it should be, where neither drift nor the exchange itself explains that."""
        away_ns = point.ahead_ns - self.ahead_ns(point.probe_ns)
        since_ns = abs(point.probe_ns - self._points[-1].probe_ns)
        explained_ns = point.error_ns + self.error_ns + STEP_NS + since_ns * DRIFT_PPM_MOST // _MILLION
        return away_ns if abs(away_ns) > explained_ns else 0

    def _improve(self, point: Point) -> None:
        """Keep the narrowest of a window; the last point is that of the window which goes on."""
        last = self._points[-1]
        if point.probe_ns - self._window_ns < WINDOW_NS:
            if point.error_ns < last.error_ns:
                self._points[-1] = point
                self.drift_ppm = self._find_drift()
            return
        if len(self._points) > 1 and self._says_little(last):
            self._points.pop()
        self._window_ns = point.probe_ns
        self._points = [*self._points[-POINTS_MOST + 1 :], point]
        self.drift_ppm = self._find_drift()

    def _says_little(self, last: Point) -> bool:
        """All exchanges of its window were slow: the line through its neighbours is nearer."""
        narrowest_ns = min(point.error_ns for point in self._points)
        return (
            last.error_ns > WIDE * narrowest_ns and last.probe_ns - self._points[-2].probe_ns < LEFT_OUT_NS_MOST
        )  # fmt: skip


def _moment(point: Point) -> int:
    return point.probe_ns


def _slope(points: list[Point]) -> float:
    """Least squares through the points, each weighing by how narrow it is."""
    first = points[0]
    weighed = [
        (1.0 / max(point.error_ns, 1) ** 2, point.probe_ns - first.probe_ns, point.ahead_ns - first.ahead_ns)
        for point in points
    ]
    weight = sum(w for w, _, _ in weighed)
    mean_x = sum(w * x for w, x, _ in weighed) / weight
    mean_y = sum(w * y for w, _, y in weighed) / weight
    above = sum(w * (x - mean_x) * (y - mean_y) for w, x, y in weighed)
    below = sum(w * (x - mean_x) ** 2 for w, x, _ in weighed)
    return above / below
