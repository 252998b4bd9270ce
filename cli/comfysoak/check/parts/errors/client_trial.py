"""A client of ours that goes through the proxy: what it has sent, and what it was told."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from comfysoak.check.checking import Checking
from comfysoak.check.conversation.access import Access
from comfysoak.check.conversation.conversation import Conversation
from comfysoak.check.conversation.run import Run
from comfysoak.check.conversation.runs import asked_for
from comfysoak.check.fault_proxy.faults import Rewrite
from comfysoak.check.fault_proxy.proxy import FaultProxy
from comfysoak.check.parts.gateway.generation import mark_of_ours
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.answers import Submission
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.history import HistoryEntry
from comfysoak_core.errors import TargetError

ANSWER_S: Final = 10.0


@dataclass
class ClientTrial:
    """What is used, and what is seen on the way. `through`: a check of the same ComfyUI through the proxy."""

    checking: Checking
    proxy: FaultProxy
    direct: ComfyClient
    through: Checking = field(init=False)
    runs: list[Run] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)  # ids of prompts that were sent without a conversation
    words: dict[str, str] = field(default_factory=dict)  # by row: what the server said of the failure
    described: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = replace(self.checking.known, base_url=self.proxy.url, runs=None)
        self.through = replace(self.checking, known=known, prompts_sent=0)

    def describe(self, name: str) -> Mapping[str, Any] | None:
        """A node class as /object_info has it; None: the server lacks it."""
        if name not in self.described:
            try:
                self.described[name] = self.direct.object_info(name)
            except TargetError:
                self.described[name] = None
        return self.described[name]

    def run(self, name: str, graph: Rewrite) -> Run:
        """One prompt of ours through the proxy, from its socket to its files."""
        run = Conversation(self.through, asked_for(name, graph(mark_of_ours()), None)).run()
        self.runs.append(run)
        return run

    def client(self, timeout_s: float) -> ComfyClient:
        """A client that goes through the proxy; to be closed."""
        return ComfyClient(self.proxy.url, timeout_s=timeout_s, headers=Access.of(self.checking).headers)

    def submit(self, graph: Rewrite, client_id: str | None = None) -> Submission:
        """POST /prompt through the proxy. TargetError."""
        prompt_id = str(uuid.uuid4())
        document = {"prompt": graph(mark_of_ours()), "prompt_id": prompt_id, "client_id": client_id or prompt_id}
        self.sent.append(prompt_id)
        self.through.prompts_sent += 1
        with self.client(ANSWER_S) as client:
            return client.post_prompt(orjson.dumps(document))

    def still_there(self, ids: list[str]) -> list[str]:
        """Those of these prompts that are in queue or history."""
        try:
            queue = self.direct.queue()
            return [one for one in ids if one in queue or isinstance(self.direct.history(one), HistoryEntry)]
        except TargetError:
            return []


BUSY: Final = "the prompt for it waited behind those of others until the deadline: try again when the server is idle"


def took_s(run: Run) -> float:
    """From when it was to be sent until its end was known."""
    return ((run.row.finished_ns or run.row.scheduled_ns) - run.row.scheduled_ns) / NS_PER_S
