"""Recorded exchanges with gateways, and lives that go through them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.gateway.api import OPEN_WEBUI, Api
from comfysoak_core.gateway.life import Checked, GatewayLife, Need
from comfysoak_core.gateway.sighting import Sighting
from comfysoak_core.rows import Prompt

FOLDER = Path(__file__).parents[2] / "data" / "recordings" / "gateway"
START_NS = 1_795_349_193 * NS_PER_S
DEADLINE_NS = START_NS + 60 * NS_PER_S


def document(name: str) -> dict[str, Any]:
    """A whole recording."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def generations(name: str) -> list[tuple[dict[str, Any], int, bytes]]:
    """The request, the status and the body of each generation that was answered."""
    found = []
    for exchange in document(name)["exchanges"]:
        response = exchange["response"]
        if exchange["path"].endswith("/generations") and "status" in response:
            body = response["body"]
            is_json = response["content_type"].startswith("application/json")
            content = json.dumps(body).encode() if is_json else str(body).encode()
            found.append((exchange["json"], response["status"], content))
    return found


def a_life(
    wanted: int = 1, *, api: Api = OPEN_WEBUI, fetch: bool = True, watched: bool = False, has_health: bool = True
) -> GatewayLife:
    """A request that is on its way."""
    prompt = Prompt(
        id="0", server="http://platform", worker="load-0", client_id="", workflow="cats",
        scheduled_ns=START_NS, deadline_ns=DEADLINE_NS, outputs_expected=wanted,
    )  # fmt: skip
    life = GatewayLife(prompt, api.pictures, wanted, fetch=fetch, has_health=has_health, watched=watched)
    life.sent(START_NS)
    return life


def ended(
    life: GatewayLife,
    checked: Checked | None = None,
    sighting: Sighting | None = None,
    *,
    is_well: bool | None = True,
    at_ns: int = DEADLINE_NS,
) -> Prompt:
    """The row, when whatever it needs is answered so."""
    for _ in range(10):
        if life.need is Need.FETCH:
            life.checked(checked or Checked(len(life.pictures), 1000), at_ns)
        elif life.need is Need.ASK_HEALTH:
            life.health(is_well, at_ns)
        elif life.need is Need.ASK_COMFYUI:
            life.sighted(sighting or Sighting(), at_ns)
    assert life.need is Need.DONE
    return life.row
