"""The sampler as a process: `python -m comfysoak_probes RUN_DIR`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.errors import ComfySoakError, UsageError
from comfysoak_core.lifeline import hold
from comfysoak_core.recording.journal import Journal
from comfysoak_probes.config import SamplerConfig
from comfysoak_probes.remote.cursors import BookmarkSink, read_cursors
from comfysoak_probes.sampling.sampler import JournalSink, Sampler, Stop
from comfysoak_probes.sources import add_sources


def main(arguments: list[str]) -> int:
    """Sample what the plan of the run directory names until SIGTERM; the exit code."""
    if len(arguments) != 1:
        raise UsageError(f"expected one run directory, got {len(arguments)} arguments", "comfysoak_probes RUN_DIR")
    stop = Stop()
    stop.on_signals()
    hold()
    run_dir = Path(arguments[0])
    config = SamplerConfig.from_run(run_dir)
    clock = AnchoredClock(Anchor.from_environment())
    host = socket.gethostname()
    journal_dir = run_dir / "journal"
    journal_dir.mkdir(exist_ok=True)
    journal = JournalSink(Journal(journal_dir, host=host, process="sampler", clock=clock))
    sampler = Sampler(BookmarkSink(journal, run_dir), clock, host=host, tell=_tell, pause=config.pause)
    add_sources(sampler.add, sampler.remove, config, clock, host=host, cursors=read_cursors(run_dir))
    sampler.run(stop)
    return 0


def _tell(text: str) -> None:
    print(f"comfysoak sampler: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except ComfySoakError as error:
        _tell(str(error))
        code = int(error.exit_code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that hangs in the driver must not keep the process
