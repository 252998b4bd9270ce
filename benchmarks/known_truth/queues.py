"""Prompts that wait for one another: latencies at servers that take one at a time, in order, by Lindley's recursion."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.statistics.series import Floats

SETTLING = 2_000  # prompts before the first that counts
_HEAVY = 1.0  # of the logarithm of heavy-tailed service times: 1 in 100 takes 6 times the mean


@dataclass(frozen=True, slots=True)
class Queue:
    """Service times of mean 1 s. `busy`: the share of the time (0: nobody waits). `day`: how far that swings in a run.

    `servers` take prompts strictly in turn. `heavy`: lognormal service times and not gamma ones (deviation 0.5 s).
    """

    busy: float
    servers: int = 1
    heavy: bool = False
    day: float = 0.0

    def latencies_s(self, drawn: np.random.Generator, size: int) -> Floats:
        """Of so many prompts, as they come."""
        each = -(-size // self.servers)
        services_s = self._services_s(drawn, (self.servers, each + SETTLING))
        if not self.busy:
            return services_s[:, SETTLING:].T.ravel()[:size]
        moments_s = np.cumsum(drawn.exponential(1.0, services_s.size) / self._rates(drawn, services_s.size))
        between_s = np.diff(moments_s.reshape(-1, self.servers).T, axis=1)
        return (waits_s(services_s, between_s) + services_s)[:, SETTLING:].T.ravel()[:size]

    def _rates(self, drawn: np.random.Generator, size: int) -> Floats:
        """Arrivals a second: one wave over what counts, from any hour on."""
        places = (np.arange(size) - SETTLING * self.servers) / (size - SETTLING * self.servers)
        rates: Floats = self.servers * (self.busy + self.day * np.sin(2 * np.pi * (places + drawn.random())))
        return rates

    def _services_s(self, drawn: np.random.Generator, shape: tuple[int, int]) -> Floats:
        return drawn.lognormal(-(_HEAVY**2) / 2, _HEAVY, shape) if self.heavy else drawn.gamma(4.0, 0.25, shape)


def waits_s(services_s: Floats, between_s: Floats) -> Floats:
    """How long each waits, of rows of prompts at a server each that come so long after one another."""
    steps = services_s[:, :-1] - between_s
    sums = np.concatenate((np.zeros((steps.shape[0], 1)), np.cumsum(steps, axis=1)), axis=1)
    return np.asarray(sums - np.minimum.accumulate(sums, axis=1))


@dataclass(frozen=True, slots=True)
class Played:
    """Prompts of a run: when each was due and done, and its workflow."""

    due_s: Floats
    done_s: Floats
    workflow: np.ndarray


def closed(
    drawn: np.random.Generator, size: int, users: int, workflows_s: Sequence[float], *, think_s: float, wander: float
) -> Played:
    """Users at one server, each with one prompt at a time and a pause after it; its speed wanders slowly."""
    speed = np.exp(wander * _remembered(drawn, size) + 0.05 * drawn.standard_normal(size))
    kinds = drawn.integers(0, len(workflows_s), size)
    ready, free_s = [(float(drawn.random() * think_s), user) for user in range(users)], 0.0
    heapq.heapify(ready)
    due_s, done_s = np.empty(size), np.empty(size)
    for place in range(size):
        due_s[place], user = heapq.heappop(ready)
        free_s = max(float(due_s[place]), free_s) + workflows_s[int(kinds[place])] * float(speed[place])
        done_s[place] = free_s
        heapq.heappush(ready, (free_s + float(drawn.exponential(think_s)), user))
    return Played(due_s, done_s, kinds)


def opened(drawn: np.random.Generator, size: int, busy: float, workflows_s: Sequence[float]) -> Played:
    """Prompts at random moments; the queue is empty at first."""
    kinds = drawn.integers(0, len(workflows_s), size)
    services_s = np.array(workflows_s)[kinds] * np.exp(0.1 * drawn.standard_normal(size))
    due_s = np.cumsum(drawn.exponential(float(np.mean(workflows_s)) / busy, size))
    latencies_s = waits_s(services_s[None], np.diff(due_s)[None])[0] + services_s
    return Played(due_s, due_s + latencies_s, kinds)


def _remembered(drawn: np.random.Generator, size: int) -> Floats:
    from scipy.signal import lfilter

    found: Floats = lfilter([math.sqrt(1 - 0.98**2)], [1, -0.98], drawn.standard_normal(size))
    return found
