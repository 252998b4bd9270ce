"""A trace of a recording of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfysoak_core.clock import NS_PER_S, Anchor, AnchoredClock
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.recording import Recording
from comfysoak_core.rows import Prompt, Role
from comfysoak_core.trace.recorded import happenings_of


@pytest.mark.parametrize("with_inputs", [True, False])
def test_canaries_are_no_load(tmp_path: Path, *, with_inputs: bool) -> None:
    """They run beside the load, and no scenario's mix knows them; inputs count for what is held in memory."""
    clock = AnchoredClock(Anchor.take())
    recording = Recording.create(tmp_path, "run", clock=clock, plan={})
    journal = Journal(recording.layout.journal, host="h", process="load-0", clock=clock)
    for role in Role:
        journal.add_now(
            Prompt(id=role.value, server="s", worker="w", client_id="c", workflow=role.value, role=role,
                   variation='{"3.text": "a fox"}', scheduled_ns=5 * NS_PER_S)
        )  # fmt: skip
    journal.close()
    (found,) = happenings_of(recording, with_inputs=with_inputs, with_identities=False, progress=lambda _: None)
    assert (found.workflow, found.time_s) == ("load", 5)
    assert (found.inputs, found.size_bytes > 200) == (({"3.text": "a fox"}, True) if with_inputs else (None, False))
