"""One GPU of an open driver: what all that is asked about it goes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from comfysoak_probes.nvml.driver import Device, Gate

T = TypeVar("T")


class OpenGpu:
    """A GPU or MIG instance, by the handle that is good now; `device` is changed when the driver gives another one."""

    def __init__(self, gate: Gate, device: Device) -> None:
        self._gate = gate
        self.device = device

    def ask(self, function: Callable[..., T], *arguments: object) -> T:
        """What the driver answers about this GPU. Raises DriverError; CLOSED when the handle is no longer good."""
        return self._gate.ask(function, self.device.handle, *arguments, generation=self.device.generation)

    def ask_library(self, function: Callable[..., T], *arguments: object) -> T:
        """As `ask`, of a function that is not given this GPU."""
        return self._gate.ask(function, *arguments, generation=self.device.generation)
