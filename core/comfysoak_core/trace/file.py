"""A trace on its way from a person's file into a run: read and checked before the start, kept in the run directory.

Both ways go line by line, so that its size does not matter. In the run directory (`inputs/trace-HASH.jsonl`) it is one
JSON list a prompt, in order of time: seconds since the first prompt, workflow or null, inputs or null.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson

from comfysoak_core.comfyui.json_text import excerpt
from comfysoak_core.comfyui.places import place_of
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.errors import Problem, RecordingError, ScenarioError
from comfysoak_core.recording.layout import Layout
from comfysoak_core.scenario.arrivals import Arrival
from comfysoak_core.scenario.stage import Replay, Stage
from comfysoak_core.trace.lines import TraceLine, bounded_lines, lines_of_trace
from comfysoak_core.trace.order import TooLateError, in_order

MAX_PROBLEMS: Final = 20
LONGEST_S: Final = 366 * 86_400.0
_GZIP: Final = b"\x1f\x8b"
_SORT: Final = "Sort the trace by time first."


def check_trace(path: Path, graphs: Mapping[str, Graph]) -> Replay:
    """What a plan needs to know of the trace in a file; ScenarioError for its mistakes, up to `MAX_PROBLEMS` of them.

    `graphs` are the scenario's workflows by name.
    """
    digest, count, last_s = hashlib.sha256(), 0, 0.0
    for offset_s, line in _normalised(path, _Check(graphs, str(path))):
        digest.update(line)
        count, last_s = count + 1, offset_s
    if last_s > LONGEST_S:
        what = f"the trace lasts {last_s / 86_400:,.0f} days"
        raise ScenarioError(what, "Are its times seconds? Milliseconds count from 1970.", where=str(path))
    return Replay(trace=digest.hexdigest(), name=path.name, prompts=count, lasts_s=last_s, source=str(path.absolute()))


def store_trace(replay: Replay, run_dir: Path) -> None:
    """Put a trace that was checked into the run directory; ScenarioError when its file has changed since."""
    target = trace_path(replay, run_dir)
    target.parent.mkdir(exist_ok=True)
    hidden = target.with_name(f".{target.name}.new")
    digest = hashlib.sha256()
    with hidden.open("wb") as file:
        for _, line in _normalised(Path(replay.source), lambda _line: None):
            digest.update(line)
            file.write(line)
    if digest.hexdigest() != replay.trace:
        hidden.unlink()
        raise ScenarioError("the trace has changed since it was checked", "Start again.", where=replay.source)
    os.replace(hidden, target)  # noqa: PTH105  # in the same folder


def store_traces(stages: Iterable[Stage], run_dir: Path) -> None:
    """Put the traces of a plan's stages into the run directory."""
    for replay in {stage.replay.trace: stage.replay for stage in stages if stage.replay is not None}.values():
        store_trace(replay, run_dir)


def trace_path(replay: Replay, run_dir: Path) -> Path:
    """Where the trace of a stage lies in a run directory."""
    return Layout(run_dir).inputs / f"trace-{replay.trace[:16]}.jsonl"


def stored_arrivals(replay: Replay, run_dir: Path, *, part: int = 0, parts: int = 1) -> Iterator[Arrival]:
    """The arrivals of one of `parts` processes, dealt out line by line. RecordingError when the trace is not there."""
    path = trace_path(replay, run_dir)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file):
                if number % parts == part:
                    offset_s, workflow, inputs = orjson.loads(line)
                    yield Arrival(offset_s / replay.speed, workflow, inputs)
    except (OSError, ValueError, TypeError) as error:
        remedy = "A worker on another machine needs the files of `inputs/`."
        raise RecordingError(f"{path} cannot be read: {error}", remedy) from error


def _normalised(path: Path, check: Callable[[TraceLine], Problem | None]) -> Iterator[tuple[float, bytes]]:
    """Seconds since the first prompt, and the line as it is kept. ScenarioError for all mistakes at its end."""
    problems: list[Problem] = []
    first_s: float | None = None
    try:
        with open_text(path) as stream:
            for line in in_order(_sound(lines_of_trace(bounded_lines(stream), str(path)), problems, check)):
                first_s = line.time_s if first_s is None else first_s
                offset_s = round(line.time_s - first_s, 6)
                yield offset_s, _kept(offset_s, line, path)
    except TooLateError as error:
        number = error.what.number if isinstance(error.what, TraceLine) else 0
        problems.append(Problem(f"the line is out of order: {error}", _SORT, f"{path}:{number}"))
    except (OSError, EOFError, zlib.error) as error:
        words = getattr(error, "strerror", None) or str(error)
        problems.append(Problem(f"the trace cannot be read: {words}", "Relative paths are relative to the scenario.",
                                str(path)))  # fmt: skip
    if not problems and first_s is None:
        problems.append(Problem("the trace holds no prompt", "One a line follows the first line.", str(path)))
    if problems:
        raise ScenarioError.of(problems)


def _kept(offset_s: float, line: TraceLine, path: Path) -> bytes:
    try:
        return orjson.dumps([offset_s, line.workflow, line.inputs]) + b"\n"
    except TypeError:  # it reads what is deeper than it writes
        what, remedy = "inputs nested too deeply to be sent", "No node takes more than a few lists in a list."
        raise ScenarioError(what, remedy, where=f"{path}:{line.number}") from None


@contextmanager
def open_text(path: Path) -> Iterator[io.BufferedIOBase]:
    """A file of text, perhaps compressed by gzip."""
    with path.open("rb") as file:
        if file.peek(2)[:2] == _GZIP:
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield unzipped
        else:
            yield file


def _sound(
    found: Iterator[TraceLine | Problem], problems: list[Problem], check: Callable[[TraceLine], Problem | None]
) -> Iterator[TraceLine]:
    """The prompts among lines; problems are kept, and end it when there are too many."""
    for item in found:
        problem = item if isinstance(item, Problem) else check(item)
        if problem is not None:
            problems.append(problem)
            if len(problems) >= MAX_PROBLEMS:
                return
        elif isinstance(item, TraceLine):
            yield item


class _Check:
    """Whether a prompt can be sent with the workflows there are."""

    def __init__(self, graphs: Mapping[str, Graph], name: str) -> None:
        self._graphs = graphs
        self._name = name
        self._known: set[tuple[str, str]] = set()  # workflow and input path: as many as the workflows have inputs

    def __call__(self, line: TraceLine) -> Problem | None:
        where = f"{self._name}:{line.number}"
        if line.workflow is not None and line.workflow not in self._graphs:
            what = f"no workflow of the scenario is called {excerpt(line.workflow, 60)!r}"
            return Problem(what, f"There are: {', '.join(self._graphs)}.", where)
        if line.inputs is None:
            return None
        if line.workflow is None and len(self._graphs) > 1:
            return Problem("inputs without the workflow they belong to", 'Add "workflow": ... to the line.', where)
        workflow = line.workflow or next(iter(self._graphs))
        try:
            for path in line.inputs:
                self._see(workflow, path)
        except ScenarioError as error:
            return Problem(error.problems[0].what, error.problems[0].remedy, where)
        return None

    def _see(self, workflow: str, path: str) -> None:
        if (workflow, path) not in self._known:
            place_of(self._graphs[workflow], path)
            self._known.add((workflow, path))
