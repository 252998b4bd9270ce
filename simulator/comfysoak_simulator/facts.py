"""What a server says of itself: /system_stats, /features, /models and the like, of either version."""

from __future__ import annotations

import platform
from typing import Any

import psutil

from comfysoak_simulator.machine import Machine

Json = Any
_VERSIONS = {
    "0.3.64": {"frontend": "1.27.10", "templates": "0.1.95"},
    "0.33.0": {"frontend": "1.49.6", "templates": "0.11.44"},
}
_TORCH = "2.9.1+cu128"
_CACHE_OPTIONS = {"classic": ["--cache-classic"], "none": ["--cache-none"], "lru": ["--cache-lru"]}


def system_stats(machine: Machine, argv: list[str]) -> dict[str, Json]:
    """The answer to GET /system_stats; memory in bytes."""
    version = machine.embedded.version
    memory = psutil.virtual_memory()
    needed = _VERSIONS[version]
    system: dict[str, Json] = {
        "os": "linux" if version == "0.33.0" else "posix",
        "ram_total": memory.total,
        "ram_free": memory.available,
        "comfyui_version": version,
        "required_frontend_version": needed["frontend"],
        "installed_templates_version": needed["templates"],
        "required_templates_version": needed["templates"],
        "python_version": f"{platform.python_version()} (simulated)",
        "pytorch_version": _TORCH,
        "embedded_python": False,
        "argv": argv,
    }
    if version == "0.33.0":
        packages = {"comfyui-frontend-package": needed["frontend"], "comfyui-workflow-templates": needed["templates"]}
        system["comfy_package_versions"] = [
            {"name": name, "installed": number, "required": number} for name, number in packages.items()
        ]
        system["deploy_environment"] = "local-git"
    return {"system": system, "devices": [_device(machine, memory.total, memory.available)]}


def _device(machine: Machine, ram_total: int, ram_free: int) -> dict[str, Json]:
    gpu = machine.gpu
    if gpu is None:
        names: dict[str, Json] = {"name": "cpu", "type": "cpu", "index": None}
        total, free, torch_total, torch_free = ram_total, ram_free, ram_total, ram_free
    else:
        names = {"name": f"cuda:0 {gpu.spec.name} : cudaMallocAsync", "type": "cuda", "index": 0}
        total, free, torch_total, torch_free = gpu.total_bytes, gpu.free_bytes, gpu.torch_bytes, 0
    return {
        **names,
        "vram_total": total,
        "vram_free": free,
        "torch_vram_total": torch_total,
        "torch_vram_free": torch_free,
    }


def features(machine: Machine) -> dict[str, Json]:
    """The answer to GET /features, and to a client's feature flags."""
    limit = machine.embedded.max_upload
    if machine.embedded.version == "0.3.64":
        return {"supports_preview_metadata": True, "max_upload_size": limit}
    return {
        "supports_preview_metadata": True,
        "supports_model_type_tags": True,
        "max_upload_size": limit,
        "extension": {"manager": {"supports_v4": True}},
        "node_replacements": True,
        "assets": False,
    }


def arguments(machine: Machine, host: str, port: int) -> list[str]:
    """The command line a real server of this kind would have been started with."""
    embedded = machine.embedded
    argv = ["main.py", "--listen", host, "--port", str(port)]
    argv += ["--cpu"] if embedded.gpu is None else []
    static = embedded.gpu is not None and embedded.version == "0.33.0" and not embedded.gpu.dynamic_vram
    argv += ["--disable-dynamic-vram"] if static else []
    argv += _CACHE_OPTIONS.get(embedded.cache, [])
    argv += [str(embedded.lru_size)] if embedded.cache == "lru" else []
    argv += ["--preview-method", embedded.previews] if embedded.previews != "none" else []
    return argv
