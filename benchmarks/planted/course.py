"""A world is played: users send, servers run one prompt at a time, and what the script says happens to them.

`play` gives the life of every prompt, when each server stood still, and when its memory was let go. Queue, memory,
utilisation and log are all made from these lives, so they agree with each other.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np

from benchmarks.planted.outages import away
from benchmarks.planted.world import Fate, Outage, World

NEVER = math.inf
ANSWER_S = 0.004
LOADER, ENCODE, LATENT, SAMPLE, DECODE, CPU, SAVE = "4", "6", "5", "3", "8", "10", "9"
CLASSES = {
    LOADER: "CheckpointLoaderSimple",
    ENCODE: "CLIPTextEncode",
    LATENT: "EmptyLatentImage",
    SAMPLE: "KSampler",
    DECODE: "VAEDecode",
    CPU: "PythonCaption",
    SAVE: "SaveImage",
}
CUDA_ERROR = (
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported at "
    "some other API call, so the stacktrace below might be incorrect."
)
_FREE_S = 4.0
_BACK_OFF_S = (1.0, 2.0, 4.0, 8.0, 15.0)


@dataclass(slots=True)
class Life:
    """One prompt. `nodes`: id, begin and end of each that ran; `load`: of the model, within the sampler."""

    number: int
    user: int
    server: int
    workflow: int
    due: float
    sent: float = 0.0
    accepted: float = NEVER
    begun: float = NEVER
    ended: float = NEVER  # on the server
    gone: float = NEVER  # from the server's queue
    finished: float = NEVER  # for its user
    outcome: str = "success"
    code: str | None = None
    fate: Fate | None = None
    nodes: list[tuple[str, float, float]] = field(default_factory=list)
    load: tuple[float, float] | None = None
    evicted: int = 0
    is_first: bool = False  # of its workflow since the server has nothing cached
    pending: int = 0
    queue_number: int = 0


@dataclass(slots=True)
class Course:
    """All that happened. `end`: of the run; `settles`: when a pause began, when memory was let go, when it was over."""

    lives: list[Life]
    end: float
    settles: list[tuple[float, float, float]]
    memory: list[list[tuple[float, float]]]  # a server: from when on its GPU held so many bytes
    busy: list[list[tuple[float, float, float]]]  # a server: from, until, share of the time in which kernels ran


class _Server:
    def __init__(self, world: World, index: int) -> None:
        self.index = index
        self.machine = world.machines[index]
        self.free = 0.0
        self.number = 0
        self.forget()
        self.memory: list[tuple[float, float]] = [(0.0, float(self.machine.idle_bytes))]
        self.busy: list[tuple[float, float, float]] = []
        self.kept = 0.0
        self.filled = 0.0
        self.outages = sorted((one for one in world.script.outages if one.server == index), key=lambda one: one.from_s)
        self.fallen: list[Outage] = []
        self.stuck = next((one for one in world.script.stuck if one.server == index), None)
        self.is_stuck = False
        self.gone = next((one for one in world.script.gone if one.server == index), None)
        self.poison = next((one for one in world.script.poisoned if one.server == index), None)
        self.poisoned = 0  # prompts that failed by it
        self.leaves: list[float] = []
        self.last_workflow = -1

    def forget(self) -> None:
        """Nothing is loaded, nothing cached."""
        self.resident: list[int] = []
        self.cached: set[int] = set()
        self.pool = 0.0

    def outage_at(self, at: float) -> Outage | None:
        """The outage it is in at that moment."""
        for one in self.outages:
            if one.from_s <= at < (NEVER if one.back_s is None else one.back_s):
                return one
        return None

    def outage_within(self, start: float, end: float) -> Outage | None:
        """The first outage that begins between the two."""
        return next((one for one in self.outages if start <= one.from_s < end), None)


class _Play:
    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.servers = [_Server(world, index) for index in range(len(world.machines))]
        self.fates = sorted(world.script.fates, key=lambda fate: fate.at_s)
        self.lives: list[Life] = []
        self.settles: list[tuple[float, float, float]] = []
        self.next_settle = world.settle[0] + world.measured_s if world.settle else NEVER
        self.turn = 0
        self.grain = 10.0
        self.drift = _wander(self.random, int(world.duration_s / self.grain) + 60, 0.01)
        self.weights = np.array([one.weight for one in world.workflows])
        self.failed = [0] * 4096
        self.last_workflow = -1
        self.draws = iter(())

    def play(self) -> Course:
        """From the first user to the end of the last prompt."""
        ready = self._arrivals() if self.world.load.is_open else self._users()
        heapq.heapify(ready)
        duration, load = self.world.duration_s, self.world.load
        while ready:
            at, user = heapq.heappop(ready)
            if at >= duration:
                continue
            if at >= self.next_settle:
                resumes = self._settle()
                heapq.heappush(ready, (resumes + float(self.random.uniform(0, 1)), user))
                continue
            if self.settles and at < self.settles[-1][2]:
                heapq.heappush(ready, (self.settles[-1][2] + float(self.random.uniform(0, 1)), user))
                continue
            if not load.is_open and not self._is_wanted(user, at):
                heapq.heappush(ready, (at + float(self.random.uniform(3, 8)), user))
                continue
            life = self._prompt(at, user)
            if not load.is_open:
                heapq.heappush(ready, (life.finished + self._pause(life), user))
        for server in self.servers:
            for outage in server.outages:
                self._fall(server, outage)
        last = max((life.finished for life in self.lives if life.finished < NEVER), default=duration)
        end = max(duration, last) + 1.5
        return Course(
            self.lives, end, self.settles, [one.memory for one in self.servers], [s.busy for s in self.servers]
        )

    def _is_wanted(self, user: int, at: float) -> bool:
        if at < self.world.measured_s:
            return user < max(1, round(self.world.load.most * min(1.0, 0.3 + at / self.world.measured_s)))
        return user < max(1, round(self.world.load.level(at)))

    def _users(self) -> list[tuple[float, int]]:
        first = (self.world.cold_start_s or 0.0) + 0.2
        return [(first + float(self.random.uniform(0, 2)), user) for user in range(math.ceil(self.world.load.most))]

    def _arrivals(self) -> list[tuple[float, int]]:
        found: list[tuple[float, int]] = []
        load, at = self.world.load, (self.world.cold_start_s or 0.0) + 0.2
        while (at := at + float(self.random.exponential(1 / load.most))) < self.world.duration_s:
            level = load.level(at) if at >= self.world.measured_s else 0.5 * load.level(at)
            if self.random.random() < level / load.most:
                found.append((at, len(found) % 40))
        return found

    def _pause(self, life: Life) -> float:
        failed = life.outcome in {"failed", "lost", "rejected", "vanished"}
        self.failed[life.user] = self.failed[life.user] + 1 if failed else 0
        think = float(self.random.uniform(*self.world.load.think_s))
        return think + (_BACK_OFF_S[min(self.failed[life.user], 5) - 1] if failed else 0.0)

    # One prompt

    def _prompt(self, due: float, user: int) -> Life:
        server = self._route(due)
        life = Life(len(self.lives), user, server.index, self._workflow(due), due)
        self.lives.append(life)
        life.fate = self._fate(life)
        life.sent = due + float(self.random.uniform(0.0004, 0.003))
        for outage in server.outages:
            if outage.from_s <= life.sent:
                self._fall(server, outage)
        blocked = self._blocked(server.index, life.sent)
        life.accepted = life.sent + ANSWER_S * float(self.random.uniform(0.5, 2.0)) + blocked
        if server.outage_at(life.sent) is not None:
            return self._refused(life, "failed", "SERVER_DOWN")
        if life.fate is not None and life.fate.stage in {"unsent", "refused"}:
            if life.fate.stage == "unsent":
                life.sent = NEVER
            if life.fate.outcome == "rejected":
                server.number += 1
            return self._refused(life, life.fate.outcome, life.fate.code)
        life.queue_number = server.number
        server.number += 1
        server.leaves = [leave for leave in server.leaves if leave > life.accepted]
        life.pending = len(server.leaves)
        self._run(life, server)
        self._end(life)
        server.leaves.append(life.gone)
        return life

    def _refused(self, life: Life, outcome: str, code: str | None) -> Life:
        life.finished, life.accepted = life.accepted + 0.001, NEVER
        life.outcome, life.code = outcome, code
        return life

    def _route(self, at: float) -> _Server:
        """In turn; one that has been down for a while gets nothing."""
        for _ in self.servers:
            server = self.servers[self.turn % len(self.servers)]
            self.turn += 1
            if server.outage_at(at - 1.0) is None or len(self.servers) == 1:
                return server
        return self.servers[0]

    def _workflow(self, at: float) -> int:
        count = len(self.world.workflows)
        weights = np.array(self.world.mix(at)) if self.world.mix else self.weights
        chosen = int(np.searchsorted(np.cumsum(weights), self.random.random() * weights.sum(), side="right"))
        if self.world.switching and chosen == self.last_workflow and self.random.random() < self.world.switching:
            chosen = (chosen + 1 + int(self.random.integers(count - 1))) % count
        self.last_workflow = min(chosen, count - 1)
        return self.last_workflow

    def _fate(self, life: Life) -> Fate | None:
        for fate in self.fates:
            if fate.at_s > life.due:
                return None
            fits = fate.server in (None, life.server) and fate.workflow in (
                None,
                self.world.workflows[life.workflow].name,
            )
            if fits:
                self.fates.remove(fate)
                return fate
        return None

    def _blocked(self, server: int, at: float) -> float:
        for one in self.world.script.blocked:
            if one.server == server and one.from_s <= at < one.until_s:
                return one.answer_s * float(self.random.uniform(0.6, 1.0))
        return 0.0

    def _run(self, life: Life, server: _Server) -> None:
        """Its time on the server."""
        fate = life.fate
        if fate is not None and fate.stage == "deleted":
            life.gone = life.accepted + float(self.random.uniform(0.05, 0.4))
            return
        begun = max(server.free, life.accepted + 0.002)
        outage = server.outage_within(life.accepted, begun)
        if outage is not None or begun == NEVER:
            self._lose(life, server, outage)
            return
        self._let_go(server, begun)
        life.begun = begun
        if server.stuck is not None and begun >= server.stuck.at_s and not server.is_stuck:
            self._stick(life, server)
            return
        ended = self._work(life, server, begun)
        outage = server.outage_within(begun, ended)
        if outage is not None:
            self._lose(life, server, outage)
            return
        life.ended = life.gone = server.free = ended

    def _lose(self, life: Life, server: _Server, outage: Outage | None) -> None:
        if outage is None:
            return  # it waits behind one that never ends
        life.nodes = [
            (node, start, min(stop, outage.from_s)) for node, start, stop in life.nodes if start < outage.from_s
        ]
        life.gone = outage.from_s
        life.fate = None
        back = outage.back_s
        life.outcome, life.code = "lost", "SERVER_DOWN" if back is None else "SERVER_RESTARTED"
        life.finished = outage.from_s + (2.1 if back is None else back - outage.from_s + 0.05)
        self._fall(server, outage)

    def _fall(self, server: _Server, outage: Outage) -> None:
        """Its process is gone, with all it held; once."""
        if outage in server.fallen:
            return
        server.fallen.append(outage)
        back = outage.back_s
        server.free = NEVER if back is None else back + 0.5
        server.memory = [step for step in server.memory if step[0] < outage.from_s]
        server.busy = [(a, min(b, outage.from_s), share) for a, b, share in server.busy if a < outage.from_s]
        server.memory.append((outage.from_s, 4e6))
        if back is not None:
            server.memory.append((back, float(server.machine.idle_bytes)))
            server.number = 0
        server.forget()
        server.kept = 0.0

    def _stick(self, life: Life, server: _Server) -> None:
        server.is_stuck, server.free = True, NEVER
        stuck = server.stuck
        if stuck is None or not stuck.hangs:
            return
        at = life.begun + 0.02
        life.nodes.append((SAMPLE, at, NEVER))
        if stuck.pinned:
            server.busy.append((at, NEVER, 1.0))

    # The nodes of one prompt

    def _work(self, life: Life, server: _Server, begun: float) -> float:
        """All of its nodes; when the last one ends."""
        flow, machine = self.world.workflows[life.workflow], server.machine
        fate = life.fate
        if fate is not None and fate.stage == "cached":
            return begun + 0.006
        life.is_first = life.workflow not in server.cached
        server.cached.add(life.workflow)
        slow = self._slowness(life, begun)
        at = begun + 0.003
        if life.is_first:
            at = self._node(life, LOADER, at, 0.4 + flow.model_bytes / machine.bandwidth * 0.7)
            at = self._node(life, LATENT, at, 0.002)
            until = self._node(life, ENCODE, at, 0.35 * slow)
            server.busy.append((at, until, 0.5))
            at = until
        at = self._sample(life, server, at, slow)
        if life.ended < NEVER:  # it failed there
            return life.ended
        tiled = 1.9 if flow.name in self.world.script.tiled else 1.0
        until = self._node(life, DECODE, at, flow.decode_s * slow * tiled)
        server.busy.append((at, until, 0.97))
        self._pool(server, at, until, flow.activation_bytes * float(self.random.uniform(0.97, 1.0)))
        if self._fails(life, DECODE, until):
            return life.ended
        at = until
        if flow.cpu_s:
            at = self._node(life, CPU, at, flow.cpu_s * float(self.random.uniform(0.9, 1.1)))
        at = self._node(life, SAVE, at, float(self.random.uniform(0.06, 0.12)))
        self._fails(life, SAVE, at)
        return at

    def _node(self, life: Life, node: str, at: float, lasts: float) -> float:
        until = at + lasts
        life.nodes.append((node, at, until))
        return until

    def _sample(self, life: Life, server: _Server, at: float, slow: float) -> float:
        flow = self.world.workflows[life.workflow]
        began = at
        at = self._load(life, server, at)
        lasts = flow.steps * flow.step_s * slow
        self._poison(life, server, at)
        if life.fate is not None and life.fate.stage == "slow":
            lasts *= life.fate.factor
        partial = self.world.script.partial.get(flow.model)
        if partial is not None:
            lasts *= 1 + (1 - partial) * 1.0
        if life.fate is not None and life.fate.stage == "node" and life.fate.node == SAMPLE:
            lasts *= float(self.random.uniform(0.15, 0.6))
        lost = server.gone is not None and at >= server.gone.at_s
        if lost:
            lasts = 0.05
        until = at + lasts
        life.nodes.append((SAMPLE, began, until))
        if not lost:
            server.busy.append((at, until, 0.985 if partial is None else 0.9))
            self._pool(server, at, until, 0.6 * flow.activation_bytes)
        if lost:
            life.outcome, life.code, life.ended = "failed", "NODE_ERROR", until
        else:
            self._fails(life, SAMPLE, until)
            if life.ended < NEVER and life.outcome == "oom":
                self._out_of_memory(life, server, at, until)
        return until

    def _poison(self, life: Life, server: _Server, at: float) -> None:
        """After an illegal access each prompt fails, until somebody restarts the server."""
        poison = server.poison
        if poison is None or at < poison.at_s or server.poisoned >= poison.count:
            return
        server.poisoned += 1
        life.fate = Fate(at, "node", "failed", "NODE_ERROR", error_type="torch.AcceleratorError", message=CUDA_ERROR)
        if server.poisoned == poison.count:
            flow = self.world.workflows[life.workflow]
            down = at + flow.steps * flow.step_s + 1.0
            server.outages.append(away(self.world, server.index, down, down + poison.down_s))

    def _fails(self, life: Life, node: str, at: float) -> bool:
        fate = life.fate
        if fate is None or fate.stage != "node" or fate.node != node:
            return False
        life.outcome, life.code, life.ended = fate.outcome, fate.code, at
        return True

    def _load(self, life: Life, server: _Server, at: float) -> float:
        """Its model is on the GPU when this returns."""
        flow, machine, world = self.world.workflows[life.workflow], server.machine, self.world
        if life.workflow in server.resident:
            server.resident.remove(life.workflow)
            server.resident.append(life.workflow)
            return at
        sizes = [one.model_bytes for one in world.workflows]
        share = world.script.partial.get(flow.model, 1.0)
        room = machine.vram_bytes * 0.95 - machine.idle_bytes - max(one.activation_bytes for one in world.workflows)
        need = flow.model_bytes * share
        while server.resident and sum(sizes[one] for one in server.resident) + need > room and not world.dynamic:
            server.resident.pop(0)
            life.evicted += 1
            server.pool = 0.0
        base = self._held(server)
        server.memory.append((at, base))
        until = at + max(need / machine.bandwidth, 0.08)
        for step in range(1, 6):
            server.memory.append((at + (until - at) * step / 5, base + (0.0 if world.dynamic else need * step / 5)))
        server.resident.append(life.workflow)
        server.busy.append((at, until, 0.12))
        life.load = (at, until)
        return until

    def _held(self, server: _Server) -> float:
        world = self.world
        loaded = sum(
            world.workflows[one].model_bytes * world.script.partial.get(world.workflows[one].model, 1.0)
            for one in server.resident
        )
        held = server.machine.idle_bytes + server.kept + loaded + server.pool
        if world.dynamic:
            return min(server.machine.idle_bytes + server.filled, server.machine.vram_bytes * 0.962)
        return float(min(held, server.machine.vram_bytes * 0.992))

    def _pool(self, server: _Server, at: float, until: float, wanted: float) -> None:
        """The allocator keeps what work once took."""
        if self.world.dynamic:
            server.filled += float(self.random.uniform(0.01, 0.05)) * server.machine.vram_bytes
        if wanted > server.pool:
            server.pool = wanted
            server.memory.append((at + 0.05 * (until - at), self._held(server)))
        elif self.world.dynamic:
            server.memory.append((at, self._held(server)))

    def _out_of_memory(self, life: Life, server: _Server, at: float, until: float) -> None:
        server.memory.append((at, server.machine.vram_bytes * 0.985))
        server.resident.clear()
        server.pool = 0.0
        server.kept += life.fate.keeps_bytes if life.fate is not None else 0
        server.memory.append((until, self._held(server)))

    def _slowness(self, life: Life, at: float) -> float:
        slow = float(self.drift[min(int(at / self.grain), len(self.drift) - 1)])
        slow *= math.exp(self.world.noise * float(self.random.standard_normal()))
        flow = self.world.workflows[life.workflow].name
        for speed in self.world.script.speed:
            slow *= speed(life.server, at, flow)
        for one in self.world.script.slowdowns:
            if one.works and one.server == life.server and one.from_s <= at < one.until_s:
                slow /= one.clock
        return slow

    # The end

    def _end(self, life: Life) -> None:
        """When and how its user sees it."""
        fate, limit = life.fate, life.due + self.world.workflows[life.workflow].deadline_s
        if life.outcome == "lost":
            return
        if fate is not None and fate.stage == "deleted":
            life.finished = life.gone + float(self.random.uniform(1.5, 3.0))
            life.outcome, life.code = fate.outcome, fate.code
        elif life.ended == NEVER or life.ended > limit:
            life.finished = limit
            life.outcome, life.code = "timeout", "DEADLINE"
        else:
            if fate is not None and fate.stage in {"end", "cached", "left"} and life.outcome == "success":
                life.outcome, life.code = fate.outcome, fate.code
            late = fate.late_s if fate is not None else 0.0
            life.finished = life.ended + float(self.random.uniform(0.02, 0.09)) + late + self._silence(life)
            if fate is not None and fate.stage == "left":
                life.finished = max(life.accepted + 0.1, life.ended - late)

    def _silence(self, life: Life) -> float:
        """How long it took to ask for an end that nobody told."""
        for server, start, until in self.world.script.silent:
            if server == life.server and start <= life.ended < until:
                if life.code is None and life.outcome == "success":
                    life.code = "LOST_TERMINAL"
                return float(self.random.uniform(1.0, 3.0))
        return 0.0

    # All servers

    def _settle(self) -> float:
        """Users pause, what is open ends, all memory is let go; when the load goes on."""
        wait = self.world.settle[1] if self.world.settle else 0.0
        open_until = max((life.finished for life in self.lives if life.finished < NEVER), default=0.0)
        began = max(self.next_settle, open_until, *(one.free for one in self.servers if one.free < NEVER))
        free = began + _FREE_S * float(self.random.uniform(0.6, 1.4))
        for server in self.servers:
            server.forget()
            server.memory.append((began + 0.6, self._held(server)))
            server.free = max(server.free, free + wait)
        self.settles.append((began, free, free + wait))
        every = self.world.settle[0] if self.world.settle else NEVER
        self.next_settle = free + wait + every
        return free + wait

    def _let_go(self, server: _Server, at: float) -> None:
        """Garbage collection gives memory back now and then."""
        if self.world.sawtooth_bytes and self.random.random() < 0.06:
            server.memory.append((at - 0.001, self._held(server) - server.pool))
            server.pool = 0.0


def play(world: World) -> Course:
    """Let the world happen."""
    return _Play(world).play()


def _wander(numbers: np.random.Generator, count: int, spread: float) -> list[float]:
    """A factor that wanders around 1, autocorrelated."""
    value, found = 0.0, []
    for shock in numbers.standard_normal(count) * spread * math.sqrt(1 - 0.9**2):
        value = 0.9 * value + float(shock)
        found.append(math.exp(value))
    return found
