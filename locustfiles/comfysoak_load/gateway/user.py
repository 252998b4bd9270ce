"""The users of an image gateway, for locustfiles to make their own of.

    from locust import events
    from comfysoak_load.gateway.user import GatewayUser, attach_gateway

    events.init.add_listener(attach_gateway)

    class MyUser(GatewayUser):
        def generate(self):
            self.client.generate("portraits")           # the name of a workload of the scenario

All else is as with the users of ComfyUI itself (`comfysoak_load.users`).
"""

from __future__ import annotations

from typing import Any

from comfysoak_load.gateway.client import GatewayClient
from comfysoak_load.gateway.plain import plain_gateway_plan
from comfysoak_load.harness import attach
from comfysoak_load.process.built_in import plain_plan
from comfysoak_load.prompts.told import fire_of
from comfysoak_load.users import ComfyUser


def attach_gateway(environment: Any, **_: Any) -> None:
    """Listener of Locust's `init` event, as `harness.attach`; plain Locust's `--host` is a gateway.

    With users of ComfyUI itself beside these (`-f locustfiles`) it is a ComfyUI.
    """
    beside = any(getattr(found, "through_gateway", True) is False for found in environment.user_classes)
    attach(environment, plain=plain_plan if beside else plain_gateway_plan)


class GatewayUser(ComfyUser):
    """Asks for pictures, waits for the answer, fetches and checks each, thinks, repeats. Holds no socket."""

    abstract = True
    through_gateway = True
    client: GatewayClient  # type: ignore[assignment]  # another kind, with the same uses

    def _new_client(self) -> GatewayClient:  # type: ignore[override]  # same uses, another kind
        return GatewayClient(self.process, fire_of(self.environment))
