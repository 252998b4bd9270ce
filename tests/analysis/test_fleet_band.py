"""The band of many lines in a chart: its quantiles are those of numpy, reckoned for all moments at once."""

from __future__ import annotations

import warnings

import numpy as np

from comfysoak_analysis.figures.fleet import over


def test_quantiles_over_lines_are_those_of_what_is_known_at_each_moment() -> None:
    """Gaps of single lines are left out, and where no line tells anything there is nothing."""
    drawn = np.random.default_rng(3)
    lines = drawn.normal(size=(7, 500))
    lines[drawn.random(lines.shape) < 0.4] = np.nan
    lines[:, 5] = np.nan
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's about the moment at which nothing is known
        expected = np.nanquantile(lines, shares, axis=0)
    np.testing.assert_array_equal(over(lines, shares), expected)
