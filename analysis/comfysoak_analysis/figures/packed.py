"""Long series as text that is small and quick to read: two bytes a value, which is 65,535 steps from least to most.

A page of 64 GPUs would be ten megabytes of digits. A screen shows a thousand steps, and a label four digits.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from comfysoak_analysis.statistics.series import Floats

DIGITS = 4
SHORT = 48  # below it plain numbers are as small
STEPS = 65_534
NOTHING = 65_535  # stands for NaN


def packed(values: Floats) -> list[float | None] | dict[str, Any]:
    """Short ones as numbers of four digits and None for NaN; long ones as `{"at": base64, "low": ..., "step": ...}`.

    The text holds little-endian 16-bit numbers; a value is `low + number * step`.
    """
    known = np.isfinite(values)
    if len(values) < SHORT or not known.any():
        return numbers(values)
    low, high = float(values[known].min()), float(values[known].max())
    step = (high - low) / STEPS
    steps = np.full(values.shape, NOTHING, dtype="<u2")
    steps[known] = np.round((values[known] - low) / step) if step > 0 else 0
    return {"at": base64.b64encode(steps.tobytes()).decode(), "low": low, "step": step}


def numbers(values: Floats) -> list[float | None]:
    """Rounded to four digits, which is more than a screen shows, and None for NaN."""
    known = np.isfinite(values)
    rounded = np.zeros(values.shape)
    scale = np.where(known & (values != 0), np.abs(values), 1.0)
    places = 10.0 ** (DIGITS - 1 - np.floor(np.log10(scale)))
    rounded[known] = np.round(values[known] * places[known]) / places[known]
    return [value if is_known else None for value, is_known in zip(rounded.tolist(), known.tolist(), strict=True)]
