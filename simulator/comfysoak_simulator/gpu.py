"""A virtual GPU: what fits into its memory, what has to leave for it, how busy it has been.

It knows ComfyUI's rules for models: a model that is needed stays until another one needs the space, the one used
longest ago leaves first, and one that does not fit is loaded in part and then costs time at each step.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection
from dataclasses import dataclass, fields

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.embedded import VirtualGpu
from comfysoak_simulator.models import Model

MIB = 1024**2
_UTILISATION_WINDOW_NS = NS_PER_S
_IDLE_CELSIUS, _BUSY_CELSIUS, _WARMING_S = 38.0, 74.0, 20.0
_IDLE_WATTS_SHARE = 0.12
_SM_MHZ, _IDLE_SM_MHZ, _MEMORY_MHZ = 1980, 345, 2619


@dataclass(frozen=True, slots=True)
class Placement:
    """What it takes to have a model on the GPU: bytes to move, models that left, and how it ended up."""

    moved_bytes: int
    unloaded: tuple[Model, ...]
    resident_bytes: int
    partial: bool


@dataclass(frozen=True, slots=True)
class Activity:
    """How hard the parts of a GPU work, each 0 to 1 of what they could, but for the bytes it is sent."""

    utilisation: float = 0.0  # of the time in which some kernel runs
    sm: float = 0.0
    occupancy: float = 0.0
    tensor: float = 0.0
    memory: float = 0.0
    received_bytes_per_s: float = 0.0

    def plus(self, other: Activity, share: float) -> Activity:
        """Beside it `share` of another one."""
        return Activity(*(getattr(self, one.name) + getattr(other, one.name) * share for one in fields(Activity)))


SAMPLING = Activity(0.97, sm=0.88, occupancy=0.34, tensor=0.47, memory=0.39, received_bytes_per_s=2e6)


def loading(bytes_per_s: float) -> Activity:
    """A model is being moved to the GPU: hardly a kernel runs, the bus is full."""
    return Activity(0.08, sm=0.02, occupancy=0.01, memory=0.06, received_bytes_per_s=bytes_per_s)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a probe of this GPU sees at one moment; `activity` over the second before."""

    used_bytes: int
    total_bytes: int
    reserved_bytes: int
    utilisation: float
    memory_utilisation: float
    watts: float
    limit_watts: float
    energy_joules: float
    celsius: float
    sm_mhz: int
    memory_mhz: int
    xid: int
    activity: Activity
    throttled: bool
    throttled_ns: int  # in all


class Gpu:
    """One virtual GPU; times are passed in, bytes and nanoseconds throughout."""

    def __init__(self, spec: VirtualGpu, now_ns: int) -> None:
        self.spec = spec
        self._models: OrderedDict[Model, int] = OrderedDict()  # resident bytes, least recently used first
        self._working: dict[str, int] = {}
        self.leaked_bytes = 0
        self.foreign_bytes = 0
        self.lost_xid: int | None = None
        self.slowdown = 1.0  # by throttling: clocks are divided by it
        self._busy: deque[tuple[int, int, Activity]] = deque()
        self._throttled_since_ns: int | None = None
        self._throttled_ns = 0
        self._read_ns = now_ns
        self._celsius = _IDLE_CELSIUS
        self._joules = 0.0
        self._xid = 0

    @property
    def total_bytes(self) -> int:
        """All memory of the card."""
        return self.spec.memory

    @property
    def torch_bytes(self) -> int:
        """What the server's own allocator holds."""
        return sum(self._models.values()) + sum(self._working.values()) + self.leaked_bytes

    @property
    def used_bytes(self) -> int:
        """What the driver says is used, by anybody."""
        return min(self.torch_bytes + self.spec.reserved + self.foreign_bytes, self.total_bytes)

    @property
    def free_bytes(self) -> int:
        """What the driver says is free."""
        return self.total_bytes - self.used_bytes

    def holds(self, model: Model) -> bool:
        """Whether the model is loaded; using it counts as such."""
        if model not in self._models:
            return False
        self._models.move_to_end(model)
        return True

    def missing_share(self, model: Model) -> float:
        """The share of a loaded model that did not fit and is moved at each step."""
        if not model.size_bytes:
            return 0.0
        return max(1.0 - self._models.get(model, model.size_bytes) / model.size_bytes, 0.0)

    def place(self, model: Model, needed: Collection[Model], working_bytes: int) -> Placement:
        """Make room for a model and `working_bytes` beside it, keeping the models `needed`, and load it."""
        unloaded = self._make_room(model.size_bytes + working_bytes, keep=needed)
        room = max(self.free_bytes - working_bytes, 0)
        resident = min(model.size_bytes, room)
        self._models[model] = resident
        self._models.move_to_end(model)
        return Placement(resident, unloaded, resident, partial=resident < model.size_bytes)

    def reserve(self, owner: str, size_bytes: int, needed: Collection[Model]) -> bool:
        """Hold working memory for a node, unloading models it does not need; False when it cannot be had."""
        self._make_room(size_bytes, keep=needed)
        if size_bytes > self.free_bytes:
            return False
        self._working[owner] = size_bytes
        return True

    def release(self, owner: str) -> None:
        """Give back a node's working memory."""
        self._working.pop(owner, None)

    def unload_all(self) -> None:
        """Take all models off."""
        self._models.clear()

    def end_of_process(self) -> None:
        """The server's process is gone, and with it all it held."""
        self._models.clear()
        self._working.clear()
        self.leaked_bytes = 0

    def busy(self, from_ns: int, until_ns: int, activity: Activity) -> None:
        """Note how hard it works in this stretch."""
        if until_ns > from_ns:
            self._forget_before(from_ns - _UTILISATION_WINDOW_NS)  # perhaps nobody ever reads it
            self._busy.append((from_ns, until_ns, activity))

    def idle_from(self, now_ns: int) -> None:
        """Work announced for later than now was called off."""
        while self._busy and self._busy[-1][1] > now_ns:
            start, _, activity = self._busy.pop()
            if start < now_ns:
                self._busy.append((start, now_ns, activity))
                return

    def lose(self, xid: int) -> None:
        """It falls off the bus."""
        self.lost_xid = self._xid = xid

    def add_foreign(self, size_bytes: int) -> None:
        """Another process takes memory, or gives it back (negative)."""
        self.foreign_bytes = max(self.foreign_bytes + size_bytes, 0)

    def throttle(self, factor: float, now_ns: int) -> None:
        """Clocks are divided by this from now on; 1: no longer."""
        self._throttled_ns = self._throttled_until(now_ns)
        self._throttled_since_ns = now_ns if factor > 1 else None
        self.slowdown = factor

    def _throttled_until(self, now_ns: int) -> int:
        since = self._throttled_since_ns
        return self._throttled_ns + (max(now_ns - since, 0) if since is not None else 0)

    def recover(self) -> None:
        """What a restart of server and driver gives."""
        self.lost_xid = None

    def read(self, now_ns: int) -> Reading:
        """What a probe sees now."""
        activity = self._activity(now_ns)
        utilisation = min(activity.utilisation, 1.0)
        watts = self.spec.watts * (_IDLE_WATTS_SHARE + (1 - _IDLE_WATTS_SHARE) * utilisation / self.slowdown)
        elapsed_s = max((now_ns - self._read_ns) / NS_PER_S, 0.0)
        self._read_ns = now_ns
        target = _IDLE_CELSIUS + (_BUSY_CELSIUS - _IDLE_CELSIUS) * utilisation
        self._celsius += (target - self._celsius) * min(elapsed_s / _WARMING_S, 1.0)
        self._joules += watts * elapsed_s
        clock = _SM_MHZ if utilisation > 0 else _IDLE_SM_MHZ
        return Reading(
            used_bytes=self.used_bytes,
            total_bytes=self.total_bytes,
            reserved_bytes=self.spec.reserved,
            utilisation=utilisation,
            memory_utilisation=utilisation * 0.6,
            watts=watts,
            limit_watts=self.spec.watts,
            energy_joules=self._joules,
            celsius=self._celsius,
            sm_mhz=round(clock / self.slowdown),
            memory_mhz=_MEMORY_MHZ,
            xid=self._xid,
            activity=activity,
            throttled=self._throttled_since_ns is not None,
            throttled_ns=self._throttled_until(now_ns),
        )

    def _activity(self, now_ns: int) -> Activity:
        """The mean over the window before `now_ns`."""
        since = now_ns - _UTILISATION_WINDOW_NS
        self._forget_before(since)
        worked_ns: dict[Activity, int] = {}  # there are few kinds, and many stretches
        for start, until, activity in self._busy:
            lasted_ns = min(until, now_ns) - max(start, since)
            if lasted_ns > 0:
                worked_ns[activity] = worked_ns.get(activity, 0) + lasted_ns
        mean = Activity()
        for activity, lasted_ns in worked_ns.items():
            mean = mean.plus(activity, lasted_ns / _UTILISATION_WINDOW_NS)
        return mean

    def _forget_before(self, since_ns: int) -> None:
        while self._busy and self._busy[0][1] <= since_ns:
            self._busy.popleft()

    def _make_room(self, size_bytes: int, keep: Collection[Model]) -> tuple[Model, ...]:
        unloaded = []
        for model in [model for model in self._models if model not in keep]:
            if size_bytes <= self.free_bytes:
                break
            del self._models[model]
            unloaded.append(model)
        return tuple(unloaded)
