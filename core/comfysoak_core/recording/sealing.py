"""Sealing: the end of a recording. All rows go into the tables, and what is open is closed.

`python -m comfysoak_core.recording.sealing RUN_DIR REASON` does it in a process of its own, for producers that
must not load pyarrow.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comfysoak_core.clock import ManualClock
from comfysoak_core.errors import ComfySoakError, RecordingError
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.gathering import Gathered, gather, moments
from comfysoak_core.recording.journal import Journal, columns
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.lock import FileLock, is_held
from comfysoak_core.recording.logs import write_configuration
from comfysoak_core.recording.manifest import Manifest
from comfysoak_core.recording.recorder import Recorder
from comfysoak_core.recording.run_file import Ended, EndReason, RunFile, Segment, read_run_file, write_run_file
from comfysoak_core.recording.stretch import stretches
from comfysoak_core.rows import ROW_TYPES, Outcome, Prompt, Row

WAIT_S = 5.0
EVENTS_AT_ONCE = 10_000
RUN_ENDED = "run ended"
WORKER_LOST = "its load process was lost"


def seal(
    root: Path, reason: EndReason, at_ns: int | None, detail: str = "", disk: Disk | None = None, wait_s: float = WAIT_S
) -> RunFile:
    """See `Recording.seal`; `disk` is what the tests replace."""
    layout = Layout(root)
    if read_run_file(layout.run_json).sealed:
        return read_run_file(layout.run_json)
    try:
        with FileLock(layout.recorder_lock) as lock:
            if not lock.acquire(wait_s):
                raise RecordingError(
                    f"{root} cannot be sealed: its recorder is still at work",
                    "End the recorder first, then seal again.",
                )
            return _Seal(layout, disk or Disk()).seal(reason, at_ns, detail)
    except OSError as error:
        raise RecordingError(
            f"{root} cannot be sealed: {error}", "Make room or give write permission there, then read it again."
        ) from error


class _Seal:
    """Sealing under the recorder's lock; each step may be repeated, so a killed one is simply done again."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk
        self._run = read_run_file(layout.run_json)

    def seal(self, reason: EndReason, at_ns: int | None, detail: str) -> RunFile:
        if self._run.sealed:
            return self._run
        if at_ns is not None:  # so that the reason survives if this process is killed
            self._set_ended(Ended(at_ns=at_ns, reason=reason, detail=detail))
        faults = self._living_producers()
        recorder = Recorder(self._layout, disk=self._disk)
        recorder.compact(everything=True)
        at_ns = at_ns or max(self._last_moment(recorder.compactor.manifest), self._run.created_ns)
        self._set_ended(Ended(at_ns=at_ns, reason=reason, detail=detail))
        self._close_open_rows(recorder.compactor.manifest)
        recorder.compact(everything=True)
        recorder.compactor.remove_retired()
        faults += tuple(f"{name} could not be read" for name in recorder.compactor.manifest.damaged)
        return self._finish(faults)

    def _set_ended(self, ended: Ended) -> None:
        if self._run.ended is None:
            *earlier, last = self._run.segments or (Segment(started_ns=self._run.created_ns),)
            self._write(ended=ended, segments=(*earlier, last.model_copy(update={"ended_ns": ended.at_ns})))

    def _write(self, **changes: Any) -> None:  # fields of RunFile
        self._run = self._run.model_copy(update=changes)
        write_run_file(self._run, self._layout.run_json, self._disk)

    def _living_producers(self) -> tuple[str, ...]:
        living = {one.process for one in stretches(self._layout.journal) if is_held(one.path)}
        return tuple(f"{process} was still writing when the recording was sealed" for process in sorted(living))

    def _open_rows(self, row_type: type[Row], manifest: Manifest) -> Gathered:
        open_file = manifest.state(row_type.TABLE).open_file
        return gather(row_type, self._layout.tables / open_file if open_file else None, ())

    def _last_moment(self, manifest: Manifest) -> int:
        """The latest moment in any row."""
        latest = manifest.latest_ns()
        for row_type in ROW_TYPES:
            places = [columns(row_type).index(name) for name in moments(row_type)]
            for row in self._open_rows(row_type, manifest).open_rows():
                latest = max([latest, *(row[place] for place in places if isinstance(row[place], int))])
        return latest

    def _close_open_rows(self, manifest: Manifest) -> None:
        """Write the ends of open rows to the journal, where everything else takes its usual way."""
        ended = self._run.ended
        assert ended is not None, "set just before"  # noqa: S101  # an order of ours
        clock = ManualClock(ended.at_ns)
        lost = self._lost_workers()
        self._disk.make_directory(self._layout.journal)
        journal = Journal(self._layout.journal, host="run", process="sealing", clock=clock)
        for row_type in ROW_TYPES:
            names = columns(row_type)
            for values in self._open_rows(row_type, manifest).open_rows():
                row = dict(zip(names, values, strict=True))
                latest = max([ended.at_ns, *(row[name] for name in moments(row_type) if isinstance(row[name], int))])
                closing = _closing(row_type, latest)
                if row_type is Prompt and row["worker"] in lost:
                    closing |= lost[row["worker"]]
                journal.add(row_type(**{**row, **closing}))
        journal.close()
        if journal.errors:
            raise OSError("the journal cannot be written")

    def _lost_workers(self) -> dict[str, dict[str, Any]]:
        """How the prompts end of load processes that were lost while the run went on."""
        from comfysoak_core.recording.reading import stream_table

        lost: dict[str, dict[str, Any]] = {}
        for batch in stream_table(self._layout.root, "events", EVENTS_AT_ONCE, ("at_ns", "kind", "subject", "detail")):
            for event in batch.to_pylist():
                if event["kind"] == "worker_lost" and event["subject"]:
                    why = f"{WORKER_LOST}: {event['detail']}"
                    lost[event["subject"]] = {"error_message": why, "finished_ns": event["at_ns"]}
        return lost

    def _finish(self, faults: Sequence[str]) -> RunFile:
        write_configuration(self._run, self._layout, self._disk)
        self._write(sealed=True, faults=tuple(dict.fromkeys((*self._run.faults, *faults))))
        self._disk.remove(self._layout.progress)
        for half_made in self._layout.journal.glob(".*~*.jsonl.new"):
            self._disk.remove(half_made)
        with contextlib.suppress(OSError):
            self._layout.journal.rmdir()  # stays when there is anything in it that is not ours
        return self._run


def _closing(row_type: type[Row], at_ns: int) -> dict[str, Any]:
    """The columns that close an open row of a table at the end of the recording."""
    closings: dict[str, dict[str, Any]] = {
        "prompts": {"outcome": Outcome.ABORTED, "code": None, "finished_ns": at_ns},
        "sessions": {"closed_ns": at_ns, "reason": RUN_ENDED},
        "nodes": {"ended_ns": at_ns},
        "trials": {"judged_ns": at_ns},  # without a judgement
    }
    return closings[row_type.TABLE]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of sealing; its exit code."""
    parser = argparse.ArgumentParser(prog="comfysoak-seal", description="End a recording.")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("reason", choices=[reason.value for reason in EndReason])
    parser.add_argument("--at-ns", type=int, help="when the run ended, UTC nanoseconds; default: at its last row")
    parser.add_argument("--detail", default="")
    options = parser.parse_args(arguments)
    try:
        seal(options.run_dir, EndReason(options.reason), options.at_ns, options.detail)
    except ComfySoakError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
