"""`comfysoak trace`: from what really happened to a trace that can be replayed."""

from __future__ import annotations

import gzip
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from comfysoak_core.errors import UsageError
from comfysoak_core.terminal import printable
from comfysoak_core.trace.happening import as_trace
from comfysoak_core.trace.order import TooLateError

if TYPE_CHECKING:
    from comfysoak.tracing import Source

PROGRESS_EVERY_S = 2.0
EPILOG = """\b
Examples:
  comfysoak trace http://gpu-1:8188 --out trace.jsonl --workflows workflows
  comfysoak trace runs/20261122-101500-soak --out trace.jsonl --with-inputs
  comfysoak trace /var/log/nginx/access.log.1.gz --out trace.jsonl.gz
  journalctl -u gateway -o cat | comfysoak trace - --path /v1/render > trace.jsonl
Replay it with a stage such as: - {trace: trace.jsonl, speed: 2}
A server's history is read in pages of 20: one answer with all of it would keep its event loop busy, and all users
waiting. It holds the last 10,000 prompts at most, and none from before a restart."""


@click.command(epilog=EPILOG)
@click.argument("source")
@click.option("--out", default="-", show_default=True, help="The trace; compressed if it ends in .gz; - is stdout.")
@click.option("--workflows", type=click.Path(path_type=Path, file_okay=False), help="Write the workflows there.")
@click.option("--with-inputs", is_flag=True, help="Keep prompts and all other inputs, to send the very same again.")
@click.option("--with-identities", is_flag=True, help="Keep client ids, and users or addresses of a log.")
@click.option("--path", "paths", multiple=True, metavar="PATH", help="In a log: a path that takes prompts.")
@click.option("--token-variable", help="Environment variable with a token for the server.")
def command(
    source: str,
    out: str,
    workflows: Path | None,
    paths: tuple[str, ...],
    token_variable: str | None,
    *,
    with_inputs: bool,
    with_identities: bool,
) -> int:
    """Make a load trace from SOURCE: a ComfyUI's address, a run directory, or an access log (- for a pipe).

    Times and workflows are kept; prompts, other inputs and identities are left out unless asked for. Workflows of a
    server are known by the shape of their graphs: the same nodes and links are the same workflow.
    """
    from comfysoak.preflight import bearer_headers
    from comfysoak.tracing import Wanted, snippet, source_of, write_workflows

    wanted = Wanted(with_inputs, with_identities, tuple(path.rstrip("/") for path in paths))
    found = source_of(source, wanted, bearer_headers(token_variable))
    count = _write(out, found)
    files = write_workflows(workflows, found.workflows()) if workflows is not None else {}
    for remark in (f"{count:,} prompt{'' if count == 1 else 's'}", *found.remarks()):
        click.echo(printable(remark), err=True)
    named = files or {name: Path("WORKFLOW.json") for name in found.names}
    click.echo(f"To replay it, in a scenario:\n\n{snippet(out, named)}", err=True)
    return 0


class Sink(Protocol):
    """Where lines go."""

    def write(self, line: bytes, /) -> object:
        """Take a line."""


def _write(out: str, source: Source) -> int:
    """Write the trace, all or nothing; how many prompts there are."""
    lines = as_trace(source.happenings(_Progress()), window=source.window)
    try:
        return _copy(lines, sys.stdout.buffer) if out == "-" else _replace(Path(out), lines)
    except TooLateError as error:
        raise UsageError(f"the source is out of order: a prompt came {error}", "Sort it by time first.") from None


def _replace(path: Path, lines: Iterable[bytes]) -> int:
    hidden = path.with_name(f".{path.name}.new")
    try:
        with gzip.open(hidden, "wb") if path.suffix == ".gz" else hidden.open("wb") as file:
            count = _copy(lines, file)
        os.replace(hidden, path)  # noqa: PTH105  # in the same folder
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}", "Name a file with --out.") from error
    finally:
        hidden.unlink(missing_ok=True)
    return count


def _copy(lines: Iterable[bytes], file: Sink) -> int:
    count = 0
    for line in lines:
        file.write(line)
        count += 1
    return count


class _Progress:
    """Tells how many prompts were read, when it takes long."""

    def __init__(self) -> None:
        self._told_s = time.monotonic()

    def __call__(self, count: int) -> None:
        if time.monotonic() - self._told_s >= PROGRESS_EVERY_S:
            self._told_s = time.monotonic()
            click.echo(f"{count:,} prompts read", err=True)
