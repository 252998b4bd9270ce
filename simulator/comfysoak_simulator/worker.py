"""The worker of one server: all that a running prompt needs, and what outlives it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.faults import (
    CorruptOutput,
    CudaPoisoned,
    MissingOutput,
    NodeFaultBase,
    Slow,
    WrongOutput,
)
from comfysoak_simulator.behaviour import Behaviour
from comfysoak_simulator.cache import Cache
from comfysoak_simulator.files import Place
from comfysoak_simulator.machine import Machine
from comfysoak_simulator.messages import Binary, Message
from comfysoak_simulator.models import Model
from comfysoak_simulator.tasks import Gift, Task

Json = Any
N = TypeVar("N", bound=NodeFaultBase)
GIB = 1024**3
_SECONDS_PER_HOUR = 3600.0
_CUDA_ERROR = (
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported at "
    "some other API call, so the stacktrace below might be incorrect."
)
_LOST_ERROR = "CUDA error: unspecified launch failure\nUnable to determine the device handle for GPU: GPU is lost."


class Worker:
    """Runs prompts for one process of a server; `send` takes each message for the sockets."""

    def __init__(self, machine: Machine, send: Callable[[Message], None]) -> None:
        embedded = machine.embedded
        self.machine = machine
        self.newer = embedded.version == "0.33.0"
        self.clock = machine.clock
        self.catalogue = machine.catalogue
        self.models = machine.models
        self.costs = machine.costs
        self.gpu = machine.gpu
        self.log = machine.log
        self.speed = embedded.speed
        self.dynamic_vram = self.newer and embedded.gpu is not None and embedded.gpu.dynamic_vram
        self.load_bandwidth = embedded.gpu.load_bandwidth if embedded.gpu is not None else 2 * GIB
        self.preview_size = embedded.preview_size
        self.cache = Cache(embedded.cache, embedded.lru_size)
        random = Random(f"{embedded.seed}/{machine.index}/{machine.clock.now_ns()}")
        self.behaviour = Behaviour(machine.files, machine.models, random, newer=self.newer)
        self.client_flags: dict[str, dict[str, Json]] = {}  # what clients said of themselves, by client id
        self.interrupt_wanted = False
        self.last_node_id: str | None = None
        self.broken: str | None = None  # why every node fails until a restart
        self._send = send
        self._on_cpu: set[Model] = set()

    def send(self, event: str | Binary, data: Json, to: str | None) -> None:
        """A message for the sockets."""
        self._send(Message(event, data, to))

    def takes_metadata(self, client: str | None) -> bool:
        """Whether the client wants to know whose preview an image is."""
        flags = self.client_flags.get(client or "")
        return bool(flags and flags.get("supports_preview_metadata"))

    def shows_previews(self, extra_data: dict[str, Json]) -> bool:
        """Whether this prompt's samplers show pictures; in 0.33 a prompt may choose."""
        method: Json = self.machine.embedded.previews
        wanted = extra_data.get("preview_method") if self.newer else None
        if wanted in ("none", "latent2rgb", "taesd", "auto"):
            method = wanted
        return bool(method != "none")

    def resident(self, model: Model) -> bool:
        """Whether a model is where it is used, whole or as much of it as fits."""
        return model in self._on_cpu if self.gpu is None else self.gpu.holds(model)

    def remember(self, model: Model) -> None:
        """A server without a GPU has loaded a model."""
        self._on_cpu.add(model)

    def unload_models(self) -> None:
        """Take all models off the GPU. The real one says nothing of it."""
        if self.gpu is not None:
            self.gpu.unload_all()
        self._on_cpu.clear()

    def slowdown(self, now_ns: int, node_class: str) -> float:
        """How many times as long a node of this class takes now."""
        factor = self.gpu.slowdown if self.gpu is not None else 1.0
        if not self.machine.faults.any:
            return factor
        slow = self.machine.faults.strike(Slow, now_ns, node=node_class)
        if slow is not None:
            hours = (now_ns - self.machine.start_ns) / NS_PER_S / _SECONDS_PER_HOUR
            factor *= slow.factor * (1.0 + slow.growth * hours)
        return factor

    def node_fault(self, kind: type[N], now_ns: int, node_class: str, *, is_work: bool, subject: str) -> N | None:
        """The fault of this kind that strikes a node about to run: one that names its class, or any that works."""
        return self.machine.faults.strike(kind, now_ns, node=node_class, any_node=is_work, subject=subject)

    def strike_gpu_faults(self, now_ns: int, node_class: str, *, is_work: bool) -> None:
        """Let the GPU go bad, if it is time."""
        if self.gpu is not None and self.gpu.lost_xid is not None:
            self.broken = _LOST_ERROR
        elif self.node_fault(CudaPoisoned, now_ns, node_class, is_work=is_work, subject=node_class) is not None:
            self.broken = _CUDA_ERROR

    def do(self, task: Task) -> Gift:
        """A node's result; what it saves may be spoiled by a fault."""
        gift = self.behaviour.do(task)
        ui = gift.result.ui
        if ui is not None and self.machine.faults.spoils_outputs:
            for entry in (entry for shown in ui.values() for entry in shown if isinstance(entry, dict)):
                self._spoil(entry)
        return gift

    def _spoil(self, entry: dict[str, str]) -> None:
        faults, files, now_ns = self.machine.faults, self.machine.files, self.clock.now_ns()
        place, subject = Place.from_json(entry), entry["filename"]
        if faults.strike(MissingOutput, now_ns, subject=subject) is not None:
            files.delete(place)
        wrong = faults.strike(WrongOutput, now_ns, subject=subject)
        corrupt = faults.strike(CorruptOutput, now_ns, subject=subject) if files.is_still(place) else None
        if wrong is not None or corrupt is not None:
            files.spoil(place, how=wrong.how if wrong else "", flipped_pixels=corrupt.pixels if corrupt else 0)
