"""Set-ups without a mistake: no row of theirs may complain."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from benchmarks.mistakes.between import Between
from benchmarks.mistakes.setup import WORKFLOWS, GatewaySetup, Setup

_TOKEN: Final = "sk-Rw5Tg9Hb3Nm7Kp1Lz6Qx"  # nobody's
_FLUX: Final = (WORKFLOWS / "flux.json").read_text(encoding="utf-8")
_FLUX_NODES: Final = """[
  {"type": "prompt", "key": "text", "node_ids": ["5"]},
  {"type": "width", "key": "width", "node_ids": ["4"]},
  {"type": "height", "key": "height", "node_ids": ["4"]},
  {"type": "seed", "key": "seed", "node_ids": ["7"]}
]"""

_FLUX_FILES: Final = {"models": {"diffusion_models/flux1-schnell-nf4.safetensors": "6 GiB"}}

SOUND_SETUPS: Final[dict[str, Setup]] = {
    "0.33.0, SDXL": Setup(),
    "0.3.64, SDXL": Setup(version="0.3.64"),
    "0.33.0, Flux": Setup(workflow=_FLUX, nodes=_FLUX_NODES, embedded=_FLUX_FILES),
    "0.3.64, Flux, all from an env file": Setup(
        version="0.3.64", workflow=_FLUX, nodes=_FLUX_NODES, embedded=_FLUX_FILES, by_env_file=True
    ),
    "behind a proxy, for one path": Setup(between=Between(prefix="/comfy")),
    "behind a proxy that wants a token": Setup(
        between=Between(needs_token=_TOKEN), variables={"COMFYUI_API_KEY": _TOKEN}
    ),
    "others' prompts are in the queue": Setup(others_prompts=3),
    "a history that is late": Setup(faults=({"kind": "late-history"},)),
    "Open WebUI in front, 0.33.0": Setup(gateway=GatewaySetup()),
    "Open WebUI in front, 0.3.64": Setup(version="0.3.64", gateway=GatewaySetup()),
    "an OpenAI-compatible gateway in front": Setup(gateway=GatewaySetup(api="openai")),
    "a node of its own that takes a while": replace(
        Setup(), embedded={"costs": {"KSampler": {"steps": "{steps}", "seconds_per_step": "150ms"}}}
    ),
}
