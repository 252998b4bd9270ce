"""What the users of one process share where prompts go through a gateway: its edge, its workloads, its witness."""

from __future__ import annotations

import random
from collections.abc import Sequence

from comfysoak_core.clock import Clock
from comfysoak_core.gateway.sign_in import token_of
from comfysoak_core.scenario.gateway import Gateway
from comfysoak_core.scenario.workload import Workload
from comfysoak_load.gateway.edge import GatewayEdge
from comfysoak_load.gateway.run import GatewayRun
from comfysoak_load.gateway.witness import Witness
from comfysoak_load.gateway.workloads import PreparedImages
from comfysoak_load.prompts.workloads import chosen
from comfysoak_load.servers.target import Target


class GatewaySide:
    """The gateway of a test; `targets` are the ComfyUI servers behind it, as far as they are named.

    TargetError when it is to sign in and cannot.
    """

    def __init__(
        self, gateway: Gateway, workloads: Sequence[Workload], targets: Sequence[Target], clock: Clock
    ) -> None:
        self.url = gateway.url
        self.api = gateway.api
        self.edge = GatewayEdge(gateway.url, gateway.api.headers(token_of(gateway)))
        self.workloads = tuple(PreparedImages(one, one.images) for one in workloads if one.images is not None)
        self.witness = Witness(targets, clock, lambda: self.in_flight)
        self._runs: set[GatewayRun] = set()

    @property
    def in_flight(self) -> int:
        """Requests that are open now."""
        return len(self._runs)

    def workload(self, name: str | None, numbers: random.Random) -> PreparedImages:
        """The workload of this name; for None one of the mix, by weight. ValueError when there is none."""
        return chosen(self.workloads, name, numbers)

    def begin(self, run: GatewayRun) -> None:
        """A request is open."""
        self._runs.add(run)

    def end(self, run: GatewayRun) -> None:
        """A request is over."""
        self._runs.discard(run)

    def abort(self, why: str | None) -> None:
        """The test ends (`why`: before its time), and so does what is open. Gateway and ComfyUI work on unasked."""
        for run in tuple(self._runs):
            run.stop(why)

    def close(self) -> None:
        """Nothing more is asked."""
        self.witness.stop()
        self.edge.close()
