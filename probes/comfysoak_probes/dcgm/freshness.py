"""How often an exporter has news, learned from when its values change: a value that is repeated is no new sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from comfysoak_core.clock import NS_PER_S
from comfysoak_probes.dcgm.series import Reading

SERIES_WATCHED = 64
GAPS_KEPT = 8
GAPS_TO_TELL = 3  # of all series together: at 30 s known after a minute where three of them move
QUIET_TO_TELL_S = 5.0
POLLS_PER_INTERVAL = 5
IDLE_POLL_S = 1.0
COST_SHARE = 0.05  # of a core, at most, for an exporter with very many series
_ALWAYS_MOVE: Final = ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_POWER_USAGE")


@dataclass(slots=True)
class _Changes:
    """When one series of one GPU changed."""

    last_ns: int
    count: int = 0
    gaps_ns: list[int] = field(default_factory=list)

    def add(self, at_ns: int) -> None:
        self.gaps_ns = [*self.gaps_ns[-GAPS_KEPT + 1 :], at_ns - self.last_ns]
        self.count += 1
        self.last_ns = at_ns


@dataclass(slots=True)
class Freshness:
    """The interval of one exporter.

    Each series is looked at by itself: profiling series are refreshed at another moment than the others, so that the
    whole text changes twice in each interval. Between two changes of a series lie one or more whole intervals, since
    not every value moves at each refresh; the series that moves most often tells.
    """

    every_s: float  # how often it is asked at most
    interval_s: float | None = None
    _last: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    _series: dict[tuple[str, str], _Changes] = field(default_factory=dict)
    _changed_ns: int | None = None
    _moves: bool = False  # has a series that always moves on a real GPU

    def saw(self, at_ns: int, gpus: Mapping[str, Reading]) -> bool:
        """One scrape; True when anything differs from the one before."""
        values = {uuid: reading.values for uuid, reading in gpus.items()}
        if values == self._last and self._changed_ns is not None:
            return False
        for key in self._differing(values):
            self._note(key, at_ns)
        self._last, self._changed_ns = values, at_ns
        self._moves = any(name in one for one in values.values() for name in _ALWAYS_MOVE)
        self.interval_s = self._learned()
        return True

    def forget(self) -> None:
        """It was away: what lies between the values before and after is no interval."""
        self._last, self._changed_ns = {}, None
        for changes in self._series.values():
            changes.last_ns = 0

    def quiet_s(self, now_ns: int) -> float:
        """Seconds since anything changed."""
        return 0.0 if self._changed_ns is None else (now_ns - self._changed_ns) / NS_PER_S

    def at_least_s(self, now_ns: int) -> float | None:
        """Before the interval is known: how long nothing has changed of what always moves; None for a short time."""
        quiet_s = self.quiet_s(now_ns)
        return quiet_s if self.interval_s is None and self._moves and quiet_s >= QUIET_TO_TELL_S else None

    def poll_s(self, now_ns: int, cost_s: float) -> float:
        """Seconds to the next scrape: five in each interval; slower, too, the longer nothing changes."""
        wanted_s = self.quiet_s(now_ns) if self.interval_s is None else self.interval_s
        return max(self.every_s, min(wanted_s / POLLS_PER_INTERVAL, IDLE_POLL_S), cost_s / COST_SHARE)

    def _differing(self, values: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, str]]:
        for uuid, now in values.items():
            before = self._last.get(uuid)
            if before is not None and before != now:
                yield from ((uuid, name) for name, value in now.items() if before.get(name, value) != value)

    def _note(self, key: tuple[str, str], at_ns: int) -> None:
        changes = self._series.get(key)
        if changes is None:
            if len(self._series) >= SERIES_WATCHED:  # room for those of GPUs that are there now
                self._series = {known: one for known, one in self._series.items() if known[0] in self._last}
            if len(self._series) < SERIES_WATCHED:
                self._series[key] = _Changes(at_ns)
        elif changes.last_ns == 0:
            changes.last_ns = at_ns
        else:
            changes.add(at_ns)

    def _learned(self) -> float | None:
        known = [changes for changes in self._series.values() if changes.gaps_ns]
        if sum(len(changes.gaps_ns) for changes in known) < GAPS_TO_TELL:
            return None
        liveliest = max(known, key=lambda changes: (changes.count, -median(changes.gaps_ns)))
        usual = median(liveliest.gaps_ns)
        intervals = sum(max(1, round(gap / usual)) for gap in liveliest.gaps_ns)
        return sum(liveliest.gaps_ns) / intervals / NS_PER_S
