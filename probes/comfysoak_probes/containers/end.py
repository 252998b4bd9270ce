"""How a container ended: by its engine's word, and where there is none by what the kernel counted."""

from __future__ import annotations

from dataclasses import dataclass

from comfysoak_core.clock import NS_PER_S
from comfysoak_probes.containers.cgroup import numbers
from comfysoak_probes.containers.engine import ContainerEngine, Death, EngineError, Inspected
from comfysoak_probes.containers.home import Home
from comfysoak_probes.containers.usage import identity_of

NOTICED_WITHIN_NS = 10 * NS_PER_S  # an engine needs some time after the process has gone
KILLED_LATELY_NS = 10 * NS_PER_S
MARGIN_S = 1.0
SIGNALS = 128  # an exit code above it is a signal's number and this
SIGKILL = 137


@dataclass(frozen=True, slots=True)
class End:
    """The end of a container, or of a group with a limit that was killed in; `exit_code` None: nobody tells."""

    exit_code: int | None
    oom: bool
    why: str

    @property
    def words(self) -> str:
        """For people."""
        if self.oom:
            kind = "killed for memory"
        elif self.exit_code == SIGKILL:
            kind = "killed, not for memory as far as is told"
        elif self.exit_code is not None and self.exit_code > SIGNALS:
            kind = f"ended by signal {self.exit_code - SIGNALS}"
        else:
            kind = "ended"
        code = "exit code unknown" if self.exit_code is None else f"exit code {self.exit_code}"
        return f"{kind}, {code}" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True, slots=True)
class Ending:
    """The server's process has gone from `home`; whether its container has too is still to be seen."""

    home: Home
    gone_ns: int

    def has_waited(self, at_ns: int) -> bool:
        """Long enough: the container goes on without that process."""
        return at_ns - self.gone_ns > NOTICED_WITHIN_NS

    def look(self, engine: ContainerEngine, system_s: float) -> End | None:
        """How it ended; None while the container goes on."""
        home = self.home
        if home.process.container is None:
            end = self._by_kernel("a control group, not a container")
            return end if end is not None and end.oom else None
        try:
            told = engine.inspect(home.process.container)
            if told is not None and told.running and home.told is not None and told.started == home.told.started:
                return None
            death = engine.death(home.process.container, home.alive_s - MARGIN_S, system_s)
        except EngineError as error:
            return self._by_kernel(str(error))
        if death is None and (told is None or told.running):
            return self._by_kernel("its engine does not tell")
        return self._by_engine(told, death)

    def _by_engine(self, told: Inspected | None, death: Death | None) -> End:
        code = death.exit_code if death else None
        oom = self._was_killed or (death is not None and death.oom)
        if told is not None and not told.running:
            code = told.exit_code if code is None else code
            oom = oom or told.oom_killed
        restarts = f"restarted {told.restarts} times by its engine" if told and told.restarts else ""
        return End(code, oom, restarts)

    def _by_kernel(self, why: str) -> End | None:
        """A container's group goes with it; the group around it (a pod's) stays and counts on."""
        group = self.home.groups.memory
        if group is None or identity_of(group) == self.home.memory_group:
            return None
        before = self.home.oom_kills_above
        after = numbers(group.above / "memory.events").get("oom_kill") if group.above else None
        above = before is not None and after is not None and after > before
        told = f"; oom_kill of the group around it rose from {before} to {after}" if above else ""
        return End(None, self._was_killed or above, f"{why}{told}")

    @property
    def _was_killed(self) -> bool:
        killed_ns = self.home.killed_ns
        return killed_ns is not None and self.gone_ns - killed_ns <= KILLED_LATELY_NS
