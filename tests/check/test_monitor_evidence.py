"""What a monitor takes for proof: beats, work that stands or moves, the server's log, what is new in history."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfysoak.check.conversation.server_log import Entry, worker_died
from comfysoak.check.monitor.beat import Beat, pause_s
from comfysoak.check.monitor.canary import Kind
from comfysoak.check.monitor.generations import Ended
from comfysoak.check.monitor.rhythm import Rhythm
from comfysoak.check.monitor.worker_watch import Glimpse, WorkerWatch
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.history import Failure
from tests.check.test_monitor_rules import MINUTE_NS, entry, queue


class TestRhythm:
    def test_beats_do_not_drift(self) -> None:
        """However long each look takes, and however late it begins, looks stay on the grid of the first one."""
        beat = Beat(30 * NS_PER_S, 7)
        for look in range(1, 20_000):
            beat.done(beat.due_ns + look % 29 * NS_PER_S)
        assert (beat.due_ns - 7) % (30 * NS_PER_S) == 0
        assert (beat.due_ns - 7) // (30 * NS_PER_S) == 19_999
        assert beat.missed == 0

    def test_what_takes_too_long_is_left_out_and_counted(self) -> None:
        """A look of 95 s with one due each 30 s: three are left out, and the next comes on its own beat."""
        beat = Beat(30 * NS_PER_S, 0)
        beat.done(95 * NS_PER_S)
        assert (beat.due_ns, beat.missed) == (120 * NS_PER_S, 3)

    def test_a_failure_is_made_sure_of_soon_and_then_there_is_more_time(self) -> None:
        """At the next look, after two, four, eight; longer pauses end on a beat; at once when there is a reason."""
        beat = Beat(300 * NS_PER_S, 0)
        beat.failed(10 * NS_PER_S, 30 * NS_PER_S)
        assert beat.due_ns == 40 * NS_PER_S
        beat.failed(40 * NS_PER_S, 300 * NS_PER_S)
        assert beat.due_ns == 600 * NS_PER_S
        beat.soon(50 * NS_PER_S)
        assert beat.due_ns == 50 * NS_PER_S
        beat.done(51 * NS_PER_S)
        assert beat.due_ns == 300 * NS_PER_S
        assert [pause_s(failures) for failures in (0, 1, 2, 5, 6, 10**9)] == [1, 1, 2, 16, 30, 30]
        rhythm = Rhythm(30.0)
        assert [rhythm.pause_s(failures, Kind.WORKFLOW) for failures in range(1, 7)] == [30, 60, 120, 240, 300, 300]
        assert [rhythm.pause_s(failures, Kind.TINY) for failures in (1, 3, 99)] == [30, 120, 240]


class TestWorker:
    def _watch(self, *glimpses: Glimpse) -> WorkerWatch:
        watch = WorkerWatch(deadline_ns=5 * MINUTE_NS)
        for glimpse in glimpses:
            watch.saw(glimpse)
        return watch

    def test_a_long_prompt_is_no_dead_worker(self) -> None:
        """One video of two hours, looked at each minute, its log readable: no alarm."""
        looks = [
            Glimpse(minute * MINUTE_NS, queue(("video",), ("a", "b")), 0, (1,), log_is_readable=True)
            for minute in range(120)
        ]
        watch = self._watch(*looks)
        assert watch.is_suspicious
        assert watch.evidence == ""

    def test_its_log_is_proof_after_two_looks(self) -> None:
        """One look is not enough; progress, of whomever, takes the alarm back."""
        died = Glimpse(0, queue(("a",)), died="Exception in thread Thread-1 (prompt_worker):")
        assert self._watch(died).evidence == ""
        watch = self._watch(died, replace(died, at_ns=MINUTE_NS))
        assert "its log says: Exception in thread" in watch.evidence
        watch.saw(Glimpse(2 * MINUTE_NS, queue(("b",))))
        assert watch.evidence == ""

    def test_prompts_that_wait_while_none_runs_are_proof(self) -> None:
        """Over two looks and three seconds; not between two prompts, and not while others' work goes on."""
        waits = Glimpse(0, queue((), ("a", "b")))
        assert self._watch(waits, replace(waits, at_ns=NS_PER_S)).evidence == ""
        assert "none is taken up" in self._watch(waits, replace(waits, at_ns=MINUTE_NS)).evidence
        assert self._watch(waits, replace(waits, at_ns=MINUTE_NS, ended=1)).evidence == ""

    def test_without_a_log_time_and_memory_must_stand_still(self) -> None:
        """Longer than --deadline, and not a byte moved: then it is taken for dead, and not before."""
        dull = [
            Glimpse(minute * MINUTE_NS, queue(("a",)), 0, (1, 2), log_is_readable=False if minute > 1 else None)
            for minute in range(7)
        ]
        assert self._watch(*dull[:6]).evidence == ""
        assert "--deadline" in self._watch(*dull).evidence
        moving = [replace(look, memory=(index, 2)) for index, look in enumerate(dull)]
        assert self._watch(*moving).evidence == ""

    def test_a_restart_begins_anew(self) -> None:
        """What was proof of the old process says nothing of the new one."""
        watch = self._watch()
        watch.canary_told("no node of it ran")
        assert watch.evidence
        watch.begin_anew()
        assert watch.evidence == ""


class TestLog:
    TAIL = (
        '  File "/comfyui/execution.py", line 757, in execute_async\n', "    ", "await cache.set_prompt()",
        "\n", "    ", "^", "^", "\n", "", "KeyError", ": ", "'inputs'", "\n", "got prompt", "\n",
    )  # fmt: skip

    def test_a_traceback_that_has_pushed_its_beginning_out_is_known(self) -> None:
        """Python writes it in pieces; each takes one of the 300 places of the server's log."""
        died = worker_died([Entry(str(index), text) for index, text in enumerate(self.TAIL)])
        assert died is not None
        assert died.text == "KeyError: 'inputs', which nothing caught, in its executor"

    def test_what_comfyui_catches_is_no_death(self) -> None:
        """It logs that in one piece."""
        assert (
            worker_died([Entry("1", "!!! Exception during processing !!!\n"), Entry("2", "".join(self.TAIL))]) is None
        )


class TestHistory:
    def test_what_had_ended_before_is_not_counted(self) -> None:
        """The first page is where it begins; after that each entry counts once."""
        ended = Ended()
        assert ended.new_of([entry("a", 1000), entry("b", 2000)]) == ()
        assert [one.prompt_id for one in ended.new_of([entry("b", 2000), entry("c", 3000)])] == ["c"]
        assert ended.new_of([entry("b", 2000), entry("c", 3000)]) == ()

    def test_old_entries_that_come_into_view_are_old(self) -> None:
        """When newer ones are deleted, the page shows older ones: also when all that was known is gone."""
        ended = Ended()
        ended.new_of([entry("y", 8000), entry("z", 9000)])
        assert ended.new_of([entry("old", 1000), entry("y", 8000)]) == ()
        assert ended.new_of([entry("older", 500)]) == ()

    def test_it_asks_for_more_where_more_has_ended(self) -> None:
        """A page without a known entry may hide others before it."""
        ended = Ended()
        assert not ended.needs_more([entry("a", 1000)])
        ended.new_of([entry("a", 1000)])
        assert ended.needs_more([entry("x", 5000), entry("y", 6000)])
        assert not ended.needs_more([entry("a", 1000), entry("y", 6000)])

    def test_after_a_restart_everything_is_new(self) -> None:
        """Its history began empty."""
        ended = Ended()
        ended.new_of([entry("a", 9000)])
        ended.restarted()
        assert [one.prompt_id for one in ended.new_of([entry("b", 10)])] == ["b"]

    @pytest.mark.parametrize(
        ("failure", "code", "was_interrupted"),
        [
            (Failure(False, "3", "KSampler", "OutOfMemoryError", "no"), Code.OOM, False),
            (Failure(False, "3", "KSampler", "ValueError", "no"), Code.NODE_ERROR, False),
            (Failure(True, "3", "KSampler", None, None), None, True),
        ],
    )
    def test_failures_have_their_code(self, failure: Failure, code: Code | None, was_interrupted: bool) -> None:
        """Out of memory, an error of a node; somebody's interrupt is no failure of the server."""
        ended = Ended()
        ended.new_of([])
        (one,) = ended.new_of([entry("a", 1000, failure)])
        assert (one.succeeded, one.code, one.was_interrupted, one.took_s) == (False, code, was_interrupted, 0.5)
