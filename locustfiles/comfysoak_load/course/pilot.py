"""Takes a test through its course: asks several times a second what should be, and brings it about.

One process of a test has a pilot: the only one, or the master. Locust asks it how many users there should be.
"""

from __future__ import annotations

import gevent

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.course import Course
from comfysoak_core.scenario.parts import Errand, Facts, Now
from comfysoak_core.scenario.stage import Settle
from comfysoak_load.course.cold_start import start_cold
from comfysoak_load.course.launcher import Launcher
from comfysoak_load.course.settling import settle
from comfysoak_load.course.trials import Trials
from comfysoak_load.course.turn import Turn
from comfysoak_load.harness import Harness, process_of
from comfysoak_load.prompts.told import fire_of

LOOK_EVERY_S = 0.05


class Pilot:
    """From `begin` until the course is over, or `stop`."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        plan = harness.plan
        self._course = Course(plan.stages, patience_s=plan.patience_s, max_duration_s=plan.max_duration_s)
        self._began_ns = harness.clock.now_ns()
        self._now: Now | None = None
        self._turns = 0
        self._trials = Trials(harness.clock, lambda: process_of(harness.environment).journal)
        self._launcher = Launcher()
        self._errand: gevent.Greenlet | None = None
        self._errands_done = 0
        self._looking: gevent.Greenlet | None = None

    def begin(self) -> None:
        """Take the first turn, and go on by itself until the test stops."""
        self._harness.steered_by = self
        self._look_safely()
        self._looking = gevent.spawn(self._look_on)

    def stop(self) -> None:
        """The test ends: no more turns, and whatever is on ends."""
        for greenlet in (self._looking, self._errand):
            if greenlet is not None:
                greenlet.kill(block=False)

    def clear_up(self) -> None:
        """It has ended: so does a server that was started for it."""
        self._launcher.stop()

    @property
    def users(self) -> int | None:
        """How many users there should be; None at the end."""
        return None if self._now is None else self._now.users

    def _look_on(self) -> None:
        while self._now is not None:
            gevent.sleep(LOOK_EVERY_S)
            self._look_safely()

    def _look_safely(self) -> None:
        """Without a pilot a test would never end: so an error of ours ends it."""
        try:
            self._look()
        except Exception as error:  # noqa: BLE001  # whatever it is
            process_of(self._harness.environment).own_error(error)
            self._now = None

    def _look(self) -> None:
        harness = self._harness
        self._trials.listen()
        facts = Facts(
            now_s=(harness.clock.now_ns() - self._began_ns) / NS_PER_S,
            idle=harness.is_idle,
            errands_done=self._errands_done,
            judgement=self._trials.judgement,
        )
        before, cut_short = self._now, self._course.cut_short
        self._now = self._course.at(facts)
        if self._course.cut_short and not cut_short:
            harness.cut_short(before.number if before is not None else 0)
        if self._now is not None and (before is None or self._now.turn != before.turn):
            self._take(self._now, before)

    def _take(self, now: Now, before: Now | None) -> None:
        self._turns += 1
        now_ns = self._harness.clock.now_ns()
        self._harness.take(Turn.of(now, self._turns, course_ns=self._began_ns, now_ns=now_ns))
        self._trials.note(now, self._harness.plan.stages[now.number].search)
        if now.errand != (before.errand if before is not None else None):
            self._send_out(now.errand)

    def _send_out(self, errand: Errand | None) -> None:
        """Run this errand; one that still goes on has no time left."""
        if self._errand is not None:
            self._errand.kill(block=False)
        self._errand = gevent.spawn(self._run, errand) if errand is not None else None

    def _run(self, errand: Errand) -> None:
        environment = self._harness.environment
        process = process_of(environment)
        try:
            if isinstance(errand.what, Settle):
                settle(process, errand.what)
            else:
                start_cold(process, fire_of(environment), self._launcher, errand.what, errand.limit_s)
        except Exception as error:  # noqa: BLE001  # whatever it is, the course goes on
            process.own_error(error)
        finally:
            self._errands_done = max(self._errands_done, errand.number)
