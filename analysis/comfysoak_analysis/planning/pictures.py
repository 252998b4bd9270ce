"""How many pictures (or other outputs) a prompt of each workflow makes."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from comfysoak_core.recording.recording import Recording
from comfysoak_core.rows import Outcome, Role

COLUMNS = ("workflow", "outcome", "role", "outputs_received", "outputs_expected")


def pictures_by_workflow(recordings: Iterable[Recording]) -> dict[str, float]:
    """The mean over successful prompts that tell it: as received, else as expected. Streamed, whatever the length."""
    made: dict[str, float] = {}
    prompts: dict[str, int] = {}
    for recording in recordings:
        for batch in recording.stream("prompts", columns=COLUMNS):
            for workflow, outputs, count in _of_batch(batch):
                made[workflow] = made.get(workflow, 0.0) + outputs
                prompts[workflow] = prompts.get(workflow, 0) + count
    return {workflow: made[workflow] / count for workflow, count in prompts.items() if count}


def _of_batch(batch: pa.RecordBatch) -> list[tuple[str, float, int]]:
    if any(name not in batch.schema.names for name in COLUMNS):
        return []  # of a recording from before there were any
    table = pa.Table.from_batches([batch])
    load = pc.and_kleene(
        pc.equal(table["outcome"], Outcome.SUCCESS.value), pc.not_equal(table["role"], Role.CANARY.value)
    )
    table = table.filter(load)
    outputs = pc.coalesce(table["outputs_received"], table["outputs_expected"])
    counted = pa.table({"workflow": table["workflow"], "outputs": outputs}).group_by("workflow")
    found = counted.aggregate([("outputs", "sum"), ("outputs", "count")]).to_pylist()
    return [(row["workflow"], row["outputs_sum"] or 0, row["outputs_count"]) for row in found if row["workflow"]]
