"""Every error ComfySoak raises on purpose, as one tree.

    ComfySoakError            exit code 70: a mistake of ours unless a subclass says otherwise
    ├── UsageError            2   the call is wrong
    │   └── ScenarioError     2   the scenario, a workflow or a file it names is wrong
    ├── TargetError           4   the target is not ready for load
    └── RecordingError        3   a run directory cannot be read or written

Each message has three parts: what was expected, what came, what to do. `Problem` keeps them apart, so that
all mistakes of one file are told at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit code of every `comfysoak` command means."""

    OK = 0
    GOAL_MISSED = 1
    WRONG_CALL = 2
    NOT_VALID = 3
    TARGET_NOT_READY = 4
    OUR_ERROR = 70
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, told so that it can be mended without looking anything up.

    `where` is a place a reader can open (`soak.yaml:12`), or empty.
    """

    what: str
    remedy: str = ""
    where: str = ""

    def __str__(self) -> str:
        """`where: what` and, on a line of its own, the remedy."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n    {self.remedy}" if self.remedy else head


class ComfySoakError(Exception):
    """The root: has an exit code and one or more problems."""

    exit_code = ExitCode.OUR_ERROR

    def __init__(self, what: str, remedy: str = "", *, where: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(what, remedy, where),)
        super().__init__(str(self.problems[0]))

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> ComfySoakError:
        """One error of this class for several problems, told together."""
        error = cls(problems[0].what, problems[0].remedy, where=problems[0].where)
        error.problems = tuple(problems)
        error.args = ("\n".join(str(problem) for problem in problems),)
        return error


class UsageError(ComfySoakError):
    """The command was called in a way it does not understand."""

    exit_code = ExitCode.WRONG_CALL


class ScenarioError(UsageError):
    """A scenario, or a file it names, is wrong."""


class TargetError(ComfySoakError):
    """The target does not answer as a ComfyUI that is ready for load does."""

    exit_code = ExitCode.TARGET_NOT_READY


class RecordingError(ComfySoakError):
    """A run directory cannot be read, or not be written."""

    exit_code = ExitCode.NOT_VALID
