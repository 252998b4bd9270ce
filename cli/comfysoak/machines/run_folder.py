"""The run directory of a worker: what its master handed over, and the journal until that is acknowledged."""

from __future__ import annotations

import re
import shutil
import tempfile
import zlib
from pathlib import Path

from comfysoak.machines.wire import NonsenseError
from comfysoak.machines.words import FilePart, JournalPart
from comfysoak_core.errors import UsageError
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.transfer import Outbox

RUN_BYTES_MOST = 2 * 1024**3
_PATH = re.compile(r"run\.json|inputs(?:/[A-Za-z0-9_][A-Za-z0-9_. -]{0,199}){1,8}")


class RunFolder:
    """A temporary folder in `parent`; it stays where something in it was not delivered."""

    def __init__(self, parent: Path | None) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="comfysoak-worker-", dir=parent))
        except OSError as error:
            raise UsageError(
                f"no folder can be made in {parent or tempfile.gettempdir()}: {error.strerror or error}",
                "Name one you may write to: --dir DIR",
            ) from error
        self.layout = Layout(self.path)
        self.outbox = Outbox()
        self.layout.journal.mkdir()
        self.layout.logs.mkdir()
        self._received_bytes = 0

    @property
    def clock_file(self) -> Path:
        """Where the load processes find the time that was measured last."""
        return self.path / "clock"

    def take(self, part: FilePart, body: bytes) -> None:
        """Put a part of a file of the run where it belongs. NonsenseError for any other place."""
        if not _PATH.fullmatch(part.path):
            raise NonsenseError(f"the master sent a file for a place that is not its own: {part.path[:100]!r}")
        path = self.path / part.path
        self._received_bytes += len(body)
        if part.offset == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        elif path.stat().st_size == part.offset and self._received_bytes <= RUN_BYTES_MOST:
            with path.open("ab") as file:
                file.write(body)
        else:
            raise NonsenseError(f"the master sent {part.path} out of order, or without end")

    def look(self) -> None:
        """See how the journal has grown."""
        names = [path.name for path in self.layout.journal.glob("*.jsonl")]  # all names first, then their sizes
        self.outbox.see({name: (self.layout.journal / name).stat().st_size for name in names})

    def next_part(self) -> tuple[JournalPart, bytes] | None:
        """The next piece of journal to send."""
        piece = self.outbox.next()
        if piece is None:
            return None
        with (self.layout.journal / piece.name).open("rb") as file:
            file.seek(piece.offset)
            body = file.read(piece.length)
        return JournalPart(name=piece.name, offset=piece.offset, crc=zlib.crc32(body)), body

    def forget_delivered(self) -> None:
        """Delete the stretches the master has."""
        for name in self.outbox.delivered():
            (self.layout.journal / name).unlink(missing_ok=True)

    @property
    def is_delivered(self) -> bool:
        """Whether the master has all of the journal as it is now."""
        self.look()
        return self.outbox.left_bytes == 0

    def remove(self) -> None:
        """Delete it."""
        shutil.rmtree(self.path, ignore_errors=True)
