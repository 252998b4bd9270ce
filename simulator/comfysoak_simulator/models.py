"""The model files a virtual server has, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024**2
GIB = 1024**3

FOLDERS = (
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "latent_upscale_models",
    "custom_nodes",
    "datasets",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
    "audio_encoders",
    "background_removal",
    "frame_interpolation",
    "geometry_estimation",
    "optical_flow",
    "detection",
)
# What 0.3.64 does not have yet.
NEWER_FOLDERS = frozenset(
    {
        "latent_upscale_models",
        "datasets",
        "background_removal",
        "frame_interpolation",
        "geometry_estimation",
        "optical_flow",
        "detection",
    }
)

# Names people have in their workflows, with the sizes these files have; the tiny ones are those of the recordings.
_BUILT_IN: dict[str, int] = {
    "checkpoints/v1-5-pruned-emaonly.safetensors": 4067 * MIB,
    "checkpoints/v1-5-pruned-emaonly-fp16.safetensors": 2034 * MIB,
    "checkpoints/sd15.safetensors": 2034 * MIB,
    "checkpoints/sd_xl_base_1.0.safetensors": 6617 * MIB,
    "checkpoints/sdxl.safetensors": 6617 * MIB,
    "checkpoints/sd_xl_refiner_1.0.safetensors": 5795 * MIB,
    "checkpoints/sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors": 11_100 * MIB,
    "checkpoints/flux1-dev-fp8.safetensors": 16_447 * MIB,
    "checkpoints/flux1-schnell-fp8.safetensors": 16_448 * MIB,
    "diffusion_models/flux1-dev.safetensors": 22_700 * MIB,
    "diffusion_models/flux1-schnell.safetensors": 22_680 * MIB,
    "diffusion_models/sd3.5_medium.safetensors": 4870 * MIB,
    "diffusion_models/tiny_sd3_random.safetensors": 7_500_961,
    "text_encoders/clip_l.safetensors": 235 * MIB,
    "text_encoders/clip_g.safetensors": 1325 * MIB,
    "text_encoders/t5xxl_fp16.safetensors": 9334 * MIB,
    "text_encoders/t5xxl_fp8_e4m3fn.safetensors": 4667 * MIB,
    "vae/ae.safetensors": 320 * MIB,
    "vae/vae-ft-mse-840000-ema-pruned.safetensors": 319 * MIB,
    "vae/tiny_taesd_random.safetensors": 9_780_252,
    "loras/detail.safetensors": 144 * MIB,
    "controlnet/control_v11p_sd15_canny.pth": 1378 * MIB,
    "upscale_models/4x-UltraSharp.pth": 64 * MIB,
    "upscale_models/RealESRGAN_x4plus.pth": 64 * MIB,
    "upscale_models/tiny_esrgan_x2_random.safetensors": 70_000,
}


# Choices of VAELoader that are no files.
_NO_FILES = {"vae": ("taesd", "pixel_space")}


@dataclass(frozen=True, slots=True)
class Model:
    """What a loader gives: one model out of a file, by the name the server's log calls it by."""

    file: str
    family: str
    size_bytes: int


class ModelFiles:
    """The model files by folder; `extra` is `folder/name` or a bare name (then in every folder) to bytes.

    Without `stock` there are no others.
    """

    def __init__(self, extra: dict[str, int], *, stock: bool = True) -> None:
        self._sizes: dict[str, dict[str, int]] = {folder: {} for folder in FOLDERS}
        for path, size in {**(_BUILT_IN if stock else {}), **extra}.items():
            folder, _, name = path.partition("/")
            if name and folder in self._sizes:
                self._sizes[folder][name] = size
            else:
                for sizes in self._sizes.values():
                    sizes[path] = size

    def names(self, folder: str) -> list[str]:
        """The files of a folder, sorted; raises KeyError for a folder there is not."""
        return sorted(self._sizes[folder])

    def choices(self, folder: str) -> list[str]:
        """What a loader of this folder offers."""
        return [*self.names(folder), *_NO_FILES.get(folder, ())]

    def size_bytes(self, name: str) -> int:
        """The size of a file of this name in any folder; 2 GiB for one that is not listed."""
        for sizes in self._sizes.values():
            if name in sizes:
                return sizes[name]
        return 2 * GIB


_PARTS = {"CheckpointLoaderSimple": {"MODEL": 0.78, "CLIP": 0.18, "VAE": 0.04}}


def model_of(file: str, size_bytes: int, kind: str, node_class: str) -> Model:
    """The model of type `kind` (MODEL, CLIP, VAE, ...) a loader of `node_class` takes out of `file`."""
    share = _PARTS.get(node_class, {}).get(kind, 1.0)
    return Model(file, _family(file.lower(), kind), round(size_bytes * share))


def _family(file: str, kind: str) -> str:
    line = next((name for mark, name in _LINES if mark in file), "")
    if kind == "VAE":
        return "TAESD" if "taesd" in file else "AutoencoderKL"
    if kind == "CLIP":
        return {"SDXL": "SDXLClipModel", "SD3": "SD3ClipModel", "Flux": "FluxClipModel_"}.get(line, "SD1ClipModel")
    if kind == "MODEL":
        return line or "BaseModel"
    return {"CONTROL_NET": "ControlNet", "UPSCALE_MODEL": "ImageModelDescriptor"}.get(kind, kind.title())


_LINES = (("xl", "SDXL"), ("sd3", "SD3"), ("flux", "Flux"), ("t5xxl", "Flux"))
