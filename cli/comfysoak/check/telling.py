"""One check from its first row to its last, told in every way the call asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import comfysoak.annotations as for_github
from comfysoak.check.account import Account
from comfysoak.check.checking import Checking
from comfysoak.check.ending import Interrupted, signals_raised
from comfysoak.check.output.log import Log
from comfysoak.check.output.terminal import Progress, Sheet
from comfysoak.check.row import Row
from comfysoak.check.runner import check
from comfysoak.check.settings import Settings
from comfysoak.telling import leave_stdout
from comfysoak_core.clock import NS_PER_S, steady_ns
from comfysoak_core.errors import ExitCode, UsageError
from comfysoak_core.recording.redaction import redact
from comfysoak_core.terminal import printable


@dataclass(frozen=True, slots=True)
class Telling:
    """Where the outcome goes: files, and how stdout and stderr are used."""

    junit: Path | None = None
    html: Path | None = None
    markdown: Path | None = None
    as_json: bool = False
    quiet: bool = False
    log_json: bool = False

    def check_files(self) -> None:
        """UsageError for a file that cannot be written: said before anything is sent."""
        for option, path in (("--junit", self.junit), ("--html", self.html), ("--markdown", self.markdown)):
            if path is not None and not path.absolute().parent.is_dir():
                raise UsageError(f"{option} {path}: there is no folder {path.parent}", "Make it, or name another.")


class _Rows:
    """Takes rows as they are decided, and says them on."""

    def __init__(self, telling: Telling, stderr: TextIO) -> None:
        self.taken: list[Row] = []
        self._progress = Progress(stderr, quiet=telling.quiet or telling.log_json)
        self._sheet = None if telling.as_json else Sheet(self._progress, quiet=telling.quiet)
        self._log = Log(stderr) if telling.log_json else None

    def say(self, words: str) -> None:
        """What is being done now."""
        self._progress.say(words)
        if self._log is not None:
            self._log.write("doing", words=words)

    def take(self, row: Row) -> None:
        """One more."""
        self.taken.append(row)
        if self._log is not None:
            self._log.row(row)
        if self._sheet is not None:
            _on_stdout(lambda: self._sheet.row(row) if self._sheet else None)

    def end(self, account: Account) -> None:
        """All that came."""
        self._progress.close()
        if self._log is not None:
            self._log.ended(account)
        if self._sheet is not None:
            _on_stdout(lambda: self._sheet.end(account) if self._sheet else None)


def check_and_tell(settings: Settings, telling: Telling) -> Account:
    """The check; every output is there when it returns, also when a signal cut it short."""
    telling.check_files()
    rows = _Rows(telling, sys.stderr)
    checking = Checking(settings, say=rows.say, steady_ns=steady_ns)
    began_at, began_ns = datetime.now(UTC), steady_ns()
    interrupted = _looked_through(checking, rows)
    account = Account(
        rows=tuple(rows.taken),
        target=_shown(checking.known.base_url or (settings.base_url.value if settings.base_url else "")),
        gateway=_shown(settings.gateway.url if settings.gateway is not None else ""),
        comfyui_version=_shown(checking.known.version or ""),
        began_at=began_at,
        took_s=(steady_ns() - began_ns) / NS_PER_S,
        prompts_sent=checking.prompts_sent,
        interrupted=interrupted,
    )
    rows.end(account)
    _write_files(account, telling)
    if telling.as_json:
        from comfysoak.check.output.document import as_text

        _on_stdout(lambda: print(as_text(account), flush=True))
    _annotate(account, sys.stderr if telling.as_json else sys.stdout)
    return account


def _shown(address: str) -> str:
    return printable(redact(address))


def _looked_through(checking: Checking, rows: _Rows) -> ExitCode | None:
    """Take every row; the exit code of the signal that ended it before its end."""
    try:
        with signals_raised(), closing(check(checking)) as decided:
            for row in decided:
                rows.take(row)
    except Interrupted as interruption:
        return interruption.code
    return None


def _write_files(account: Account, telling: Telling) -> None:
    """Each in its own form; what is not asked for is not loaded."""
    if telling.junit is not None:
        from comfysoak.check.output.junit import junit

        _write(telling.junit, junit(account))
    if telling.html is not None:
        from comfysoak.check.output.page import page

        _write(telling.html, page(account).encode())
    if telling.markdown is not None:
        from comfysoak.check.output.markdown import markdown

        _write(telling.markdown, markdown(account).encode())


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "Name another file.") from None


def _annotate(account: Account, stream: TextIO) -> None:
    if for_github.wanted():
        for line in for_github.of_check(account):
            print(line, file=stream, flush=True)


def _on_stdout(step: Callable[[], None]) -> None:
    """Take a step that writes there; the exit code says it all the same when nobody reads that any more."""
    try:
        step()
    except OSError:
        leave_stdout()
