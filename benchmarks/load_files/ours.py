"""Our user under Locust, for `bench_load`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from locust import events

sys.path.insert(0, str(Path(__file__).parent))

from meter import METER  # beside this file, wherever Locust was started

from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Outcome, Row
from comfysoak_load import harness
from comfysoak_load.users import ComfyUser


class TimedJournal:
    """A journal that adds up the time its callers spend in it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def errors(self) -> int:
        """As the journal says."""
        return self._journal.errors

    @property
    def rows_dropped(self) -> int:
        """As the journal says."""
        return self._journal.rows_dropped

    def add(self, row: Row) -> None:
        """Take a row."""
        before = time.perf_counter_ns()
        self._journal.add(row)
        METER.journal_ns += time.perf_counter_ns() - before

    def add_now(self, row: Row) -> None:
        """Take a row and write it."""
        before = time.perf_counter_ns()
        self._journal.add_now(row)
        METER.journal_ns += time.perf_counter_ns() - before

    def flush(self) -> None:
        """Write all rows."""
        before = time.perf_counter_ns()
        self._journal.flush()
        METER.journal_ns += time.perf_counter_ns() - before

    def close(self) -> None:
        """Write and close."""
        self._journal.close()


if os.environ.get("BENCH_JOURNAL") == "timed":  # which itself takes a hundredth
    _new_journal = harness.new_journal
    harness.new_journal = lambda *given: TimedJournal(_new_journal(*given))  # type: ignore[assignment,return-value]

events.init.add_listener(harness.attach)
events.init.add_listener(METER.attach)


class OurUser(ComfyUser):
    """Counts what went well."""

    def generate(self) -> None:
        """One cycle."""
        if self.client.generate().outcome == Outcome.SUCCESS:
            METER.cycles += 1
