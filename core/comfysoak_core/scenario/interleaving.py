"""Two servers under one load, in turn: `comfysoak run --ab OLD NEW` makes a plan of blocks of a plan.

    old 1, new 1, new 2, old 2, old 3, new 3, ...

Each stage is cut into pairs of blocks, of which one goes to the old server and one to the new, with the same prompts.
The order within pairs turns round (ABBA), so that what drifts, drifts for both. Before the first block each server is
warmed up; between blocks what is open ends, so that neither side ever works beside the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comfysoak_core.errors import ScenarioError
from comfysoak_core.scenario.curve import Curve, Line, Slice
from comfysoak_core.scenario.plan import Interleaving, Plan
from comfysoak_core.scenario.quantities import format_duration
from comfysoak_core.scenario.stage import WARMUP, Block, Side, Stage

BLOCKS_A_SIDE = 8
PAIRS_LEAST = 6  # fewer can never be told from chance, with three gates
BLOCK_MOST_S = 300.0
DISCARD_SHARE = 1 / 6  # of a block, at its start: queues and sockets fill again


def interleaved(plan: Plan, old: str, new: str, block_s: float | None = None) -> Plan:
    """`plan` with its load cut into blocks, against these two servers. ScenarioError for what cannot be interleaved."""
    if old == new:
        raise ScenarioError(f"both sides of --ab are {old}", "Name two servers: --ab URL_OLD URL_NEW.")
    for number, stage in enumerate(plan.stages, 1):
        _check(stage, number)
    measured = [stage for stage in plan.stages if stage.phase != WARMUP]
    lasts_s = sum(stage.duration_s for stage in measured)
    block_s = min(lasts_s / (2 * BLOCKS_A_SIDE), BLOCK_MOST_S) if block_s is None else block_s
    counts = [max(round(stage.duration_s / (2 * block_s)), 1) for stage in measured] if block_s > 0 else []
    if sum(counts) < PAIRS_LEAST:
        raise ScenarioError(
            f"blocks of {format_duration(block_s)} make {sum(counts)} pairs of {format_duration(lasts_s)} of load; "
            f"expected {PAIRS_LEAST} pairs or more",
            f"--ab-block {max(lasts_s / (2 * BLOCKS_A_SIDE), 0.001):.4g}s, or a longer --duration.",
        )
    warmups = [stage for stage in plan.stages if stage.phase == WARMUP] or [_first_of(measured[0], block_s)]
    stages = (*_warmed_up(warmups), *_blocks(measured, counts))
    shortest_s = min(stage.duration_s for stage in stages if stage.phase != WARMUP)
    return plan.model_copy(
        update={
            "servers": (old, new),
            "stages": stages,
            "interleaving": Interleaving(block_s=block_s, discard_s=shortest_s * DISCARD_SHARE),
        }
    )


def _check(stage: Stage, number: int) -> None:
    kinds = (
        (stage.cold_start, "a cold start"),
        (stage.search, "a search for capacity"),
        (stage.replay, "a trace"),
        (stage.settle, "settles"),
    )
    for part, name in kinds:
        if part is not None:
            raise ScenarioError(
                f"--ab cuts users and arrivals into blocks, and stage {number} is or has {name}",
                "Take it out of the scenario, or run each server by itself and use comfysoak compare.",
            )


def _first_of(stage: Stage, block_s: float) -> Stage:
    """What a scenario without a warm-up is warmed up with."""
    return _part(stage, 0.0, min(block_s, stage.duration_s)).model_copy(update={"phase": WARMUP})


def _warmed_up(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Each warm-up once for each server; their pairs count down, so that no prompt of theirs comes again."""
    for number, stage in enumerate(stages, 1):
        for side in Side:
            yield stage.model_copy(update={"block": Block(side=side, pair=-number)})


def _blocks(stages: Sequence[Stage], counts: Sequence[int]) -> Iterator[Stage]:
    pair = 0
    for stage, count in zip(stages, counts, strict=True):
        lasts_s = stage.duration_s / (2 * count)
        for index in range(count):
            pair += 1
            sides = tuple(Side) if pair % 2 else tuple(Side)[::-1]
            for place, side in enumerate(sides):
                block = Block(side=side, pair=pair)
                yield _part(stage, (2 * index + place) * lasts_s, lasts_s).model_copy(
                    update={"block": block, "phase": block.phase_of(stage.phase)}
                )


def _part(stage: Stage, from_s: float, lasts_s: float) -> Stage:
    """The stretch of a stage that begins at `from_s`."""
    update: dict[str, object] = {"duration_s": lasts_s}
    if stage.users is not None:
        update["users"] = _cut(stage.users, from_s, stage.duration_s)
    if stage.arrivals is not None:
        rate = _cut(stage.arrivals.rate_per_s, from_s, stage.duration_s)
        update["arrivals"] = stage.arrivals.model_copy(update={"rate_per_s": rate})
    return stage.model_copy(update=update)


def _cut(curve: Curve, from_s: float, whole_s: float) -> Curve:
    if isinstance(curve, Slice) or (isinstance(curve, Line) and curve.start == curve.end):
        return curve
    return Slice(of=curve, from_s=from_s, whole_s=whole_s)
