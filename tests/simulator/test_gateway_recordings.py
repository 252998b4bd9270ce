"""The simulated gateway does what the recorded ones did: to their clients, and at the ComfyUI behind them."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulator.gateway_replay import FOLDER, load, replayed

# Recorded in a way that needs a ComfyUI that lives, freezes or dies: those are acted out in test_gateway.py.
ACTED = {
    "auth-off",
    "client-gives-up",
    "fail-comfyui-killed-midrun",
    "hang-comfyui-frozen",
    "hang-queue-cleared",
    "openai-shape",
    "slow-prompt-accept",
    "timeout-env-prompt",  # a limit of the gateway's own, which is not simulated
    "timeout-env-withheld",
    "silent-interrupted",
    "v0335-ok-config",
    "env-nodes-object",
}
CASES = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem not in ACTED)


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_case_is_done_again(name: str) -> None:
    """Same requests to ComfyUI, same answers to the client."""
    assert asyncio.run(asyncio.wait_for(replayed(load(name)), 4)) == []
