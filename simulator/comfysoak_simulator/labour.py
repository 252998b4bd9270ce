"""The work of a node on the virtual GPU: models to load, memory to hold, time to pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from comfysoak_core.clock import NS_PER_S
from comfysoak_simulator.behaviour import models_in
from comfysoak_simulator.costs import NO_WORK, Work
from comfysoak_simulator.gpu import SAMPLING, loading
from comfysoak_simulator.graph import Node
from comfysoak_simulator.models import Model, model_of
from comfysoak_simulator.values import Value
from comfysoak_simulator.worker import Worker

GIB = 1024**3
_SHORTEST_NS = 20_000  # a wait below this is no wait: timers are coarser
_PCIE_BYTES_PER_S = 12 * GIB


class ShortageError(Exception):
    """A node wants more memory than there is."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Time that has to pass: until this moment (UTC ns), None for ever. Interruptible: an interrupt ends it."""

    until_ns: int | None
    interruptible: bool


@dataclass(frozen=True, slots=True)
class Assignment:
    """One node's work."""

    node: Node
    work: Work
    models: tuple[Model, ...]
    is_work: bool


class Labour:
    """Does one node's work after the other, on the worker's GPU and by its clock."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._models: tuple[Model, ...] = ()
        self._work = NO_WORK
        self._owner = ""
        self._hang_ns: int | None = 0
        self._class = ""

    @property
    def steps(self) -> int:
        """How many progress updates the node makes."""
        return self._work.steps

    def take_up(self, node: Node, inputs: dict[str, Value]) -> Assignment:
        """Make a node's work the current one."""
        work = self._worker.costs.work(node.node_class.name, inputs)
        models: tuple[Model, ...] = ()
        if work is not NO_WORK:
            models = tuple(dict.fromkeys(model for value in inputs.values() for model in models_in(value)))
            if work.model:
                size = self._worker.models.size_bytes(work.model)
                models += (model_of(work.model, size, "MODEL", node.node_class.name),)
        self._work, self._models, self._owner, self._class = work, models, node.id, node.node_class.name
        self._hang_ns = 0
        is_work = bool(models or work.seconds or work.steps or work.vram_bytes) or node.node_class.is_output
        return Assignment(node, work, models, is_work)

    def put_down(self) -> None:
        """Give back what the current node holds."""
        gpu = self._worker.gpu
        if gpu is not None and self._owner:
            gpu.release(self._owner)
        self._owner = ""

    def hang(self, seconds: float | None) -> None:
        """The current node takes so much longer, None for ever, and looks at nothing meanwhile."""
        self._hang_ns = None if seconds is None else round(seconds * NS_PER_S)

    def lasts_ns(self, seconds: float) -> int:
        """How long something of `seconds` takes on this server now, with its speed and its faults."""
        now_ns = self._worker.clock.now_ns()
        factor = self._worker.slowdown(now_ns, self._class)
        return round(seconds * factor * NS_PER_S / self._worker.speed)

    def load_models(self) -> Iterator[Pause]:
        """Bring the models the node uses to the GPU and take its working memory. Raises ShortageError."""
        worker, gpu = self._worker, self._worker.gpu
        wanted = [model for model in self._models if not worker.resident(model)]
        for model in wanted:
            worker.log.write(f"Requested to load {model.family}")
        for model in self._models:
            if worker.dynamic_vram:
                worker.log.staged(model)  # at every use
            if model not in wanted:
                continue
            if gpu is None:
                worker.remember(model)
                placement = None
                moved = model.size_bytes
            else:
                placement = gpu.place(model, self._models, self._work.vram_bytes)
                moved = placement.moved_bytes
            now_ns = worker.clock.now_ns()
            lasts_ns = round(moved / worker.load_bandwidth * NS_PER_S / worker.speed)
            if gpu is not None:
                gpu.busy(now_ns, now_ns + lasts_ns, loading(worker.load_bandwidth * worker.speed))
            yield from self._pause(lasts_ns, interruptible=False)
            if not worker.dynamic_vram:
                worker.log.loaded(model, placement, gpu.free_bytes if gpu is not None else 0)
        if gpu is not None and not gpu.reserve(self._owner, self._work.vram_bytes, self._models):
            raise ShortageError(self.shortage_text())

    def shortage_text(self) -> str:
        """What torch says when memory runs out."""
        gpu = self._worker.gpu
        allocated, free, limit = (gpu.torch_bytes, gpu.free_bytes, gpu.total_bytes) if gpu is not None else (0, 0, 0)
        wanted = max(self._work.vram_bytes, GIB // 2)
        return (
            "Allocation on device 0 would exceed allowed memory. (out of memory)\n"
            f"Currently allocated     : {allocated / GIB:.2f} GiB\n"
            f"Requested               : {wanted / GIB:.2f} GiB\n"
            f"Device limit            : {limit / GIB:.2f} GiB\n"
            f"Free (according to CUDA): {free / GIB:.2f} GiB"
        )

    def begin(self) -> Iterator[Pause]:
        """The time before the first step."""
        if self._hang_ns is None:
            while True:
                yield Pause(None, interruptible=False)
        yield from self._pause(self._hang_ns, interruptible=False)
        yield from self._busy_pause(self._work.seconds)

    def step(self) -> Iterator[Pause]:
        """The time of one step; what did not fit on the GPU is moved there at each."""
        gpu = self._worker.gpu
        seconds = self._work.seconds_per_step
        if gpu is not None:
            seconds += sum(gpu.missing_share(model) * model.size_bytes for model in self._models) / _PCIE_BYTES_PER_S
        yield from self._busy_pause(seconds)

    def _busy_pause(self, seconds: float) -> Iterator[Pause]:
        lasts_ns = self.lasts_ns(seconds)
        gpu, now_ns = self._worker.gpu, self._worker.clock.now_ns()
        on_gpu = gpu is not None and bool(self._models or self._work.vram_bytes)
        if gpu is not None and on_gpu:
            gpu.busy(now_ns, now_ns + lasts_ns, SAMPLING)
        yield from self._pause(lasts_ns, interruptible=self._worker.newer and bool(self._models))
        if gpu is not None and on_gpu and self._worker.interrupt_wanted:
            gpu.idle_from(self._worker.clock.now_ns())

    def _pause(self, lasts_ns: int, *, interruptible: bool) -> Iterator[Pause]:
        if lasts_ns >= _SHORTEST_NS:
            yield Pause(self._worker.clock.now_ns() + lasts_ns, interruptible)
