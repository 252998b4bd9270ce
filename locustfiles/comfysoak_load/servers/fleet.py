"""The servers of a test as one process sees them: which one a prompt goes to, and what becomes of those that die."""

from __future__ import annotations

from collections.abc import Sequence

import gevent

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.server_clock import ClockSet
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Event, ServerClockReading
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.routing import Health, Router, needs_of
from comfysoak_load.servers.target import Target

LOOK_LEAST_S = 0.05
CLOCKS_EVERY_S = 60.0
SEVERAL = "queue numbers, history or files do not agree: requests to this address reach different servers"
_KINDS = {Health.UP: "server_up", Health.SILENT: "server_silent", Health.DOWN: "server_down"}


class Fleet:
    """`targets`, and the route of `plan` between them. `worker` and `journal`: who tells of them, and where."""

    def __init__(
        self, targets: Sequence[Target], plan: Plan, *, worker: str, turn: int, clock: Clock, journal: Journal
    ) -> None:
        self.targets = tuple(targets)
        own = [one for one in plan.workloads if one.images is None]
        needs = [need for one in own for need in needs_of(one.graph, one.name, one.vary.inputs)]
        self._router = Router(plan.route, [target.url for target in targets], turn, needs)
        self._standings = tuple(target.standing for target in targets)
        self._told = [Health.UP for _ in targets]
        self._told_several: set[Target] = set()
        self._only: Target | None = None
        self._worker = worker
        self._clock = clock
        self._journal = journal
        self._greenlets: list[gevent.Greenlet] = []

    @property
    def is_several(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.targets) > 1

    def start(self) -> None:
        """Begin to look after the servers; needs a running hub."""
        self._greenlets = [gevent.spawn(self._read_clocks)]
        if self.is_several:
            self._greenlets += [gevent.spawn(self._watch, target) for target in self.targets]

    def stop(self) -> None:
        """No more looking."""
        gevent.killall(self._greenlets, block=False)
        self.write_clocks()
        for target in self.targets:
            target.close()

    def send_only_to(self, server: int | None) -> None:
        """From now on all prompts go to the server of this place, up or down; None: by the route again."""
        self._only = None if server is None else self.targets[server]

    def may_have(self, target: Target) -> bool:
        """Whether a prompt may go to this server now."""
        return self._only is None or target is self._only

    def choose(self, needs: str) -> Target:
        """The server for a prompt that needs these models."""
        if self._only is not None:
            return self._only
        return self.targets[self._router.choose(self._standings, needs)]

    def has_better(self, target: Target) -> bool:
        """Whether another server is in better health, or the only one that prompts may go to."""
        if self._only is not None:
            return target is not self._only
        return any(standing.health < target.standing.health for standing in self._standings)

    def tell(self) -> None:
        """Journal what became known of the servers since the last call; to be called a few times a second."""
        for target in self.targets:
            if target.address.several and target not in self._told_several:
                self._told_several.add(target)
                self._add(self._clock.now_ns(), "several_servers", target, SEVERAL)
        for index, target in enumerate(self.targets):
            standing = target.standing
            if standing.health is not self._told[index]:
                before, self._told[index] = self._told[index], standing.health
                down = standing.health is Health.DOWN
                self._add(
                    standing.since_ns,
                    _KINDS[standing.health],
                    target,
                    standing.reason or f"it answers again; before it was {before.name.lower()}",
                    Code.SERVER_DOWN if down else None,
                )

    def write_clocks(self) -> None:
        """Journal how far each server's clock is from ours, where that is known."""
        at_ns = self._clock.now_ns()
        for target in self.targets:
            found = target.server_clock.offset(at_ns)
            if isinstance(found, ClockSet):
                self._add(at_ns, "server_clock_set", target, f"its clock was set, by at least {found.apart_s:.3f} s")
            elif found is not None:
                self._journal.add(
                    ServerClockReading(
                        at_ns=at_ns,
                        server=target.url,
                        worker=self._worker,
                        offset_ns=found.offset_ns,
                        error_ns=found.error_ns,
                        prompts=found.prompts,
                        drift_ppm=found.drift_ppm,
                    )
                )

    def _read_clocks(self) -> None:
        while True:
            gevent.sleep(CLOCKS_EVERY_S)
            self.write_clocks()

    def _watch(self, target: Target) -> None:
        """Ask a server for its queue when it has told nothing for a while, and one that is down whether it is back."""
        while True:
            left_s = (target.standing.due_ns - self._clock.now_ns()) / NS_PER_S
            if left_s > 0:
                gevent.sleep(max(left_s, LOOK_LEAST_S))
            else:
                target.look()
                gevent.sleep(LOOK_LEAST_S)

    def _add(self, at_ns: int, kind: str, target: Target, detail: str, code: Code | None = None) -> None:
        self._journal.add(
            Event(at_ns=at_ns, source=self._worker, kind=kind, server=target.url, code=code, detail=detail)
        )
