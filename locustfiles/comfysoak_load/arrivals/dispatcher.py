"""Open load: sends each prompt when it is due, however many are still on their way.

Arrivals are bound to the clock and not to users: each goes to a client that has nothing to do, and there are as many
as it takes. An arrival that cannot be sent is a row all the same, with the reason.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
import gevent.event
import gevent.pool

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.errors import ComfySoakError
from comfysoak_core.rows import Outcome, Prompt
from comfysoak_core.scenario.arrivals import Arrival
from comfysoak_core.scenario.stage import Stage
from comfysoak_load.arrivals.pool import Pool
from comfysoak_load.arrivals.schedule import Schedule, arrivals_of
from comfysoak_load.client import Client
from comfysoak_load.edge.alarm import Alarm
from comfysoak_load.prompts.told import Fire

if TYPE_CHECKING:
    from comfysoak_load.process.load_process import LoadProcess

READY_AHEAD_NS = 5 * NS_PER_MS  # before it is due a prompt is drawn, given a client, and made
CATCH_UP_S = 1.0  # so late may an arrival still leave when its stage is over


class _Departure:
    """A prompt that is made ready, and leaves when it `is_due`."""

    def __init__(self) -> None:
        self.is_due = gevent.event.Event()
        self.is_called_off = False
        self.greenlet: gevent.Greenlet | None = None

    def call_off(self) -> None:
        """It is not to leave: its stage was left before it was due."""
        self.is_called_off = True
        if self.greenlet is not None:
            self.greenlet.kill(block=False)


class Dispatcher:
    """The arrivals of one load process: all, until it is told which part is its own. Traces lie in `run_dir`."""

    def __init__(self, process: LoadProcess, fire: Fire, run_dir: Path) -> None:
        self._process = process
        self._run_dir = run_dir
        self._part = 0
        self._parts = 1
        self._is_dealt_anew = False  # the part is another than that of the schedule
        self._pool = Pool(process, fire)
        self._alarm = Alarm()
        self._sending = gevent.pool.Group()
        self._waiting: set[gevent.Greenlet] = set()  # of those: for a socket
        self._entered = 0  # so many schedules there have been
        self._schedule: Schedule | None = None  # of the stage that is on, also while its load clock stands
        self._rest: list[Schedule] = []  # and what is left of parts of it that are another process's by now
        self._going: gevent.Greenlet | None = None
        self._halting: gevent.Greenlet | None = None  # ends that, after a stage was left

    @property
    def on_their_way(self) -> int:
        """Prompts that are due and have not ended; users who try again when there is load again have nothing open."""
        is_catching_up = self._halting is not None and bool(self._going)
        return len(self._sending) - len(self._process.held_back) + is_catching_up

    def share(self, part: int, parts: int) -> None:
        """Send part `part` of `parts` from the offset on at which a stage is entered next; until there the old one."""
        if (part, parts) != (self._part, self._parts):
            self._part, self._parts = part, parts
            self._is_dealt_anew = True

    def enter(self, stage: Stage, number: int, zero_ns: int, *, from_s: float = 0.0, until_s: float = math.inf) -> None:
        """The arrivals of stage `number` with offsets from `from_s` to below `until_s` are due at `zero_ns` + offset.

        A stage that is entered again goes on where it was: what was due before it was left and had not been sent is
        sent now. When another stage is entered, arrivals that are late by more than `CATCH_UP_S` become rows that say
        so; the others are sent first.
        """
        self._halt()
        self._keep_rest_of_old_part(stage, from_s)
        if self._schedule is not None and not self._schedule.goes_on(stage, from_s):
            self._give_up("when its stage ended", round(CATCH_UP_S * NS_PER_S))
        if self._schedule is None:
            self._schedule = self._new_schedule(stage, number, from_s)
        if self._schedule is not None:
            self._pool.open(self._schedule.room)
            self._schedule.zero_ns, self._schedule.until_s = zero_ns, until_s
            self._schedule.phase = self._process.phase
        if self._schedules:
            self._going = gevent.spawn(self._dispatch_all, self._schedules)

    @property
    def _schedules(self) -> list[Schedule]:
        return [*self._rest, self._schedule] if self._schedule is not None else list(self._rest)

    def _keep_rest_of_old_part(self, stage: Stage, from_s: float) -> None:
        """Where the load of a stage that is on was dealt anew: this process still sends what is before `from_s`."""
        schedule, is_dealt_anew = self._schedule, self._is_dealt_anew
        self._is_dealt_anew = False
        if schedule is not None and is_dealt_anew and schedule.goes_on(stage, from_s):
            schedule.until_s = min(schedule.until_s, from_s)
            self._rest = [old for old in self._rest if old.is_left] + [schedule]
            self._schedule = None

    def _new_schedule(self, stage: Stage, number: int, from_s: float) -> Schedule | None:
        part, parts = self._part, self._parts
        self._entered += 1  # or prompts of a stage that begins again would be those of the first time, and cached
        name = f"{number}/{part}/{self._entered}"
        if stage.block is not None:  # both blocks of a pair have the same arrivals, with the same prompts
            name = f"pair {stage.block.pair}/{part}/{parts}"
        arrivals = arrivals_of(stage, self._run_dir, f"{self._process.plan.seed}/{name}", part=part, parts=parts)
        if arrivals is None:
            return None
        schedule = Schedule(stage, name, max(stage.in_flight_most // parts, 1), arrivals)
        try:
            schedule.pass_over(from_s)
        except ComfySoakError as error:  # a trace that is not there
            self._process.own_error(error)
            return None
        return schedule

    def leave(self, *, for_good: bool = False) -> None:
        """No further arrivals until a stage is entered; what is on its way goes on to its end.

        What is due and has not left, because this process is late, may still leave within `CATCH_UP_S`. Afterwards it
        waits for its stage to go on; or it becomes rows that say so, where it was left `for_good`.
        """
        now_ns = self._process.clock.now_ns()
        for schedule in self._schedules:
            schedule.end_at(now_ns)
        if self._going is None or not any(schedule.is_left for schedule in self._schedules):
            self._halt()
        elif self._halting is None:
            self._halting = gevent.spawn_later(CATCH_UP_S, self._end_catching_up, for_good)

    def _end_catching_up(self, for_good: bool) -> None:  # noqa: FBT001  # of one caller
        self._halt()
        if for_good:
            self._tell_late("when its level was over")

    def _halt(self) -> None:
        """Send no more at once."""
        for greenlet in (self._going, self._halting):
            if greenlet is not None and greenlet is not gevent.getcurrent():
                greenlet.kill(block=False)
        self._going = self._halting = None

    def retire(self) -> None:
        """No further arrivals until a stage is entered, and no sockets but those of what is on its way."""
        self.leave()
        self._pool.close()

    def stop(self) -> None:
        """No further arrivals at all; what still waits for a socket is not sent."""
        self._halt()
        self._pool.close()
        gevent.killall([*self._waiting, *self._process.held_back])
        self._give_up("when the run ended")
        self._alarm.close()

    def _dispatch_all(self, schedules: Sequence[Schedule]) -> None:
        for schedule in schedules:
            self._dispatch(schedule)

    def _dispatch(self, schedule: Schedule) -> None:
        clock = self._process.clock
        while (arrival := schedule.next) is not None and schedule.is_left:
            numbers = self._process.draw(schedule.name, schedule.count)
            due_ns = schedule.due_ns(arrival)
            self._sleep(due_ns - clock.now_ns() - READY_AHEAD_NS)
            ready = self._make_ready(schedule, arrival, numbers, due_ns)
            try:
                gevent.sleep(0)  # it is made ready; and when we are late, others go on all the same
                self._sleep(due_ns - clock.now_ns())
            except gevent.GreenletExit:
                if ready is not None:
                    ready.call_off()
                raise
            if self._going is not gevent.getcurrent():  # halted, and awake before it is killed: others have taken it
                if ready is not None:
                    ready.call_off()
                return
            schedule.take()
            self._arrive(schedule, ready, arrival, numbers, due_ns)
            gevent.sleep(0)  # it leaves before the next one is thought of
            self._pool.refill()

    def _sleep(self, left_ns: int) -> None:
        if left_ns > 0:
            self._alarm.sleep(left_ns)

    def _make_ready(
        self, schedule: Schedule, arrival: Arrival, numbers: random.Random, due_ns: int
    ) -> _Departure | None:
        """Begin with an arrival's prompt, all but its sending; None while there is no room for it."""
        if len(self._sending) >= schedule.room:
            return None
        departure = _Departure()
        departure.greenlet = gevent.Greenlet(self._send, departure, arrival, numbers, due_ns)
        self._sending.start(departure.greenlet)
        return departure

    def _arrive(
        self, schedule: Schedule, ready: _Departure | None, arrival: Arrival, numbers: random.Random, due_ns: int
    ) -> None:
        departure = ready or self._make_ready(schedule, arrival, numbers, due_ns)
        if departure is None:
            self._not_sent(arrival, numbers, due_ns, f"{len(self._sending)} prompts were on their way already",
                           schedule.phase)  # fmt: skip
        else:
            departure.is_due.set()

    def _send(self, departure: _Departure, arrival: Arrival, numbers: random.Random, due_ns: int) -> None:
        client = self._pool.take()
        try:
            aim = self._aim(client, arrival, numbers)
            if aim is not None:
                client.send(aim, due_ns, departure.is_due.wait)
            elif not departure.is_called_off:
                reason = "the run ended before its socket was open"
                self._not_sent(arrival, numbers, due_ns, reason, self._process.phase)
        except Exception as error:  # noqa: BLE001  # a mistake in one prompt does not end the test
            self._process.own_error(error)
        finally:
            self._pool.give_back(client)

    def _aim(self, client: Client, arrival: Arrival, numbers: random.Random) -> object | None:
        """What to send and where to; waits a little for a socket that still opens; None if the run ends meanwhile."""
        self._waiting.add(gevent.getcurrent())
        try:
            found: object = client.aim(numbers, arrival.workflow, arrival.inputs)
        except gevent.GreenletExit:
            return None
        finally:
            self._waiting.discard(gevent.getcurrent())
        return found

    def _give_up(self, when: str, later_than_ns: int = 0) -> None:
        """The stage is over: rows for arrivals that are that late; those that are less late may still leave."""
        schedules = self._schedules
        self._tell_late(when, later_than_ns)
        self._rest, self._schedule = [schedule for schedule in schedules if schedule.is_left], None

    def _tell_late(self, when: str, later_than_ns: int = 0) -> None:
        """Rows for arrivals that are that late and have not left."""
        now_ns = self._process.clock.now_ns()
        for schedule in self._schedules:
            schedule.end_at(now_ns)
            while (arrival := schedule.next) is not None and schedule.is_left:
                due_ns = schedule.due_ns(arrival)
                if now_ns - due_ns <= later_than_ns:
                    break
                numbers = self._process.draw(schedule.name, schedule.count)
                schedule.take()
                reason = f"the load process was {(now_ns - due_ns) / NS_PER_S:.1f} s late {when}"
                self._not_sent(arrival, numbers, due_ns, reason, schedule.phase)

    def _not_sent(self, arrival: Arrival, numbers: random.Random, due_ns: int, reason: str, phase: str | None) -> None:
        """The row of an arrival of `phase` that could not be sent."""
        process = self._process
        name, expected = process.intended(arrival.workflow, numbers)
        process.journal.add(
            Prompt(
                id=str(uuid.uuid4()),
                server=process.plan.address,
                worker=process.worker,
                client_id="",
                workflow=name,
                phase=phase,
                expected=expected,
                scheduled_ns=due_ns,
                finished_ns=process.clock.now_ns(),
                outcome=Outcome.NOT_SENT,
                error_message=reason,
            )
        )
