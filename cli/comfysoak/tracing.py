"""Where a trace comes from: a server's history, a recording, or an access log; each tells what it left out."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.errors import UsageError
from comfysoak_core.recording.journal import safe_name
from comfysoak_core.recording.recording import Recording
from comfysoak_core.trace.access_log import LogReading
from comfysoak_core.trace.file import open_text
from comfysoak_core.trace.graphs import choices_in, without_texts
from comfysoak_core.trace.happening import Happening
from comfysoak_core.trace.history import HistoryReading, entries_of
from comfysoak_core.trace.lines import Readable, bounded_lines
from comfysoak_core.trace.order import WINDOW
from comfysoak_core.trace.recorded import happenings_of

TIMEOUT_S = 30.0
RECORDING_WINDOW = 1_000_000  # rows of one file of a recording may lie as far apart as a prompt took

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a trace is to hold beside times and names of workflows."""

    inputs: bool = False
    identities: bool = False
    paths: tuple[str, ...] = ()


class Source(Protocol):
    """A source of prompts."""

    window: int  # so far may something be out of order

    def happenings(self, progress: Progress) -> Iterable[Happening]:
        """The prompts."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the workflows among them; known once all prompts have been read."""

    def workflows(self) -> Mapping[str, Graph]:
        """Those workflows, by name."""

    def remarks(self) -> Iterator[str]:
        """What a reader of the trace should know of it; once all prompts have been read."""


def source_of(name: str, wanted: Wanted, headers: Mapping[str, str]) -> Source:
    """The source somebody means: an address, a run directory, a log file, or `-` for a log from standard input."""
    if name.startswith(("http://", "https://")):
        return ServerSource(name, wanted, headers)
    if (Path(name) / "run.json").is_file():
        return RecordingSource(Recording.open(Path(name)), wanted)
    if name != "-" and not Path(name).is_file():
        raise UsageError(
            f"there is no {name!r}",
            "Name a ComfyUI (http://gpu-1:8188), a run directory (runs/...), an access log, or - for one from a pipe.",
        )
    return LogSource(name, wanted)


@dataclass(slots=True)
class ServerSource:
    """A ComfyUI and its history."""

    url: str
    wanted: Wanted
    headers: Mapping[str, str]
    window: int = 100_000  # as many as are read
    reading: HistoryReading = field(init=False)

    def __post_init__(self) -> None:
        self.reading = HistoryReading(self.wanted.inputs, self.wanted.identities)

    def happenings(self, progress: Progress) -> Iterator[Happening]:
        """The prompts its history holds."""
        with self._client() as client:
            client.identify()
            for prompt_id, entry in entries_of(client, progress):
                happening = self.reading.happening(prompt_id, entry)
                if happening is not None:
                    yield happening

    @property
    def names(self) -> tuple[str, ...]:
        """Of the workflows met."""
        return tuple(self.reading.workflows.examples)

    def workflows(self) -> Mapping[str, Graph]:
        """The first graph of each; without the texts somebody wrote, unless inputs are wanted."""
        examples = self.reading.workflows.examples
        if self.wanted.inputs:
            return examples
        classes = {node["class_type"] for graph in examples.values() for node in graph.values()}
        with self._client() as client:
            choices = {(name, choice) for name in sorted(classes) for choice in choices_in(client.object_info(name))}
        return {name: without_texts(graph, lambda *place: place in choices) for name, graph in examples.items()}

    def remarks(self) -> Iterator[str]:
        """About times and what was not read."""
        if self.reading.by_start:
            yield (
                f"{self.reading.by_start:,} entries tell when they started and not when they came: what waited in the"
                " queue came earlier (servers before 2026 keep no other time)"
            )
        if self.reading.unread:
            yield f"{self.reading.unread:,} entries could not be read and are left out"

    def _client(self) -> ComfyClient:
        return ComfyClient(self.url, timeout_s=TIMEOUT_S, headers=self.headers)


@dataclass(slots=True)
class RecordingSource:
    """A run directory of ours."""

    recording: Recording
    wanted: Wanted
    window: int = RECORDING_WINDOW

    def happenings(self, progress: Progress) -> Iterator[Happening]:
        """Every intended prompt, when it was due."""
        wanted = self.wanted
        return happenings_of(
            self.recording, with_inputs=wanted.inputs, with_identities=wanted.identities, progress=progress
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the workflows of its scenario."""
        return tuple(self.workflows())

    def workflows(self) -> Mapping[str, Graph]:
        """Those of its scenario, as they stand there."""
        workloads = self.recording.run.plan.get("workloads", ())
        return {str(workload["name"]): workload["graph"] for workload in workloads}

    def remarks(self) -> Iterator[str]:
        """Nothing was left out."""
        yield from ()


@dataclass(slots=True)
class LogSource:
    """An access log; `-` is standard input."""

    name: str
    wanted: Wanted
    window: int = WINDOW
    reading: LogReading = field(init=False)

    def __post_init__(self) -> None:
        self.reading = LogReading(self.wanted.identities)
        if self.wanted.paths:
            self.reading.paths = self.wanted.paths

    def happenings(self, progress: Progress) -> Iterator[Happening]:
        """The POSTs to paths that take prompts."""
        with self._open() as stream:
            for happening in self.reading.happenings(bounded_lines(stream)):
                progress(self.reading.prompts)
                yield happening
        if self.reading.without_time and not self.reading.prompts:
            raise UsageError(
                f"{self.name}: its lines do not say when a request came",
                "uvicorn writes times with a log format of your own (%(asctime)s); nginx and Apache by themselves.",
            )
        if not self.reading.prompts:
            raise UsageError(
                f"{self.name}: no POST to a path that takes prompts, among {self.reading.requests:,} requests and"
                f" {self.reading.unread:,} lines that are none",
                f"Looked for {', '.join(self.reading.paths)}; name others with --path.",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """A log tells of no workflows."""
        return ()

    def workflows(self) -> Mapping[str, Graph]:
        """None."""
        return {}

    def remarks(self) -> Iterator[str]:
        """About what the log does not tell."""
        reading = self.reading
        yield f"{reading.prompts:,} of {reading.requests:,} requests are prompts; which workflow they were is not told"
        if reading.refused:
            yield f"{reading.refused:,} of them were answered with an error, and are in the trace all the same"
        if reading.without_time or reading.unread:
            yield f"{reading.without_time + reading.unread:,} lines tell no request, or not when; they are left out"

    @contextmanager
    def _open(self) -> Iterator[Readable]:
        try:
            if self.name == "-":
                yield sys.stdin.buffer
            else:
                with open_text(Path(self.name)) as stream:
                    yield stream
        except (OSError, EOFError, zlib.error) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"{self.name} cannot be read: {words}", "Is it whole, and may you read it?") from error


def write_workflows(folder: Path, workflows: Mapping[str, Graph]) -> dict[str, Path]:
    """Write each workflow to a file of its own; where each is."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    for name, graph in workflows.items():
        written[name] = folder / f"{safe_name(name)}.json"
        written[name].write_text(json.dumps(graph, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return written


def snippet(out: str, workflows: Mapping[str, Path]) -> str:
    """What to put into a scenario to send the trace in `out`: workflows by name, with the file each is in."""
    lines = ["workload:"]
    for name, path in workflows.items():
        lines.append(f"  - {{workflow: {json.dumps(path.as_posix())}, name: {json.dumps(name)}}}")
    if not workflows:
        lines.append("  - {workflow: WORKFLOW.json}")
    return "\n".join([*lines, "load:", f"  - {{trace: {json.dumps('trace.jsonl' if out == '-' else out)}}}"])
