"""The recorded cases: what a real ComfyUI was asked, and what it answered and sent."""

from __future__ import annotations

import io
import json
import random
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from comfysoak_core.scenario.embedded import Embedded

FOLDER = Path(__file__).parent.parent / "data" / "recordings"
Step = dict[str, Any]
MODELS = {  # of the recorded servers
    "diffusion_models/tiny_sd3_random.safetensors": 7_500_961,
    "vae/tiny_taesd_random.safetensors": 9_780_252,
    "upscale_models/tiny_esrgan_x2_random.safetensors": 70_000,
}


# Not recorded again although 0.33 words them in another way: values are quoted by repr, and lists have grown.
WORDED_ANEW = {"03d_validation_wrong_type", "03h_validation_value_not_in_list"}


@dataclass(frozen=True)
class Case:
    """One recorded case."""

    name: str
    version: str
    options: tuple[str, ...]
    steps: tuple[Step, ...]
    inherited: bool = False  # recorded from the version before, which did the same

    @property
    def id(self) -> str:
        return f"{self.version}/{self.name}"

    @property
    def newer(self) -> bool:
        return self.version == "0.33.0"

    @property
    def prompts(self) -> list[Step]:
        """The requests that submit a prompt, with a JSON object as their body."""
        return [
            step
            for step in self.steps
            if step["dir"] == "request" and step["path"] == "/prompt" and isinstance(step.get("json"), dict)
        ]

    @property
    def prompts_before_first(self) -> int:
        """How long the queue was when the worker took the first prompt; 0 when none was seen."""
        longest = 0
        for step in self.steps:
            message = step.get("json") if step["dir"] == "ws_recv" else None
            if isinstance(message, dict) and message["type"] == "status":
                longest = max(longest, message["data"]["status"]["exec_info"]["queue_remaining"])
            elif isinstance(message, dict) and message["type"] == "execution_start":
                return longest
        return 0

    def embedded(self, costs: dict[str, Any]) -> Embedded:
        """A target like the server this was recorded from: on its CPU, with its models and options."""
        settings: dict[str, Any] = {
            "version": self.version,
            "gpu": None,
            "costs": costs,
            "stock_models": False,
            "models": MODELS,
        }
        options = list(self.options)
        if "--preview-method" in options:
            settings["previews"] = options[options.index("--preview-method") + 1]
        if "--max-upload-size" in options:
            settings["max_upload"] = int(options[options.index("--max-upload-size") + 1]) * 1024**2
        if "--cache-none" in options:
            settings["cache"] = "none"
        if "--cache-classic" in options:
            settings["cache"] = "classic"
        if "--cache-lru" in options or "--cache-ram" in options:
            settings["cache"] = "lru"
        return Embedded.model_validate(settings)


def load(path: Path) -> Case:
    content = json.loads(path.read_text(encoding="utf-8"))
    return Case(content["case"], content["comfyui_version"], tuple(content["server_args"]), tuple(content["steps"]))


def all_cases() -> list[Case]:
    """Every case of both versions; the newer one did again, in the same way, those that it has no recording of."""
    older = [load(path) for path in sorted(FOLDER.glob("*.json"))]
    newer = [load(path) for path in sorted((FOLDER / "v0.33").glob("*.json"))]
    recorded = {case.name for case in newer}
    gone = recorded | WORDED_ANEW
    same = [replace(case, version="0.33.0", inherited=True) for case in older if case.name not in gone]
    return older + newer + same


@lru_cache
def picture(size_bytes: int) -> bytes:
    """A PNG to upload in place of the one recorded, which had `size_bytes`: noise where it was large."""
    if size_bytes > 1_000_000:
        noise = random.Random(size_bytes).randbytes(1024 * 1024 * 3)
        image = Image.frombytes("RGB", (1024, 1024), noise)
    else:
        image = Image.new("RGB", (40, 30), (size_bytes % 256, 120, 200))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
