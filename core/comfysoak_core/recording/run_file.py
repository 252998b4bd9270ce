"""run.json: what was run, with what, where, and how it ended. All secrets are taken out before it is written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from comfysoak_core.errors import RecordingError
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.redaction import redact, redact_argv

RUN_FORMAT = 1


def _redacted_words(words: Iterable[str]) -> tuple[str, ...]:
    return redact_argv(words)


Redacted = Annotated[str, AfterValidator(redact)]
RedactedWords = Annotated[tuple[str, ...], AfterValidator(_redacted_words)]


class EndReason(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"  # all stages were run
    TIME_UP = "time up"  # the longest duration was reached before the last stage was over
    INTERRUPTED = "interrupted"  # Ctrl-C
    TERMINATED = "terminated"  # SIGTERM
    CUT_OFF = "cut off"  # everybody who wrote it died
    GOAL_MISSED = "goal missed"  # one that ends the run once it is missed for sure
    ABORTED = "aborted"  # the harness gave up: a child died


class _Part(BaseModel):
    """Frozen, and keeps fields it does not know: a newer version of the same format may have written them."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Ended(_Part):
    """How and why the run ended."""

    at_ns: int
    reason: EndReason
    detail: Redacted = ""


class Segment(_Part):
    """A stretch of the run without a break; a run that goes on after a reboot has several."""

    started_ns: int
    ended_ns: int | None = None


class AnchorFacts(_Part):
    """The anchor of a host's clock (`comfysoak_core.clock.Anchor`)."""

    monotonic_ns: int
    utc_ns: int
    error_ns: int


class HostFacts(_Part):
    """A machine that took part; limits are those of its cgroup, None where there is none."""

    name: str
    os: str = ""
    cpu_count: int | None = None
    memory_bytes: int | None = None
    cpu_limit_ratio: float | None = None  # 1 is one core
    memory_limit_bytes: int | None = None
    anchor: AnchorFacts | None = None


class GpuFacts(_Part):
    """A GPU that was watched."""

    host: str
    uuid: str
    source: str = ""
    index: int | None = None
    name: str | None = None
    memory_total_bytes: int | None = None
    driver: str | None = None
    power_limit_watts: float | None = None


class ServerFacts(_Part):
    """A ComfyUI under load, as it told of itself."""

    url: Redacted
    comfyui_version: str | None = None
    python_version: str | None = None
    pytorch_version: str | None = None
    os: str | None = None
    argv: RedactedWords = ()
    devices: tuple[str, ...] = ()


class PhaseFacts(_Part):
    """A phase of the load as it was really run; `ended_ns` is None while it lasts."""

    name: str
    started_ns: int
    ended_ns: int | None = None


class RunFile(_Part):
    """The content of run.json. Change it with `model_copy(update={...})` and `Recording.save`."""

    format: int = RUN_FORMAT
    id: str
    name: str
    created_ns: int
    harness_version: str = ""
    python_version: str = ""
    argv: RedactedWords = ()
    segments: tuple[Segment, ...] = ()
    plan: dict[str, Any] = Field(default_factory=dict)  # `comfysoak_core.scenario.Plan`, as JSON; opaque here
    hosts: tuple[HostFacts, ...] = ()
    gpus: tuple[GpuFacts, ...] = ()
    servers: tuple[ServerFacts, ...] = ()
    phases: tuple[PhaseFacts, ...] = ()
    ended: Ended | None = None
    sealed: bool = False  # all rows are in the tables, nothing is open
    faults: tuple[Redacted, ...] = ()  # what went wrong with the recording itself


def read_run_file(path: Path) -> RunFile:
    """The run.json at `path`. Raises RecordingError when there is none, it is damaged, or its format is newer."""
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "it is a file" if isinstance(error, NotADirectoryError) else f"it has no {path.name}"
        raise RecordingError(
            f"{path.parent} is no run directory: {what}",
            "Name a folder that `comfysoak run` made, such as runs/20261122-101500-demo.",
        ) from error
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}", "Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "it is not JSON") from error
    return _validated(data, path)


def _validated(data: Any, path: Path) -> RunFile:  # whatever JSON there was
    if not isinstance(data, dict):
        raise _damaged(path, "it is not a JSON object")
    version = data.get("format")
    if not isinstance(version, int):
        raise _damaged(path, 'it has no number under "format"')
    if version > RUN_FORMAT:
        raise RecordingError(
            f"{path} has recording format {version}, this version of ComfySoak reads up to {RUN_FORMAT}",
            "Read this recording with the version of ComfySoak that made it, or a newer one.",
        )
    try:
        return RunFile.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, f"{where}: {first['msg']}") from error


def _damaged(path: Path, why: str) -> RecordingError:
    return RecordingError(f"{path} is damaged: {why}", "Restore it from a copy; the tables beside it are whole.")


def write_run_file(run: RunFile, path: Path, disk: Disk | None = None) -> None:
    """Put `run` in the place of the file at `path`, all or nothing. Raises OSError when the disk refuses."""
    checked = RunFile.model_validate(run.model_dump())  # model_copy does not validate, and so does not redact
    text = json.dumps(checked.model_dump(mode="json"), indent=1, ensure_ascii=False)
    # A half of a surrogate pair, from a server's text, has no UTF-8: its escape is JSON all the same.
    (disk or Disk()).replace(path, text.encode("utf-8", "backslashreplace") + b"\n")
