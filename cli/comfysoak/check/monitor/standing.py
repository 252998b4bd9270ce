"""How it is with everything that is watched, folded from looks and canaries; and what to tell of each change. Pure.

Nothing in here grows with time: counters, the last of each, and what is in the queue now.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from comfysoak.check.conversation.figures import counted, seconds
from comfysoak.check.monitor.canary import Came, Result
from comfysoak.check.monitor.configured import Configured, configured
from comfysoak.check.monitor.generations import Generation
from comfysoak.check.monitor.happening import Happening
from comfysoak.check.monitor.looking import GatewaySight, Sight
from comfysoak.check.monitor.worker_watch import Glimpse, WorkerWatch
from comfysoak.check.settings import Settings
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Queue, SystemStats
from comfysoak_probes.server.queue_ages import QueueAges

BOUNDS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
GENERATIONS_TOLD: Final = 32  # of one look, each on a line of its own
OWN_KEPT: Final = 16


@dataclass(slots=True)
class Canaries:
    """What came of all canaries so far. Times are UTC ns."""

    results: Counter[tuple[str, str]] = field(default_factory=Counter)  # (came, code)
    buckets: Counter[float] = field(default_factory=Counter)  # least bound it was at most
    count: int = 0
    total_s: float = 0.0
    last: Result | None = None
    last_ns: int | None = None
    last_success_ns: int | None = None
    failures: int = 0  # in a row

    def take(self, result: Result, utc_ns: int) -> None:
        """One more; one that waited behind others says nothing either way."""
        self.results[result.came.value, "" if result.code is None else result.code.value] += 1
        if result.came is Came.WAITED:
            return
        self.last, self.last_ns = result, utc_ns
        if result.came is Came.FAILURE:
            self.failures += 1
            return
        self.failures, self.last_success_ns = 0, utc_ns
        if result.took_s is not None:
            took_s = result.took_s
            self.count += 1
            self.total_s += took_s
            self.buckets[next((bound for bound in BOUNDS_S if took_s <= bound), float("inf"))] += 1

    def cumulated(self) -> dict[float, int]:
        """How many took at most so long, by bound."""
        so_far, found = 0, {}
        for bound in BOUNDS_S:
            so_far += self.buckets[bound]
            found[bound] = so_far
        return found


@dataclass(slots=True)
class Standing:
    """All of it. `is_up` is None before the first look has ended. Times are ns of the steady clock unless named UTC."""

    deadline_ns: int
    is_up: bool | None = None
    why_not: str = ""
    code: Code | None = None  # of what keeps it from being up, where there is proof
    since_utc_ns: int = 0
    looks: Counter[bool] = field(default_factory=Counter)  # good or not
    last: Sight | None = None
    last_utc_ns: int | None = None
    queue: Queue | None = None  # as last seen; None while the server is not up
    stats: SystemStats | None = None
    oldest_ns: int | None = None
    restarts: int = 0
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)  # (outcome, code) of other people's prompts
    gaps: int = 0
    gateway: GatewaySight | None = None
    configured: Configured | None = None
    changes: int = 0
    changed_utc_ns: int | None = None
    canaries: Canaries = field(default_factory=Canaries)
    worker: WorkerWatch = field(init=False)
    _ages: QueueAges = field(default_factory=QueueAges)
    _own: dict[str, None] = field(default_factory=dict)  # canaries, which are counted apart

    def __post_init__(self) -> None:
        """A watch over its worker."""
        self.worker = WorkerWatch(self.deadline_ns)

    def own(self, prompt_id: str | None) -> None:
        """Note that a prompt is ours."""
        if prompt_id is not None:
            self._own[prompt_id] = None
            for old in list(self._own)[:-OWN_KEPT]:
                del self._own[old]

    def saw(self, sight: Sight, utc_ns: int) -> list[Happening]:
        """One more look; what is new by it."""
        stands_still = sight.timed_out and self.last is not None and self.last.timed_out
        self.last, self.last_utc_ns = sight, utc_ns
        told: list[Happening] = []
        self.looks[sight.problem is None] += 1
        before = self.worker.evidence
        told += self._service(sight, utc_ns)
        if stands_still:
            self.code = Code.LOOP_BLOCKED
        if sight.problem is None and sight.queue is not None:
            told += self._work(sight, sight.queue)
        told += self._worker(before)
        told += self._gateway(sight.gateway)
        return told

    def canary(self, result: Result, utc_ns: int) -> list[Happening]:
        """One more canary has ended."""
        before = self.worker.evidence
        self.own(result.prompt_id)
        self.canaries.take(result, utc_ns)
        if result.code is Code.WORKER_DEAD:
            self.worker.canary_told(result.words)
        elif result.came is Came.SUCCESS:
            self.worker.evidence = ""
        return [canary_told(result), *self._worker(before)]

    def configuration(self, settings: Settings, sight: Sight | None, utc_ns: int) -> list[Happening]:
        """What the configuration is now; the first that is seen is no change."""
        stats = sight.stats if sight is not None else None
        stored = sight.gateway.stored if sight is not None and sight.gateway is not None else None
        before = self.configured
        self.configured = now = configured(settings, stats, stored, before)
        if before is None:
            self.changed_utc_ns = utc_ns
            return []
        changed = now.changed_since(before)
        if not changed:
            return []
        known = {*before.open, *before.hidden}
        if all(name not in known and name.startswith(("server ", "gateway ")) for name in changed):
            words = f"hash {now.hash}, now that server and gateway have told theirs"  # it was so before
            return [Happening("configuration", words, {"hash": now.hash, "was": before.hash, "changed": []})]
        self.changes += 1
        self.changed_utc_ns = utc_ns
        words = f"configuration changed to {now.hash}: {', '.join(changed[:20])}"
        return [Happening("configuration", words, {"hash": now.hash, "was": before.hash, "changed": changed})]

    def _service(self, sight: Sight, utc_ns: int) -> list[Happening]:
        was_up, is_up = self.is_up, sight.problem is None
        told: list[Happening] = []
        if sight.restarted and was_up is not None:
            self.restarts += 1
            self._ages.forget()
            self.worker.begin_anew()
            fields = {"code": Code.SERVER_RESTARTED.value}
            told.append(Happening("service", f"{Code.SERVER_RESTARTED}: {sight.restarted}", fields))
        if is_up == was_up:
            self.why_not = sight.problem.what if sight.problem is not None else ""
            self._keep(sight)
            return told
        lasted_s = (utc_ns - self.since_utc_ns) / NS_PER_S if was_up is not None else None
        self.is_up, self.since_utc_ns = is_up, utc_ns
        self._keep(sight)
        return [*told, self._up(sight, lasted_s) if sight.problem is None else self._down(lasted_s)]

    def _keep(self, sight: Sight) -> None:
        """What was answered; of a server that is not up, nothing is known."""
        if sight.problem is None:
            self.why_not, self.code = "", None
            self.queue, self.stats = sight.queue, sight.stats
            return
        self.why_not = f"{sight.problem.what}. {sight.problem.remedy}".strip()
        self.code = Code.SERVER_DOWN if sight.refused else None
        self.queue = self.stats = self.oldest_ns = None
        if sight.refused:
            self._ages.forget()
            self.worker.begin_anew()

    def _up(self, sight: Sight, lasted_s: float | None) -> Happening:
        stats = sight.stats
        version = stats.comfyui_version if stats is not None else None
        device = stats.devices[0].name if stats is not None and stats.devices else "no device"
        after = f" again, after {seconds(lasted_s)}" if lasted_s is not None else ""
        words = f"up{after}: ComfyUI {version or 'of an unknown version'} on {device}"
        return Happening("service", words, {"up": True, "version": version, "device": device, "lasted_s": lasted_s})

    def _down(self, lasted_s: float | None) -> Happening:
        code = None if self.code is None else self.code.value
        after = f", was up for {seconds(lasted_s)}" if lasted_s is not None else ""
        fields = {"up": False, "why": self.why_not, "code": code, "lasted_s": lasted_s}
        return Happening("service", f"down: {self.why_not}{after}", fields)

    def _work(self, sight: Sight, queue: Queue) -> list[Happening]:
        ages = self._ages.saw(queue, sight.ended_ns)
        self.oldest_ns = max((age for age in ages if age is not None), default=None)
        self.gaps += sight.gap
        others = [one for one in sight.generations if one.prompt_id not in self._own]
        for one in others:
            self.ended[_outcome(one), "" if one.code is None else one.code.value] += 1
        memory = tuple(device.vram_free_bytes for device in sight.stats.devices) if sight.stats is not None else ()
        self.worker.saw(
            Glimpse(sight.ended_ns, queue, len(sight.generations), memory, sight.log_is_readable, sight.died)
        )
        told = [_generation(one) for one in others[:GENERATIONS_TOLD]]
        if len(others) > GENERATIONS_TOLD:
            left = len(others) - GENERATIONS_TOLD
            told.append(
                Happening("generation", f"and {counted(left, 'generation')} more", {"more": left}, is_routine=True)
            )
        return told

    def _worker(self, before: str) -> list[Happening]:
        now, code = self.worker.evidence, {"code": Code.WORKER_DEAD.value}
        if now and not before:
            return [Happening("alarm", f"{Code.WORKER_DEAD}: {now}", code)]
        if before and not now:
            return [Happening("recovered", f"{Code.WORKER_DEAD} is over", code)]
        return []

    def _gateway(self, now: GatewaySight | None) -> list[Happening]:
        before, self.gateway = self.gateway, now
        if now is None or (before is not None and before.is_well == now.is_well):
            return []
        words = "gateway is well" if now.is_well else f"gateway is not well: {now.words}"
        return [Happening("gateway", words, {"well": now.is_well, "answer": now.words})]


def _outcome(one: Generation) -> str:
    if one.succeeded:
        return "success"
    return "interrupted" if one.was_interrupted else "failure"


def _generation(one: Generation) -> Happening:
    took = f" in {seconds(one.took_s)}" if one.took_s is not None else ""
    code = None if one.code is None else one.code.value
    why = f": {code or ''} {one.why}".rstrip() if one.why else ""
    fields = {"prompt_id": one.prompt_id, "origin": "others", "outcome": _outcome(one), "code": code}
    fields |= {"took_s": one.took_s, "why": one.why or None}  # type: ignore[dict-item]  # of any type
    words = f"prompt {one.prompt_id} of others: {_outcome(one)}{took}{why}"
    return Happening("generation", words, fields, is_routine=one.succeeded)


def canary_told(result: Result) -> Happening:
    """How a canary is told of."""
    code = None if result.code is None else result.code.value
    took = f" in {seconds(result.took_s)}" if result.took_s is not None else ""
    why = f": {code or ''} {result.words}".rstrip() if result.came is not Came.SUCCESS else f", {result.words}"
    left = f"; {result.left}" if result.left else ""
    fields = {
        "prompt_id": result.prompt_id, "origin": "canary", "outcome": result.came.value, "code": code,
        "took_s": result.took_s, "executed_s": result.executed_s,
        "why": result.words if result.came is not Came.SUCCESS else None,
        "graph": result.kind.value, "left": result.left or None,
    }  # fmt: skip
    words = f"canary {result.prompt_id}: {result.came.value}{took}{why.removesuffix(', ')}{left}"
    return Happening("generation", words, fields, is_routine=result.came is Came.SUCCESS and not result.left)
