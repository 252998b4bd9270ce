"""`comfysoak probe`: what it shows, with and without a terminal, and what it records."""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from comfysoak_core.errors import ExitCode, UsageError
from comfysoak_probes.config import SamplerConfig
from comfysoak_probes.shown.live import probe


@pytest.mark.parametrize("terminal", [True, False])
def test_it_shows_the_host_and_ends_by_itself(terminal: bool) -> None:
    """Alone, for a given time: a table in a terminal, lines without one; exit code 0."""
    console = Console(file=io.StringIO(), width=160, force_terminal=terminal)
    assert probe(SamplerConfig(host_every_s=0.1), seconds=0.7, console=console) is ExitCode.OK
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "memory free" in text
    assert "no NVIDIA driver is installed here" in text


def test_it_records_a_run_that_is_sealed(tmp_path: Path) -> None:
    """With a folder: a run directory whose tables hold the samples and whose run.json says how it ended."""
    console = Console(file=io.StringIO(), width=160)
    probe(SamplerConfig(nvml=False, host_every_s=0.1), out=tmp_path, seconds=0.7, console=console)
    (run,) = tmp_path.iterdir()
    told = orjson.loads((run / "run.json").read_bytes())
    assert (told["sealed"], told["ended"]["reason"]) == (True, "finished")
    assert list((run / "tables" / "host").glob("*.parquet"))


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    """A file stands where the folder should be: UsageError, nothing is started."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError):
        probe(SamplerConfig(nvml=False), out=tmp_path / "file", seconds=0.1, console=Console(file=io.StringIO()))
