"""How a check reaches the ComfyUI: the addresses, and the headers that the platform sends."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import quote

from comfysoak.check.checking import Checking
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.transport import Transport

ANSWER_WITHIN_S = 10.0
SUBMIT_WITHIN_S = 30.0  # a server that reads a model from a slow disk lets HTTP wait, and a POST is not repeated
BRIEF_S = 2.0  # where we are tidying up, or nothing was answered before


@dataclass(frozen=True, slots=True)
class Access:
    """One ComfyUI. `headers` carry the key, where there is one: on the socket and on every request."""

    base_url: str
    headers: dict[str, str]

    @classmethod
    def of(cls, checking: Checking) -> Access:
        """As the check was told; ValueError without an address."""
        base_url, variable = checking.known.base_url, checking.settings.api_key_variable
        if base_url is None:
            raise ValueError("no base URL is known")
        key = os.environ.get(variable, "") if variable else ""
        return cls(base_url, {"Authorization": f"Bearer {key}"} if key else {})

    def client(self, timeout_s: float = ANSWER_WITHIN_S) -> ComfyClient:
        """A client of its own; to be closed."""
        return ComfyClient(self.base_url, timeout_s=timeout_s, headers=self.headers)

    def transport(self) -> Transport:
        """One connection for requests whose answers are wanted as they come; to be closed."""
        return Transport(self.base_url, timeout_s=SUBMIT_WITHIN_S, headers=self.headers)

    def socket_url(self, client_id: str) -> str:
        """The socket's address: ws or wss, as the base URL has http or https."""
        return f"ws{self.base_url.removeprefix('http')}/ws?clientId={quote(client_id, safe='')}"
