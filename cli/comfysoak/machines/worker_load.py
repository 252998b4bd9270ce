"""The load processes of a worker machine: started when the master says so, ended when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from comfysoak.children import Child, locust_arguments, start
from comfysoak.machines.run_folder import RunFolder
from comfysoak_core.clock import ANCHOR_VARIABLE, Anchor
from comfysoak_core.distant_clock import CLOCK_FILE_VARIABLE
from comfysoak_core.recording.layout import HOST_VARIABLE, RUN_DIRECTORY_VARIABLE
from comfysoak_core.recording.recording import Recording
from comfysoak_load.process.room import PROCESSES_VARIABLE

ENDS_WITHIN_S = 3.0


@dataclass(slots=True)
class WorkerLoad:
    """So many `processes` of Locust, which are workers of the Locust at `host` and `port`."""

    folder: RunFolder
    processes: int
    host: str
    port: int
    _children: list[Child] = field(default_factory=list)

    def start(self, name: str, anchor: Anchor, processes_in_all: int) -> None:
        """Start them; `name` is the machine's in this run."""
        environment = {
            RUN_DIRECTORY_VARIABLE: str(self.folder.path),
            ANCHOR_VARIABLE: anchor.to_environment(),
            CLOCK_FILE_VARIABLE: str(self.folder.clock_file),
            HOST_VARIABLE: name,
            PROCESSES_VARIABLE: str(processes_in_all),
        }
        arguments = locust_arguments(
            ["--worker", "--master-host", self.host, "--master-port", str(self.port)], gateway=self._is_gateway
        )
        self._children = [
            start(f"load-process-{number + 1}", arguments, environment, self.folder.layout.logs)
            for number in range(self.processes)
        ]

    @property
    def _is_gateway(self) -> bool:
        return Recording.open(self.folder.path).run.plan.get("gateway") is not None

    @property
    def is_running(self) -> bool:
        """Whether any of them lives."""
        return any(child.exit_status is None for child in self._children)

    def died(self) -> Iterator[Child]:
        """Those that have ended otherwise than in good order, each once."""
        for child in list(self._children):
            if child.exit_status is not None:
                self._children.remove(child)
                if child.exit_status != 0:
                    yield child

    def terminate(self) -> None:
        """Ask all to end: they take their prompts back."""
        for child in self._children:
            child.terminate()

    def end(self) -> None:
        """End all, by force after a while."""
        self.terminate()
        for child in self._children:
            child.wait_or_kill(ENDS_WITHIN_S)
        self._children = []
