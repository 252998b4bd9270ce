"""The machine a server runs on: what stays when the server's process is started again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.scenario.embedded import Embedded, WallClock
from comfysoak_simulator.catalogue import Catalogue
from comfysoak_simulator.costs import Costs
from comfysoak_simulator.files import Files
from comfysoak_simulator.gpu import Gpu
from comfysoak_simulator.logbook import Logbook
from comfysoak_simulator.models import ModelFiles
from comfysoak_simulator.schedule import Faults, Note


@dataclass(frozen=True, slots=True)
class Machine:
    """GPU, disk, log, and the faults to come, of server number `index` of an embedded target."""

    embedded: Embedded
    index: int
    clock: Clock
    wall: Clock  # what it shows as time of day: in timestamps and log lines
    start_ns: int
    catalogue: Catalogue
    models: ModelFiles
    costs: Costs
    files: Files
    gpu: Gpu | None
    log: Logbook
    faults: Faults
    leaked: list[bytearray] = field(default_factory=list)  # memory a leak of the process really holds
    endings: list[tuple[int, Callable[[], None]]] = field(default_factory=list)  # when faults that last are undone

    def end_of_process(self) -> None:
        """The server's process is gone: what it held of GPU, memory and temporary files is free again."""
        if self.gpu is not None:
            self.gpu.end_of_process()
            self.gpu.recover()
        self.files.purge_temp()
        self.leaked.clear()

    def end_faults(self, now_ns: int) -> None:
        """Undo the faults whose time is over; a GPU that is throttled does not care which process runs."""
        over = [undo for end_ns, undo in self.endings if end_ns <= now_ns]
        self.endings[:] = [ending for ending in self.endings if ending[0] > now_ns]
        for undo in over:
            undo()

    def leak(self, size_bytes: int, *, of_gpu: bool) -> None:
        """Lose memory: of the GPU until the process ends, or of this very process."""
        if not of_gpu:
            self.leaked.append(bytearray(size_bytes))
        elif self.gpu is not None:
            self.gpu.leaked_bytes += size_bytes

    @classmethod
    def assemble(
        cls, embedded: Embedded, index: int, clock: Clock, note: Note = lambda _fault, _subject: None
    ) -> Machine:
        """The machine a scenario describes; `note` hears of each fault that strikes.

        Files the description names must have been read in (`Embedded.with_files_read`); ValueError otherwise.
        """
        if not isinstance(embedded.costs, dict) or not (
            embedded.object_info is None or isinstance(embedded.object_info, dict)
        ):
            raise ValueError("expected an Embedded with its files read in, got paths; call with_files_read first")
        now_ns = clock.now_ns()
        wall = _wall(clock, embedded.clocks[index], now_ns) if index < len(embedded.clocks) else clock
        models = ModelFiles(embedded.models, stock=embedded.stock_models)
        return cls(
            embedded=embedded,
            index=index,
            clock=clock,
            wall=wall,
            start_ns=now_ns,
            catalogue=Catalogue.built_in(embedded.version, models)
            if embedded.object_info is None
            else Catalogue.from_dump(embedded.object_info),
            models=models,
            costs=Costs(embedded.costs),
            files=Files(),
            gpu=Gpu(embedded.gpu, now_ns) if embedded.gpu is not None else None,
            log=Logbook(embedded.version, wall),
            faults=Faults(embedded.faults, index, embedded.seed, now_ns, note),
        )


@dataclass(frozen=True, slots=True)
class _WrongClock:
    """A clock that is off by `ahead_ns` and gains `drift` seconds a second, from `from_ns` on."""

    right: Clock
    from_ns: int
    ahead_ns: int
    drift: float

    def now_ns(self) -> int:
        """What it shows."""
        now_ns = self.right.now_ns()
        if now_ns < self.from_ns:
            return now_ns
        return now_ns + self.ahead_ns + round((now_ns - self.from_ns) * self.drift)


def _wall(clock: Clock, written: WallClock, start_ns: int) -> Clock:
    return _WrongClock(
        clock,
        start_ns + round(written.at * NS_PER_S),
        round((written.ahead - written.behind) * NS_PER_S),
        written.drift_ppm * 1e-6,
    )
