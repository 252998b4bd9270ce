"""What a prompt on its way is given: what to send and what must come back, the line it hears by, its load process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from comfysoak_core.clock import AnchoredClock
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.address import Fall
from comfysoak_core.recording.journal import Journal
from comfysoak_load.prompts.outputs import Asked
from comfysoak_load.prompts.uploads import Delivery
from comfysoak_load.servers.target import Target
from comfysoak_load.sockets.connection import PromptListener

if TYPE_CHECKING:
    from comfysoak_load.prompts.prompt_run import PromptRun


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be sent, and what must come back. `pictures` have to be on the server before."""

    body: bytes
    asked: Asked
    pictures: Delivery | None = None

    def wants_pictures_of(self, node_id: str) -> bool:
        """Whether the pictures of this node come as messages, and count as outputs."""
        files = self.asked.files.get(node_id)
        return files is not None and files.by_socket


class Line(Protocol):
    """What a prompt on its way asks of the connection it hears by."""

    @property
    def target(self) -> Target:
        """The server it goes to."""

    @property
    def queue_remaining(self) -> int | None:
        """The queue as it was last told."""

    def listen(self, listener: PromptListener) -> None:
        """Pass on what comes."""

    def unlisten(self, listener: PromptListener) -> None:
        """No more of it."""


class Lateness(Protocol):
    """Where the harness keeps how late it was."""

    def left_late(self, late_ns: int) -> None:
        """A prompt left so much later than it was due."""


class Process(Protocol):
    """What a prompt on its way asks of the load process it runs in."""

    clock: AnchoredClock
    journal: Journal

    @property
    def self_check(self) -> Lateness:
        """Where it says how late it left."""

    def event(
        self,
        kind: str,
        *,
        server: str | None = None,
        subject: str | None = None,
        code: Code | None = None,
        detail: str = "",
    ) -> None:
        """Journal an event."""

    def numbers_fell(self, target: Target, fall: Fall, witness: PromptRun) -> None:
        """`witness` was given a lower number than a prompt before it."""
