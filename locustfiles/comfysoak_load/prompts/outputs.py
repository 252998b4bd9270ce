"""The outputs of a prompt, fetched and checked: each as its kind allows, and as many as the workflow saves.

Small pictures are checked at once. Larger ones are decoded in another thread (Pillow lets go of the interpreter lock
meanwhile), and only so many at a time that what they hold in memory together stays within a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import gevent
import gevent.lock

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.expected import UNKNOWN, ExpectedFiles
from comfysoak_core.comfyui.history import OutputFile, OutputText
from comfysoak_core.outputs.check import problem_of, problem_of_text
from comfysoak_core.outputs.kinds import OutputKind, kind_of
from comfysoak_core.outputs.pictures import MAX_PIXELS, Run, Work
from comfysoak_load.edge.failures import Failure
from comfysoak_load.servers.target import Target

INLINE_PIXELS: Final = 256 * 256  # decoded in under a millisecond: handing it to another thread costs half of that
INLINE_BYTES: Final = 256 * 1024
T = TypeVar("T")
_SLOTS: Final = 64
_SLOT_PIXELS: Final = MAX_PIXELS // _SLOTS
_OK: Final = 200

Judge = Callable[[OutputFile, bytes], tuple[str, Code] | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a prompt must give back: by output node, and which kinds of it are looked at (None: all).

    `noise`: the nodes that put out what a sampler made, which is never all of one colour.
    `judge` has the last word on each file that is as it should be.
    """

    files: Mapping[str, ExpectedFiles]
    noise: frozenset[str] = frozenset()
    kinds: frozenset[OutputKind] | None = None
    judge: Judge | None = None


@dataclass(slots=True)
class Checked:
    """What came, and the gravest thing that is wrong with it."""

    received: int = 0
    size_bytes: int = 0
    problem: str | None = None
    code: Code = Code.OUTPUT_WRONG

    def note(self, problem: str | None, code: Code = Code.OUTPUT_WRONG) -> None:
        """Something is wrong; what comes first stays, unless a file is missing altogether."""
        if problem is not None and (self.problem is None or (self.code, code) == _GRAVER):
            self.problem, self.code = problem, code


_GRAVER: Final = (Code.OUTPUT_WRONG, Code.OUTPUT_MISSING)


@dataclass(frozen=True, slots=True)
class Given:
    """What a prompt has put out: files and texts by history or socket, pictures that came as messages by node.

    `whole` is False when the socket was away for a while: then pictures may have been missed.
    """

    files: Sequence[OutputFile]
    texts: Sequence[OutputText] = ()
    pictures: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    whole: bool = True


def check_outputs(target: Target, given: Given, asked: Asked) -> Checked | None:
    """Fetch what is wanted and check it; None when the server refuses connections."""
    checked = Checked()
    checked.note(_count_problem(given, asked))
    for file in given.files:
        if asked.kinds is not None and kind_of(file.filename, file.kind, animated=file.animated) not in asked.kinds:
            continue
        if not _check_file(target, file, asked, checked):
            return None
    if asked.kinds is None or OutputKind.IMAGES in asked.kinds:
        _check_pictures(given, asked, checked)
    if asked.kinds is None or OutputKind.TEXT in asked.kinds:
        for text in given.texts:
            _check_text(text, checked)
    return checked


def _count_problem(given: Given, asked: Asked) -> str | None:
    """Fewer or more files than the workflow saves, node by node."""
    for node_id, files in asked.files.items():
        if files.by_socket:
            count = len(given.pictures.get(node_id, ()))
            if not given.whole:
                continue
        else:
            count = sum(file.node_id == node_id for file in given.files)
        if files.count is not None and count != files.count:
            return f"node {node_id} gave {count} files instead of {files.count}"
    return None


def _check_file(target: Target, file: OutputFile, asked: Asked, checked: Checked) -> bool:
    """Fetch and check one; False when the server refuses connections."""
    answer = target.view(file)
    if isinstance(answer, Failure):
        if answer.never_arrived:
            return False
        checked.note(f"{file.filename}: {answer}", Code.OUTPUT_MISSING)
        return True
    if answer.status != _OK:
        checked.note(f"{file.filename}: HTTP {answer.status}", Code.OUTPUT_MISSING)
        return True
    checked.received += 1
    checked.size_bytes += len(answer.body)
    problem = _problem(file.filename, answer.body, file.node_id, asked)
    if problem is not None:
        checked.note(problem)
    elif asked.judge is not None:
        judged = asked.judge(file, answer.body)
        if judged is not None:
            checked.note(f"{file.filename}: {judged[0]}", judged[1])
    return True


def _check_pictures(given: Given, asked: Asked, checked: Checked) -> None:
    for node_id, pictures in given.pictures.items():
        for index, data in enumerate(pictures):
            checked.received += 1
            checked.size_bytes += len(data)
            checked.note(_problem(f"picture {index + 1} of node {node_id}.png", data, node_id, asked))


def _check_text(text: OutputText, checked: Checked) -> None:
    checked.received += 1
    checked.size_bytes += len(text.text)
    problem = problem_of_text(text.text)
    checked.note(None if problem is None else f"node {text.node_id}: {problem}")


def _problem(filename: str, data: bytes, node_id: str, asked: Asked) -> str | None:
    expected = asked.files.get(node_id, UNKNOWN).each
    if node_id in asked.noise:
        expected = replace(expected, noise=True)
    problem = problem_of(filename, data, expected, run_of(data))
    return None if problem is None else f"{filename}: {problem}"


def run_of(data: bytes) -> Run:
    """How a file is decoded: a small one at once, a large one in another thread when there is room for its pixels."""

    def run(pixels: int, work: Work) -> str | None:
        if pixels <= INLINE_PIXELS and len(data) <= INLINE_BYTES:
            return work()
        return aside(pixels, work)

    return run


def aside(pixels: int, work: Callable[[], T]) -> T:
    """Do work that holds so many pixels in another thread, when there is room for them."""
    with _ROOM.taken(pixels):
        done: T = gevent.get_hub().threadpool.apply(work)
        return done


class _Room:
    """Pixels that may be decoded at once in this process: what wants more than is free waits for its turn."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._free = gevent.lock.Semaphore(slots)
        self._turn = gevent.lock.Semaphore(1)  # whoever waits for several slots waits alone, or two could wait for ever

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Room for so many pixels; what is more than all there is has it all for itself."""
        wanted = min(max(-(-pixels // _SLOT_PIXELS), 1), self._slots)
        held = 0
        try:
            with self._turn:
                while held < wanted:
                    self._free.acquire()
                    held += 1
            yield
        finally:
            for _ in range(held):
                self._free.release()


_ROOM: Final = _Room(_SLOTS)
