"""What plain Locust sends when no scenario says otherwise: a workflow that every ComfyUI can run without any model."""

from __future__ import annotations

import os
import secrets
from urllib.parse import urlsplit

from comfysoak_core.comfyui.vary import Range, Vary
from comfysoak_core.errors import UsageError
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.workload import Workload

NAME = "plain-locust"
TOKEN_VARIABLE = "COMFYSOAK_TOKEN"  # noqa: S105  # the name of a variable, no token
_EXAMPLE = "--host http://127.0.0.1:8188"

# The colour varies, so nothing comes from the server's cache; inverting the picture is the work.
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "comfysoak/plain"}},
}


def plain_plan(host: str | None) -> Plan:
    """The plan for Locust's `--host`: one base URL, or several with commas between them. UsageError if it is none."""
    servers = base_urls(host or "")
    if not servers:
        raise UsageError("which server? no host was given", f"Name the ComfyUI to load: {_EXAMPLE}")
    workload = Workload(
        name="built-in", graph=GRAPH, deadline_s=120.0, vary=Vary(inputs={"1.color": Range(0, 0xFFFFFF)})
    )
    return Plan(
        name=NAME,
        seed=secrets.randbelow(2**31),
        servers=servers,
        token_variable=TOKEN_VARIABLE if os.environ.get(TOKEN_VARIABLE) else None,
        workloads=(workload,),
        stages=(),
    )


def base_urls(written: str, example: str = _EXAMPLE) -> tuple[str, ...]:
    """The base URLs in a text with commas between them, as `base_url`."""
    return tuple(base_url(part.strip(), example) for part in written.split(",") if part.strip())


def base_url(url: str, example: str = _EXAMPLE) -> str:
    """The base URL a person has written. UsageError when it is none, or has a password in it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{url!r} is no base URL of a server", f"It looks like this: {example}")
    if parts.username or parts.password:
        raise UsageError(
            "the host has a user name or password in it, which would end up in recordings and logs",
            f"Put a bearer token into the environment variable {TOKEN_VARIABLE} instead.",
        )
    return url.rstrip("/")
