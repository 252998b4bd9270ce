"""Our user under Locust, for `bench_load`; BENCH_JOURNAL=off leaves the recording away."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from locust import events

sys.path.insert(0, str(Path(__file__).parent))

from meter import METER  # beside this file, wherever Locust was started

from comfysoak_core.rows import Outcome, Row
from comfysoak_load import harness
from comfysoak_load.users import ComfyUser


class NoJournal:
    """Takes rows and forgets them."""

    errors = 0

    def add(self, row: Row) -> None:
        """Nothing."""

    add_now = add

    def flush(self) -> None:
        """Nothing."""

    close = flush


if os.environ.get("BENCH_JOURNAL") == "off":
    harness.new_journal = lambda *_: NoJournal()  # type: ignore[assignment,return-value]

events.init.add_listener(harness.attach)
events.init.add_listener(METER.attach)


class OurUser(ComfyUser):
    """Counts what went well."""

    def generate(self) -> None:
        """One cycle."""
        if self.client.generate().outcome == Outcome.SUCCESS:
            METER.cycles += 1
