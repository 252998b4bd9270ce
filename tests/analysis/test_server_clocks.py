"""Moments of a server's clock on ours."""

from __future__ import annotations

import pandas as pd
import pytest

from comfysoak_analysis.server_clocks import on_our_clock
from comfysoak_core.comfyui.server_clock import DRIFT_MOST


def test_a_moment_far_from_a_reading_is_less_certain() -> None:
    """Between a reading and a moment the clocks may have drifted apart."""
    at = pd.Timestamp("2026-11-22 10:00")
    clocks = pd.DataFrame({"server": ["a"], "at": [at], "offset_s": [2.0], "error_s": [0.001]})
    moments = pd.Series([at, at + pd.Timedelta(seconds=30), at])
    converted, error_s = on_our_clock(moments, pd.Series(["a", "a", "b"]), clocks)
    assert list(converted[:2]) == [at - pd.Timedelta(seconds=2), at + pd.Timedelta(seconds=28)]
    assert list(error_s[:2]) == pytest.approx([0.001, 0.001 + 30 * DRIFT_MOST])
    assert converted.isna()[2]
    assert error_s.isna()[2]
