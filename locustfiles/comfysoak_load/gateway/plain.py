"""What plain Locust asks of a gateway when no scenario says otherwise: by environment variables, all optional."""

from __future__ import annotations

import os
import secrets

from comfysoak_core.errors import UsageError
from comfysoak_core.gateway.api import APIS
from comfysoak_core.gateway.prompts import Images
from comfysoak_core.scenario.gateway import Gateway
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.quantities import parse_duration
from comfysoak_core.scenario.workload import Workload
from comfysoak_core.scenario.written.gateway import as_size
from comfysoak_load.process.built_in import TOKEN_VARIABLE, base_url, base_urls

NAME = "plain-gateway"
VARIABLES = {
    "COMFYSOAK_API": "open-webui, open-webui-old or openai",
    "COMFYSOAK_PROMPT": "what is asked for; {number} in it is drawn",
    "COMFYSOAK_SIZE": "512x512",
    "COMFYSOAK_N": "pictures a request",
    "COMFYSOAK_MODEL": "the model",
    "COMFYSOAK_DEADLINE": "2m",
    "COMFYSOAK_COMFYUI": "the ComfyUI behind the gateway, or several with commas between them",
}
_EXAMPLE = "--host http://platform:8080"
_PROMPT = "a lighthouse at dusk, picture {number}"


def plain_gateway_plan(host: str | None) -> Plan:
    """The plan for Locust's `--host`: the gateway's base URL. UsageError for what is wrong in host or environment."""
    if not host:
        raise UsageError("which gateway? no host was given", f"Name the gateway to load: {_EXAMPLE}")
    behind = os.environ.get("COMFYSOAK_COMFYUI", "")
    api = os.environ.get("COMFYSOAK_API", "open-webui")
    known = {str(name): shape for name, shape in APIS.items()}
    if api not in known:
        raise UsageError(f"COMFYSOAK_API is {api!r}", f"It is one of: {', '.join(known)}.")
    return Plan(
        name=NAME,
        seed=secrets.randbelow(2**31),
        servers=base_urls(behind, _EXAMPLE),
        gateway=Gateway(
            url=base_url(host, _EXAMPLE),
            api=known[api],
            token_variable=TOKEN_VARIABLE if os.environ.get(TOKEN_VARIABLE) else None,
        ),
        workloads=(_workload(),),
        stages=(),
    )


def _workload() -> Workload:
    try:
        size = os.environ.get("COMFYSOAK_SIZE")
        pixels = as_size(size) if size else None
        images = Images(
            prompts=(os.environ.get("COMFYSOAK_PROMPT") or _PROMPT,),
            n=int(os.environ.get("COMFYSOAK_N") or 1),
            size=pixels if isinstance(pixels, tuple) else None,
            model=os.environ.get("COMFYSOAK_MODEL") or None,
        )
        deadline_s = parse_duration(os.environ.get("COMFYSOAK_DEADLINE") or "2m")
    except ValueError as error:
        raise UsageError(f"a COMFYSOAK_ variable is wrong: {error}", _variables()) from None
    return Workload(name="built-in", images=images, deadline_s=deadline_s)


def _variables() -> str:
    return "; ".join(f"{name}: {what}" for name, what in VARIABLES.items())
