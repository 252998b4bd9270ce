"""Where is the knee? Gunther's Universal Scalability Law: X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1))."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.statistics.series import Floats

FEWEST_LOADS = 4
BEYOND = 1.1  # the highest load must lie this far beyond the knee for it to be seen
LEAST_DROP = 0.05  # and throughput there be this much below its peak, as fitted and as measured


@dataclass(frozen=True, slots=True)
class Scalability:
    """The law fitted: throughput of one user, contention, and the price of keeping each other informed.

    `knee` is the load of the highest throughput, at least the lowest that was tried; None: not observed, the steps do
    not reach beyond it. `peak` is the
    throughput there; where there is no knee, the highest that was measured.
    """

    lambda_: float
    sigma: float
    kappa: float
    knee: float | None
    peak: float

    def at(self, loads: Floats) -> Floats:
        """Throughput at these loads by the law."""
        return _law(np.asarray(loads, dtype=float), self.lambda_, self.sigma, self.kappa)


def scalability(loads: Floats, throughputs: Floats) -> Scalability | None:
    """The law through steps of load (users, >= 1) and what they gave; None of fewer than 4 different loads.

    N / X(N) is linear in 1 / lambda, sigma / lambda and kappa / lambda: least squares of its relative errors, none of
    the three below 0 and sigma at most 1.
    """
    loads, throughputs = np.asarray(loads, dtype=float), np.asarray(throughputs, dtype=float)
    usable = np.isfinite(loads) & np.isfinite(throughputs) & (loads > 0) & (throughputs > 0)
    loads, throughputs = loads[usable], throughputs[usable]
    if np.unique(loads).size < FEWEST_LOADS:
        return None
    first, contention, crosstalk = _fitted(loads, throughputs)
    if first <= 0:
        return None
    return _found(1 / first, contention / first, crosstalk / first, loads, throughputs)


def _fitted(loads: Floats, throughputs: Floats) -> tuple[float, float, float]:
    from scipy.optimize import nnls  # a tenth of a second to import, and few runs have steps

    relative = (throughputs / loads)[:, None]
    columns = np.column_stack((np.ones_like(loads), loads - 1, loads * (loads - 1))) * relative
    (first, contention, crosstalk), _ = nnls(columns, np.ones(loads.size))
    if contention > first:  # sigma is 1: more than one user never get more done than one
        columns = np.column_stack((loads, loads * (loads - 1))) * relative
        (first, crosstalk), _ = nnls(columns, np.ones(loads.size))
        contention = first
    return float(first), float(contention), float(crosstalk)


def _found(lambda_: float, sigma: float, kappa: float, loads: Floats, throughputs: Floats) -> Scalability:
    law = Scalability(lambda_, sigma, kappa, None, float(throughputs.max()))
    if kappa <= 0 or sigma >= 1:
        return law
    knee = max(math.sqrt((1 - sigma) / kappa), float(loads.min()))
    peak, last = (float(one) for one in law.at(np.array([knee, loads.max()])))
    measured = float(throughputs[loads == loads.max()].mean())
    if loads.max() < BEYOND * knee or max(last / peak, measured / throughputs.max()) > 1 - LEAST_DROP:
        return law
    return Scalability(lambda_, sigma, kappa, knee, peak)


def _law(loads: Floats, lambda_: float, sigma: float, kappa: float) -> Floats:
    return lambda_ * loads / (1 + sigma * (loads - 1) + kappa * loads * (loads - 1))
