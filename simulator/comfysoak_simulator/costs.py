"""How long a node takes and what it holds in VRAM: the built-in table and what a scenario adds to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from comfysoak_core.scenario.embedded import Cost
from comfysoak_core.scenario.formula import Evaluate, parse_formula
from comfysoak_simulator.values import Images, Latent, Token, Value, pixels

GIB = 1024**3

# Times of a mid-range card, rounded: enough for the shape of a run to be right, not a promise about any GPU.
BUILT_IN: dict[str, Cost] = {
    "CLIPTextEncode": Cost(seconds=0.02, vram=GIB // 8),
    "CLIPTextEncodeSDXL": Cost(seconds=0.03, vram=GIB // 8),
    "CLIPTextEncodeFlux": Cost(seconds=0.05, vram=GIB // 4),
    "KSampler": Cost(steps="{steps}", seconds_per_step="0.01 + 0.08 * {megapixels}", vram="1.5e9 * {megapixels}"),
    "KSamplerAdvanced": Cost(
        steps="max(min({steps}, {end_at_step}) - {start_at_step}, 0)",
        seconds_per_step="0.01 + 0.08 * {megapixels}",
        vram="1.5e9 * {megapixels}",
    ),
    "SamplerCustom": Cost(steps="{steps}", seconds_per_step="0.01 + 0.08 * {megapixels}", vram="1.5e9 * {megapixels}"),
    "SamplerCustomAdvanced": Cost(
        steps="{steps}", seconds_per_step="0.01 + 0.08 * {megapixels}", vram="1.5e9 * {megapixels}"
    ),
    "VAEDecode": Cost(seconds="0.01 + 0.12 * {megapixels}", vram="2.5e9 * {megapixels}"),
    "VAEDecodeTiled": Cost(seconds="0.02 + 0.2 * {megapixels}", vram=GIB),
    "VAEEncode": Cost(seconds="0.01 + 0.06 * {megapixels}", vram="1.2e9 * {megapixels}"),
    "VAEEncodeForInpaint": Cost(seconds="0.01 + 0.06 * {megapixels}", vram="1.2e9 * {megapixels}"),
    "ImageUpscaleWithModel": Cost(seconds="0.01 + 0.25 * {megapixels}", vram=GIB),
    "HarnessSleep": Cost(seconds="{seconds}"),
    "HarnessSteps": Cost(steps="{steps}", seconds_per_step="{seconds_per_step}"),
    "HarnessAsync": Cost(seconds="{seconds}"),
}


@dataclass(frozen=True, slots=True)
class Work:
    """What one node has to do: times in seconds, VRAM in bytes."""

    seconds: float
    steps: int
    seconds_per_step: float
    vram_bytes: int
    model: str | None


NO_WORK = Work(0.0, 0, 0.0, 0, None)


class Costs:
    """The table of one server."""

    def __init__(self, extra: Mapping[str, Cost]) -> None:
        self._entries = {name: _Entry(cost) for name, cost in {**BUILT_IN, **extra}.items()}

    def work(self, node_class: str, inputs: Mapping[str, Value]) -> Work:
        """What a node of this class with these inputs has to do."""
        entry = self._entries.get(node_class)
        return NO_WORK if entry is None else entry.work(inputs)


class _Entry:
    def __init__(self, cost: Cost) -> None:
        self._seconds = _amount(cost.seconds)
        self._steps = _amount(cost.steps)
        self._seconds_per_step = _amount(cost.seconds_per_step)
        self._vram = _amount(cost.vram)
        self._model = cost.model

    def work(self, inputs: Mapping[str, Value]) -> Work:
        def lookup(name: str) -> float:
            return _number(name, inputs)

        return Work(
            seconds=max(self._seconds(lookup), 0.0),
            steps=min(max(int(self._steps(lookup)), 0), 1_000_000),
            seconds_per_step=max(self._seconds_per_step(lookup), 0.0),
            vram_bytes=max(round(self._vram(lookup)), 0),
            model=self._model and _filled(self._model, inputs),
        )


def _amount(value: float | str) -> Evaluate:
    if isinstance(value, str):
        return parse_formula(value)
    return lambda _lookup: float(value)


def _number(name: str, inputs: Mapping[str, Value]) -> float:
    value = inputs.get(name)
    if isinstance(value, int | float):
        return float(value)
    if name == "megapixels":
        return max((pixels(item) for item in inputs.values() if isinstance(item, Images | Latent)), default=0) / 1e6
    if name == "steps":
        return float(next((item.steps for item in inputs.values() if isinstance(item, Token) and item.steps), 0))
    return 0.0


def _filled(template: str, inputs: Mapping[str, Value]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: str(inputs.get(match[1], "")), template)
