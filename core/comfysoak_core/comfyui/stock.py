"""What some stock nodes take, as far as it is the same in ComfyUI 0.3.64 and 0.33.0: enough to get it wrong on purpose.

Only inputs that are required, and only what both versions check: lists of choices in the older style, numbers with
their bounds. `tests/core/comfyui/test_mistakes.py` holds it against the validation of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds, both included."""

    least: float
    most: float


class Kind(Enum):
    """What else an input may take."""

    LINK = "link"
    CHOICE = "choice"
    FILE = "file"  # an uploaded picture


_LINK, _CHOICE = Kind.LINK, Kind.CHOICE
_SEED, _STEPS, _CFG, _UNIT = Number(0, 2**64 - 1), Number(1, 10_000), Number(0, 100), Number(0, 1)
_BATCH, _PIXELS, _LATENT_PIXELS = Number(1, 4096), Number(1, 16384), Number(16, 16384)
_SCALED_PIXELS = Number(0, 16384)
_LATENT: dict[str, Number | Kind] = {"width": _LATENT_PIXELS, "height": _LATENT_PIXELS, "batch_size": _BATCH}
_SAMPLER: dict[str, Number | Kind] = {
    "steps": _STEPS, "cfg": _CFG, "sampler_name": _CHOICE, "scheduler": _CHOICE,
    "model": _LINK, "positive": _LINK, "negative": _LINK, "latent_image": _LINK,
}  # fmt: skip

INPUTS: Final[Mapping[str, Mapping[str, Number | Kind]]] = {
    "KSampler": {**_SAMPLER, "seed": _SEED, "denoise": _UNIT},
    "KSamplerAdvanced": {**_SAMPLER, "noise_seed": _SEED, "start_at_step": Number(0, 10_000)},
    "SamplerCustomAdvanced": dict.fromkeys(("noise", "guider", "sampler", "sigmas", "latent_image"), _LINK),
    "RandomNoise": {"noise_seed": _SEED},
    "EmptyLatentImage": _LATENT,
    "EmptySD3LatentImage": _LATENT,
    "EmptyImage": {"width": _PIXELS, "height": _PIXELS, "batch_size": _BATCH},
    "LatentUpscale": {"samples": _LINK, "upscale_method": _CHOICE, "width": _SCALED_PIXELS, "height": _SCALED_PIXELS},
    "ImageScale": {"image": _LINK, "upscale_method": _CHOICE, "crop": _CHOICE,
                   "width": _SCALED_PIXELS, "height": _SCALED_PIXELS},
    "ImageScaleBy": {"image": _LINK, "upscale_method": _CHOICE, "scale_by": Number(0.01, 8)},
    "ImageInvert": {"image": _LINK},
    "RepeatImageBatch": {"image": _LINK, "amount": _BATCH},
    "RepeatLatentBatch": {"samples": _LINK, "amount": Number(1, 64)},
    "VAEDecode": {"samples": _LINK, "vae": _LINK},
    "VAEEncode": {"pixels": _LINK, "vae": _LINK},
    "CLIPTextEncode": {"clip": _LINK},
    "FluxGuidance": {"conditioning": _LINK},
    "LoraLoader": {"model": _LINK, "clip": _LINK, "lora_name": _CHOICE,
                   "strength_model": Number(-100, 100), "strength_clip": Number(-100, 100)},
    "CheckpointLoaderSimple": {"ckpt_name": _CHOICE},
    "UNETLoader": {"unet_name": _CHOICE, "weight_dtype": _CHOICE},
    "CLIPLoader": {"clip_name": _CHOICE, "type": _CHOICE},
    "DualCLIPLoader": {"clip_name1": _CHOICE, "clip_name2": _CHOICE, "type": _CHOICE},
    "VAELoader": {"vae_name": _CHOICE},
    "LoadImage": {"image": Kind.FILE},
    "SaveImage": {"images": _LINK},
    "PreviewImage": {"images": _LINK},
    "SaveImageWebsocket": {"images": _LINK},
    "SaveLatent": {"samples": _LINK},
}  # fmt: skip

GIVES: Final[Mapping[str, str]] = {
    "KSampler": "LATENT", "KSamplerAdvanced": "LATENT", "SamplerCustomAdvanced": "LATENT", "EmptyLatentImage": "LATENT",
    "EmptySD3LatentImage": "LATENT", "LatentUpscale": "LATENT", "RepeatLatentBatch": "LATENT", "VAEEncode": "LATENT",
    "EmptyImage": "IMAGE", "ImageScale": "IMAGE", "ImageScaleBy": "IMAGE", "ImageInvert": "IMAGE",
    "RepeatImageBatch": "IMAGE", "VAEDecode": "IMAGE", "LoadImage": "IMAGE", "RandomNoise": "NOISE",
    "CLIPTextEncode": "CONDITIONING", "FluxGuidance": "CONDITIONING", "CLIPLoader": "CLIP", "DualCLIPLoader": "CLIP",
    "CheckpointLoaderSimple": "MODEL", "UNETLoader": "MODEL", "LoraLoader": "MODEL", "VAELoader": "VAE",
}  # fmt: skip
"""The type of a class's first output."""

TAKES: Final[Mapping[str, str]] = {
    "model": "MODEL", "clip": "CLIP", "vae": "VAE", "samples": "LATENT", "latent_image": "LATENT", "images": "IMAGE",
    "image": "IMAGE", "pixels": "IMAGE", "positive": "CONDITIONING", "negative": "CONDITIONING",
    "conditioning": "CONDITIONING", "noise": "NOISE",
}  # fmt: skip
"""The type of a link into an input of this name, in the classes above."""
