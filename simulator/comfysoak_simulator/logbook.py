"""The server's log in ComfyUI's own words, of either version: what a probe reads to know of loads and errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import psutil

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.scenario.embedded import Embedded, Version
from comfysoak_simulator.gpu import Placement
from comfysoak_simulator.models import Model

_ATTENTION_ON_CPU = (
    "Using sub quadratic optimization for attention, if you have memory or speed issues try using: "
    "--use-split-cross-attention"
)
_CACHE_WORDS = {"lru": "Using LRU cache", "none": "Disabling intermediate node cache."}
KEPT_LINES = 300
MIB = 1024**2
_NO_LIMIT_MB = 9.5367431640625e25  # what ComfyUI says where there is no budget


class Level(StrEnum):
    """How 0.33 marks a record."""

    INFO = "\x1b[32m[INFO]\x1b[0m "
    WARNING = "\x1b[1m\x1b[33m[WARNING]\x1b[0m "
    ERROR = "\x1b[1m\x1b[31m[ERROR]\x1b[0m "


@dataclass(frozen=True, slots=True)
class Line:
    """One line, with its newline."""

    at_ns: int
    text: str

    @property
    def time(self) -> str:
        """When, as ComfyUI writes it."""
        moment = datetime.fromtimestamp(self.at_ns / NS_PER_S, UTC).replace(tzinfo=None)
        return moment.isoformat(timespec="microseconds")

    def as_json(self) -> dict[str, str]:
        """As an entry of /internal/logs/raw."""
        return {"t": self.time, "m": self.text}


class Logbook:
    """The last lines, and a listener for each new one (a file, the subscribed sockets)."""

    def __init__(self, version: Version, clock: Clock) -> None:
        self._newer = version == "0.33.0"
        self._clock = clock
        self.lines: deque[Line] = deque(maxlen=KEPT_LINES)
        self.listeners: list[Callable[[Line], None]] = []

    def write(self, text: str, level: Level = Level.INFO) -> None:
        """A record as the version marks it."""
        line = Line(self._clock.now_ns(), f"{level.value if self._newer else ''}{text}\n")
        self.lines.append(line)
        for listener in self.listeners:
            listener(line)

    def executed(self, seconds: float) -> None:
        """The end of a prompt, however it ended."""
        if seconds > 600:
            whole = round(seconds)
            text = f"Prompt executed in {whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
        else:
            text = f"Prompt executed in {seconds:.2f} seconds"
        self.write(f"\x1b[32m{text}\x1b[0m" if self._newer else text)

    def started(self, embedded: Embedded, url: str) -> None:
        """The process is there: what it found, and where it answers."""
        gpu, ram = embedded.gpu, psutil.virtual_memory().total // MIB
        self.write(f"Total VRAM {ram if gpu is None else gpu.memory // MIB} MB, total RAM {ram} MB")
        self.write(f"Set vram state to: {'DISABLED' if gpu is None else 'NORMAL_VRAM'}")
        self.write("Device: cpu" if gpu is None else f"Device: cuda:0 {gpu.name} : cudaMallocAsync")
        self.write(_ATTENTION_ON_CPU if gpu is None else "Using pytorch attention")
        if self._newer and gpu is not None and gpu.dynamic_vram:
            self.write("DynamicVRAM support detected and enabled")
        self.cache_made(embedded.cache)
        self.write(f"To see the GUI go to: {url}")

    def cache_made(self, kind: str) -> None:
        """An empty cache of results: at the start, and when all memory was let go; the classic one says nothing."""
        if kind in _CACHE_WORDS:
            self.write(_CACHE_WORDS[kind])
        elif kind == "default" and self._newer:
            self.write("Using RAM pressure cache.")

    def loader_read(self, model: Model, kind: str, *, on_gpu: bool) -> None:
        """A loader node has read a file."""
        device = "cuda:0" if on_gpu else "cpu"
        half = "torch.float16" if on_gpu else "torch.float32"
        if kind == "VAE":
            brain = "torch.bfloat16" if on_gpu else "torch.float32"
            self.write(f"VAE load device: {device}, offload device: cpu, dtype: {brain}")
        elif kind == "CLIP":
            self.write(
                f"CLIP/text encoder model load device: {device}, offload device: cpu, current: cpu, dtype: {half}"
            )
        elif kind == "MODEL":
            self.write(f"model weight dtype {half}, manual cast: None")
            self.write(f"model_type {'FLOW' if model.family in ('SD3', 'Flux') else 'EPS'}")

    def staged(self, model: Model) -> None:
        """A model is about to be used with dynamic VRAM; said at each use, also of one that is there."""
        size = model.size_bytes // MIB
        self.write(f"Model {model.family} prepared for dynamic VRAM loading. {size}MB Staged. 0 patches attached.")

    def loaded(self, model: Model, placement: Placement | None, free_bytes: int) -> None:
        """A model is on the device, whole or in part; without a placement: on the CPU."""
        if placement is None:
            size = model.size_bytes / MIB
            older = f"loaded completely {_NO_LIMIT_MB} {size} True"
            self.write(f"loaded completely;  {size:.2f} MB loaded, full load: True" if self._newer else older)
            return
        if placement.partial:
            self.write("0 models unloaded.")  # room was asked for twice, and at the second time nothing was left to go
        loaded, budget = placement.resident_bytes / MIB, free_bytes / MIB
        offloaded = model.size_bytes / MIB - loaded
        if placement.partial and self._newer:
            self.write(
                f"loaded partially; {budget:.2f} MB usable, {loaded:.2f} MB loaded, {offloaded:.2f} MB offloaded, "
                "0.00 MB buffer reserved, lowvram patches: 0"
            )
        elif placement.partial:
            self.write(f"loaded partially {budget} {loaded} 0")
        elif self._newer:
            self.write(f"loaded completely; {budget:.2f} MB usable, {loaded:.2f} MB loaded, full load: True")
        else:
            self.write(f"loaded completely {budget} {loaded} True")

    def raised(self, message: str, type_name: str, *, out_of_memory: bool) -> None:
        """A node raised."""
        self.write(f"!!! Exception during processing !!! {message}", Level.ERROR)
        self.write(f"Traceback (most recent call last):\n{type_name}: {message}\n", Level.ERROR)
        if out_of_memory:
            if self._newer:
                self.write("Memory summary: \n")
            self.write("Got an OOM, unloading all loaded models.", Level.ERROR)
