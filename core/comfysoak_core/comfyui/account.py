"""All that is known of one prompt, from socket, history and the answer to its submission, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.agreement import disagreements
from comfysoak_core.comfyui.answers import NodeProblem
from comfysoak_core.comfyui.ending import Ending, did_no_work, ending_of_failure, ending_of_success
from comfysoak_core.comfyui.heard import Heard
from comfysoak_core.comfyui.history import Failure, HistoryEntry, OutputFile, OutputText
from comfysoak_core.comfyui.server_clock import stamp_ns
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.rows import Outcome, Prompt
from comfysoak_core.value import replaced

MAX_DISAGREEMENTS: Final = 8
_ELSEWHERE: Final = "it ran on another server than the one its socket is open to: nobody who listened was told"
_UNNAMED: Final = Failure(interrupted=False, node_id=None, node_class=None, error_type=None, message=None)


class Account:
    """The facts; `PromptLife` says when which of them come in."""

    __slots__ = (
        "cancel_asked",
        "disagreements",
        "dropped",
        "elsewhere",
        "entry",
        "fields",
        "heard",
        "listens",
        "prompt",
        "raced",
        "shape",
    )

    def __init__(self, prompt: Prompt, shape: GraphShape, *, listens: bool) -> None:
        self.prompt = prompt
        self.shape = shape
        self.listens = listens  # there is meant to be a socket
        self.heard = Heard(prompt, shape)
        self.entry: HistoryEntry | None = None
        self.fields: dict[str, Any] = {"nodes_total": len(shape.classes)}  # columns that are known by now
        self.dropped: NodeProblem | None = None  # why the server left out an output
        self.elsewhere = False  # it ran on another server than the one its socket is open to
        self.raced = False  # history was empty after the end, and filled later
        self.cancel_asked = False
        self.disagreements: tuple[str, ...] = ()

    @property
    def row(self) -> Prompt:
        """The prompt's row as of now."""
        heard, cached = self.heard, self.cached
        executed = len(heard.nodes.executed)
        known = {
            "start_received_ns": heard.start_ns,
            "start_error_ns": heard.start_error_ns,
            "messages": heard.messages,
            "message_bytes": heard.bytes,
            "nodes_cached": None if cached is None else len(cached & self.shape.classes.keys()),
            "nodes_executed": None if not executed and heard.start_ns is None else executed,
        }
        return replaced(self.prompt, known | self._server_times() | self.fields)

    @property
    def outputs(self) -> tuple[OutputFile, ...]:
        """The files it has put out: by history where it was asked, else by the socket."""
        return self.entry.files if self.entry is not None else tuple(self.heard.files)

    @property
    def texts(self) -> tuple[OutputText, ...]:
        """The texts it has shown, by the same witness."""
        return self.entry.texts if self.entry is not None else tuple(self.heard.texts)

    @property
    def cached(self) -> frozenset[str] | None:
        """The nodes that came from the cache; None: nobody has said."""
        if self.entry is not None and self.entry.cached is not None:
            return frozenset(self.entry.cached)
        return self.heard.cached

    @property
    def how(self) -> Failure | bool | None:
        """How it ended, history before socket: its failure, True for success, None if nobody says."""
        entry = self.entry
        if entry is not None and entry.succeeded is not None:
            return True if entry.succeeded else entry.failure or _UNNAMED
        return self.heard.failure or (True if self.heard.succeeded else None)

    def end_by_socket(self, at_ns: int) -> None:
        """`executing` null has come."""
        self.fields |= {
            "end_received_ns": at_ns,
            "end_error_ns": self.heard.end_error_ns,
            "end_source": "socket",
        }

    def end_by_history(self, at_ns: int, open_ns: int) -> None:
        """History has it; it was last known to be open at `open_ns`."""
        self.fields |= {
            "end_received_ns": at_ns,
            "end_error_ns": max(0, at_ns - open_ns),
            "end_source": "history",
        }
        self.heard.nodes.gap()
        self.heard.nodes.close(at_ns)

    def take_entry(self, entry: HistoryEntry, *, raced: bool) -> None:
        """The history entry has come."""
        for what in disagreements(self.heard, entry, listened=self.listens):
            self.disagree(what)
        self.entry = entry
        self.raced = raced

    def disagree(self, what: str) -> None:
        """Socket and history tell different things."""
        if len(self.disagreements) < MAX_DISAGREEMENTS:
            self.disagreements = (*self.disagreements, what)

    def ending(self, wrong: Code | None = None, problem: str | None = None) -> Ending:
        """Its end, once `how` says one; `wrong` and `problem` are what is wrong with its outputs."""
        how = self.how
        if how is None:
            message = "the prompt ended, but neither socket nor history says how"
            return Ending(Outcome.FAILED, Code.BAD_MESSAGE, error_message=message)
        if isinstance(how, Failure):
            return ending_of_failure(how, interrupt_asked=self.cancel_asked)
        heard = self.heard
        cached = did_no_work(self.shape, self.cached or frozenset(), heard.nodes.executed, heard_all=heard.heard_all)
        ending = ending_of_success(cached=cached, codes=self._codes(wrong), message=problem or heard.bad)
        if ending.code is Code.LB_MISROUTED:
            return replace(ending, error_message=_ELSEWHERE)
        return self._dropped(ending) if ending.code is Code.OUTPUT_DROPPED else ending

    def _codes(self, wrong: Code | None) -> frozenset[Code]:
        found = {
            Code.LB_MISROUTED: self.elsewhere,
            Code.OUTPUT_DROPPED: self.dropped is not None,
            Code.BAD_MESSAGE: self.heard.bad is not None,
            Code.LOST_TERMINAL: self.listens and self.fields.get("end_source") == "history",
            Code.HISTORY_RACE: self.raced,
        }
        codes = {code for code, is_so in found.items() if is_so}
        return frozenset(codes if wrong is None else codes | {wrong})

    def _dropped(self, ending: Ending) -> Ending:
        problem = self.dropped
        if problem is None:
            return ending
        return replace(
            ending,
            error_type=problem.type,
            error_message=problem.message,
            node_id=problem.node_id,
            node_class=problem.node_class,
        )

    def _server_times(self) -> dict[str, int | None]:
        entry, heard = self.entry, self.heard
        started_ms = heard.started_server_ms if entry is None else entry.started_ms
        ended_ms = heard.ended_server_ms if entry is None else entry.ended_ms
        return {
            "started_server_ns": stamp_ns(started_ms),
            "ended_server_ns": stamp_ns(ended_ms),
            "created_server_ns": None if entry is None else stamp_ns(entry.created_ms),
        }
