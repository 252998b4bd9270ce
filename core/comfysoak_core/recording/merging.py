"""Adding by hand what a worker machine could not deliver: its journal, to the recording it belongs to.

Bytes that are in the recording already count once, however often they are merged: the manifest knows how far each
process's journal has got, and what follows goes in beside it under a name of its own.
"""

from __future__ import annotations

from pathlib import Path

from comfysoak_core.clock import ManualClock
from comfysoak_core.errors import RecordingError, UsageError
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.lock import FileLock
from comfysoak_core.recording.manifest import Manifest, load_manifest, owner
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.run_file import EndReason, read_run_file
from comfysoak_core.recording.stretch import Stretch, stretches
from comfysoak_core.rows import Event

REST = "-rest"  # of a stretch whose beginning is in the tables


def merge(run_dir: Path, folder: Path) -> int:
    """Add the journal in `folder`, a worker's, to the run that has ended, and seal it; tells how many files were new.

    UsageError when the folder holds no journal of this run, RecordingError when the run still goes on or cannot be
    written.
    """
    recording = Recording.open(run_dir)
    if recording.is_running():
        raise RecordingError(f"{run_dir} is still going on", "Merge when it has ended.")
    found = _stretches_of(recording, folder)
    try:
        with FileLock(recording.layout.recorder_lock) as lock:
            if not lock.acquire():
                raise RecordingError(f"{run_dir} is being recorded by another process", "Merge when that has ended.")
            brought = _bring(recording, found)
    except OSError as error:
        raise RecordingError(f"{run_dir} cannot be written: {error}", "Make room there, then merge again.") from error
    ended = recording.run.ended
    reason, at_ns, detail = (ended.reason, ended.at_ns, ended.detail) if ended else (EndReason.CUT_OFF, None, "")
    recording.seal(reason, at_ns, detail)
    return brought


def _stretches_of(recording: Recording, folder: Path) -> list[Stretch]:
    theirs = Layout(folder)
    if read_run_file(theirs.run_json).id != recording.run.id:
        raise UsageError(f"{folder} belongs to another run than {recording.path}", "Name the run it was made for.")
    found = stretches(theirs.journal)
    if not found:
        raise UsageError(f"{folder} holds no journal", "Name the folder that the worker named when it ended.")
    return found


def _bring(recording: Recording, found: list[Stretch]) -> int:
    layout, disk = recording.layout, Disk()
    manifest = load_manifest(layout.manifest)
    new = {name: data for stretch in found if (pair := _new_in(stretch, manifest)) for name, data in [pair]}
    if not new:
        return 0
    disk.make_directory(layout.journal)
    for name, data in new.items():
        disk.replace(layout.journal / name, data)
    for host in {stretch.host for stretch in found}:
        _note(recording, host, len(new), manifest.latest_ns())
    recording.save(recording.run.model_copy(update={"sealed": False}))
    return len(new)


def _new_in(stretch: Stretch, manifest: Manifest) -> tuple[str, bytes] | None:
    """What of a stretch is not in the tables, and the name it gets in the journal."""
    consumed = manifest.consumed.get(owner(stretch), -1)
    if stretch.sequence > consumed:
        return stretch.path.name, stretch.path.read_bytes()
    had = manifest.consumed_bytes.get(owner(stretch), 0)
    if stretch.sequence < consumed or had >= stretch.path.stat().st_size:
        return None
    name = f"{stretch.host}~{stretch.process}{REST}~{stretch.table}~{stretch.sequence:06d}.jsonl"
    rest = Stretch.from_path(stretch.path.with_name(name))
    if rest is None or manifest.is_consumed(rest):
        return None
    data = stretch.path.read_bytes()
    header_end = data.find(b"\n") + 1
    begin = max(data.rfind(b"\n", 0, had) + 1, header_end)  # the line that was cut counted for nothing
    return name, data[:header_end] + data[begin:]


def _note(recording: Recording, host: str, files: int, latest_ns: int) -> None:
    ended = recording.run.ended
    clock = ManualClock(ended.at_ns if ended is not None else max(latest_ns, recording.run.created_ns))
    journal = Journal(recording.layout.journal, host="run", process="merging", clock=clock)
    detail = f"{files} files of its journal were merged by hand"
    journal.add(Event(at_ns=clock.now_ns(), source="merging", kind="machine_merged", subject=host, detail=detail))
    journal.close()
