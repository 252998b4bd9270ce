"""What nodes give: sizes, identities and files, by class where it matters and by type of output otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import blake2b
from random import Random
from typing import Any

from comfysoak_simulator import pictures
from comfysoak_simulator.cache import Result
from comfysoak_simulator.files import Files
from comfysoak_simulator.models import Model, ModelFiles, model_of
from comfysoak_simulator.saving import Saving
from comfysoak_simulator.tasks import Expansion, Gift, NodeRaisedError, Task, gives
from comfysoak_simulator.values import Audio, Images, Latent, Picture, Token, Value, Video

Json = Any
DEFAULT_SIDE = 512
_ADDRESSES_BYTES = 2**47  # what a process can address on x86-64: beyond, no allocation succeeds


class Behaviour:
    """Does what nodes do to the files and values of one server."""

    def __init__(self, files: Files, models: ModelFiles, random: Random, *, newer: bool) -> None:
        self._files = files
        self._saving = Saving(files, random, newer=newer)
        self._models = models
        self._random = random
        self._by_class: dict[str, Callable[[Task], Gift]] = {
            "EmptyImage": self._empty_image,
            "LoadImage": self._load_image,
            "ImageInvert": self._invert,
            "ImageAddNoise": self._add_noise,
            "ImageScale": self._scale,
            "ImageScaleBy": self._scale_by,
            "ImageUpscaleWithModel": self._upscale,
            "ImageCropV2": self._crop,
            "ImageBatch": self._join,
            "RepeatImageBatch": self._repeat,
            "GetImageSize": self._size,
            "EmptyAudio": _empty_audio,
            "CreateVideo": _create_video,
            "EmptyHunyuanLatentVideo": _empty_video,
            "RegexReplace": _replace_text,
            "SaveImageWebsocket": self._send_images,
            "PreviewAny": self._preview_any,
            "HarnessExpand": self._expand,
            **self._saving.by_class,
        }

    def changed(self, class_name: str, inputs: dict[str, Json]) -> bytes:
        """What a node depends on beyond its inputs: a file's bytes; for some, something new every time."""
        if class_name == "LoadImage":
            content = self._files.input_named(str(inputs.get("image")))
            return blake2b(content or b"", digest_size=16).digest()
        if class_name == "SaveImageWebsocket":
            return self._random.randbytes(16)
        return b""

    def do(self, task: Task) -> Gift:
        """The result of a node. Raises FileNotFoundError for a model or image file that is not there."""
        special = self._by_class.get(task.node.node_class.name)
        return special(task) if special is not None else self._by_types(task)

    def _empty_image(self, task: Task) -> Gift:
        colour = int(task.number("color")) & 0xFFFFFF
        picture = Picture("colour", colour.to_bytes(3, "big"))
        batch = max(int(task.number("batch_size", 1)), 1)
        return gives(Images(int(task.number("width")), int(task.number("height")), (picture,) * batch))

    def _load_image(self, task: Task) -> Gift:
        name = str(task.inputs.get("image"))
        content = self._files.input_named(name)
        if content is None:
            raise FileNotFoundError(f"[Errno 2] No such file or directory: '/comfyui/input/{name}'")
        width, height = pictures.size_of(content)
        images = Images(width, height, (Picture("file", content),))
        return gives(images, Token("MASK", task.digest))

    def _invert(self, task: Task) -> Gift:
        images = task.images()
        turned = tuple(Picture(item.kind, item.source, not item.inverted) for item in images.pictures)
        return gives(Images(images.width, images.height, turned))

    def _add_noise(self, task: Task) -> Gift:
        images = task.images()
        if not task.number("strength"):
            return gives(images)
        grains = (task.digest + index.to_bytes(4, "big") for index in range(len(images.pictures)))
        return gives(Images(images.width, images.height, tuple(Picture("noise", grain) for grain in grains)))

    def _scale(self, task: Task) -> Gift:
        images = task.images()
        width, height = int(task.number("width")), int(task.number("height"))
        if not width and not height:
            width, height = images.width, images.height
        width = width or max(round(images.width * height / images.height), 1)
        height = height or max(round(images.height * width / images.width), 1)
        return gives(Images(width, height, images.pictures))

    def _scale_by(self, task: Task) -> Gift:
        return gives(_enlarged(task.images(), task.number("scale_by", 1.0)))

    def _upscale(self, task: Task) -> Gift:
        model = task.inputs.get("upscale_model")
        factor = 2.0 if isinstance(model, Model) and "x2" in model.file else 4.0
        return gives(_enlarged(task.images(), factor))

    def _crop(self, task: Task) -> Gift:
        images = task.images()
        region = task.node.inputs.get("crop_region")
        region = region if isinstance(region, dict) else {}
        width = min(int(region.get("width", images.width)), images.width)
        height = min(int(region.get("height", images.height)), images.height)
        cropped = Images(max(width, 1), max(height, 1), images.pictures)
        ui = {**self._saving.saved(task, cropped, "temp", self._saving.temp_prefix()), "animated": [False]}
        return Gift(Result((cropped,), ui))

    def _join(self, task: Task) -> Gift:
        first, second = task.images("image1"), task.images("image2")
        return gives(Images(first.width, first.height, first.pictures + second.pictures))

    def _repeat(self, task: Task) -> Gift:
        images = task.images()
        return gives(Images(images.width, images.height, images.pictures * max(int(task.number("amount", 1)), 1)))

    def _size(self, task: Task) -> Gift:
        images = task.images()
        batch = len(images.pictures)
        text = f"width: {images.width}, height: {images.height}\n batch size: {batch}"
        return Gift(Result((images.width, images.height, batch), None), text=text)

    def _send_images(self, task: Task) -> Gift:
        return Gift(Result((), None), websocket_images=task.images("images"))

    def _preview_any(self, task: Task) -> Gift:
        value = task.inputs.get("source")
        text = value if isinstance(value, str) else as_text(value)
        return Gift(Result(task.passed_on(text), {"text": [text]}))

    def _expand(self, task: Task) -> Gift:
        count = max(int(task.number("count", 1)), 1)
        prefix = f"{task.node.id}.0.0."
        nodes: dict[str, tuple[str, dict[str, Json]]] = {}
        for index in range(count):
            inputs: dict[str, Json] = {"steps": 2, "seconds_per_step": 0.1, "tag": f"expanded-{index}"}
            if index:
                inputs["image"] = [f"{prefix}{index}", 0]
            nodes[f"{prefix}{index + 1}"] = ("HarnessSteps", inputs)
        return Gift(Result((), None), expansion=Expansion(nodes, ([f"{prefix}{count}", 0],)))

    def _by_types(self, task: Task) -> Gift:
        read: list[tuple[Model, str]] = []
        outputs = tuple(self._by_type(task, kind, slot, read) for slot, kind in enumerate(task.node.node_class.outputs))
        return Gift(Result(outputs, None), read_models=tuple(read))

    def _by_type(self, task: Task, kind: str, slot: int, read: list[tuple[Model, str]]) -> Value:
        match kind:
            case "IMAGE":
                return self._some_images(task)
            case "LATENT":
                return _some_latent(task)
            case "INT" | "FLOAT" | "STRING" | "BOOLEAN":
                return _some_scalar(task, kind)
            case _:
                return self._some_token(task, kind, slot, read)

    def _some_images(self, task: Task) -> Value:
        for value in task.inputs.values():
            if isinstance(value, Images):
                return value
            if isinstance(value, Latent):
                drawn = tuple(Picture("drawn", value.digest + bytes([index % 256])) for index in range(value.batch))
                return Images(value.width, value.height, drawn)
        side = 8 if task.node.node_class.name.startswith("Harness") else DEFAULT_SIDE
        black = Picture("colour", bytes(3))
        picture = black if side == 8 else Picture("drawn", task.digest)
        width, height = int(task.number("width", side)), int(task.number("height", side))
        return Images(max(width, 1), max(height, 1), (picture,))

    def _some_token(self, task: Task, kind: str, slot: int, read: list[tuple[Model, str]]) -> Value:
        passed = next((item for item in task.inputs.values() if _is_a(item, kind)), None)
        if passed is not None:
            return passed
        file = self._file_of(task)
        if file is not None:
            model = model_of(file, self._models.size_bytes(file), kind, task.node.node_class.name)
            read.append((model, kind))
            return model
        models = tuple(dict.fromkeys(found for item in task.inputs.values() for found in models_in(item)))
        steps = next((item.steps for item in task.inputs.values() if isinstance(item, Token) and item.steps), None)
        if "steps" in task.inputs:
            steps = int(task.number("steps"))
        return Token(kind, task.digest + bytes([slot]), models if kind == "GUIDER" else (), steps)

    def _file_of(self, task: Task) -> str | None:
        for name, value in task.inputs.items():
            if isinstance(value, str) and name.rstrip("0123456789").endswith(("_name", "_model")):
                choices = task.node.node_class.inputs[name].choices if name in task.node.node_class.inputs else None
                if choices is not None and value not in choices:
                    raise FileNotFoundError(f"Model in folder with filename '{value}' not found.")
                if "." in value:
                    return value
        return None


def models_in(value: Value) -> tuple[Model, ...]:
    """The models a value stands for or carries."""
    if isinstance(value, Model):
        return (value,)
    return value.models if isinstance(value, Token) else ()


def as_text(value: Value) -> str:
    """A value as error reports show it."""
    if isinstance(value, Images):
        return f"tensor of shape [{len(value.pictures)}, {value.height}, {value.width}, 3]"
    if isinstance(value, Latent):
        return f"{{'samples': tensor of shape [{value.batch}, 4, {value.height // 8}, {value.width // 8}]}}"
    return f"<{value.family} object>" if isinstance(value, Model) else str(value)


def _empty_audio(task: Task) -> Gift:
    return gives(
        Audio(task.number("duration", 60.0), int(task.number("sample_rate", 44_100)), int(task.number("channels", 2)))
    )


def _empty_video(task: Task) -> Gift:
    """Zeros of 16 channels, a frame in four, a pixel in 8 x 8, in one piece; RuntimeError as real ones raise it."""
    latent = _some_latent(task)
    frames = (int(task.number("length", 1)) - 1) // 4 + 1
    size_bytes = latent.batch * 16 * frames * (latent.height // 8) * (latent.width // 8) * 4
    if size_bytes > _ADDRESSES_BYTES:
        what = f"err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate {size_bytes} bytes."
        raise NodeRaisedError(
            f"[enforce fail at alloc_cpu.cpp:127] {what} Error code 12 (Cannot allocate memory)", "RuntimeError"
        )
    return gives(latent)


def _replace_text(task: Task) -> Gift:
    """Only whether the pattern is one is looked at: a hostile one could take for ever."""
    text = task.inputs.get("string")
    try:
        re.compile(str(task.inputs.get("regex_pattern", "")))
    except re.error as error:
        raise NodeRaisedError(str(error), "re.error") from error
    return gives(text if isinstance(text, str) else "")


def _create_video(task: Task) -> Gift:
    return gives(Video(task.images("images"), task.number("fps", 30.0)))


def _enlarged(images: Images, factor: float) -> Images:
    return Images(max(round(images.width * factor), 1), max(round(images.height * factor), 1), images.pictures)


def _is_a(value: Value, kind: str) -> bool:
    if isinstance(value, Token):
        return value.kind == kind
    if not isinstance(value, Model):
        return False
    text = "Clip" in value.family
    picture = value.family in ("TAESD", "AutoencoderKL")
    other = value.family in ("ControlNet", "ImageModelDescriptor")
    return {"CLIP": text, "VAE": picture, "MODEL": not (text or picture or other)}.get(kind, False)


def _some_latent(task: Task) -> Latent:
    for value in task.inputs.values():
        if isinstance(value, Latent):
            scale = task.number("scale_by", 1.0)
            width, height = (
                int(task.number("width", value.width * scale)),
                int(task.number("height", value.height * scale)),
            )
            return Latent(max(width, 8), max(height, 8), value.batch, task.digest, value.channels)
        if isinstance(value, Images):
            return Latent(value.width, value.height, len(value.pictures), task.digest)
    width, height = int(task.number("width", DEFAULT_SIDE)), int(task.number("height", DEFAULT_SIDE))
    channels = 16 if task.node.node_class.name == "EmptySD3LatentImage" else 4
    return Latent(width, height, max(int(task.number("batch_size", 1)), 1), b"", channels)


def _some_scalar(task: Task, kind: str) -> Value:
    value = task.inputs.get("value", next(iter(task.inputs.values()), None))
    if kind == "STRING":
        return value if isinstance(value, str) else as_text(value)
    if isinstance(value, int | float):
        return bool(value) if kind == "BOOLEAN" else int(value) if kind == "INT" else float(value)
    return 0
