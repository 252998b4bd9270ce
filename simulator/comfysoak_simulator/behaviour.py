"""What nodes give: sizes, identities and files, by class where it matters and by type of output otherwise."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any

from comfysoak_simulator import pictures
from comfysoak_simulator.cache import Result
from comfysoak_simulator.files import Files, Place, Recipe
from comfysoak_simulator.graph import Node
from comfysoak_simulator.models import Model, ModelFiles, model_of
from comfysoak_simulator.values import Images, Latent, Picture, Token, Value

Json = Any
DEFAULT_SIDE = 512


@dataclass(frozen=True, slots=True)
class Task:
    """One node about to give its result: `inputs` are resolved, `digest` is what it does."""

    node: Node
    inputs: Mapping[str, Value]
    digest: bytes
    prompt: dict[str, Json]
    extra_data: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Expansion:
    """Nodes a node becomes at run time: id -> (class, inputs), and the links that give its outputs."""

    nodes: dict[str, tuple[str, dict[str, Json]]]
    outputs: tuple[list[Json], ...]


@dataclass(frozen=True, slots=True)
class Gift:
    """What came of a task, with what is sent on the way."""

    result: Result
    expansion: Expansion | None = None
    text: str | None = None  # a progress text to all
    websocket_images: Images | None = None
    read_models: tuple[tuple[Model, str], ...] = field(default=())  # files a loader has read, and as what


class Behaviour:
    """Does what nodes do to the files and values of one server."""

    def __init__(self, files: Files, models: ModelFiles, random: Random) -> None:
        self._files = files
        self._models = models
        self._random = random
        self._by_class: dict[str, Callable[[Task], Gift]] = {
            "EmptyImage": self._empty_image,
            "LoadImage": self._load_image,
            "ImageInvert": self._invert,
            "ImageScale": self._scale,
            "ImageScaleBy": self._scale_by,
            "ImageUpscaleWithModel": self._upscale,
            "ImageCropV2": self._crop,
            "ImageBatch": self._join,
            "RepeatImageBatch": self._repeat,
            "GetImageSize": self._size,
            "SaveImage": self._save_images,
            "PreviewImage": self._preview_images,
            "SaveLatent": self._save_latent,
            "SaveImageWebsocket": self._send_images,
            "PreviewAny": self._preview_any,
            "HarnessExpand": self._expand,
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
        colour = int(_number(task, "color")) & 0xFFFFFF
        picture = Picture("colour", colour.to_bytes(3, "big"))
        batch = max(int(_number(task, "batch_size", 1)), 1)
        return _gives(Images(int(_number(task, "width")), int(_number(task, "height")), (picture,) * batch))

    def _load_image(self, task: Task) -> Gift:
        name = str(task.inputs.get("image"))
        content = self._files.input_named(name)
        if content is None:
            raise FileNotFoundError(f"[Errno 2] No such file or directory: '/comfyui/input/{name}'")
        width, height = pictures.size_of(content)
        images = Images(width, height, (Picture("file", content),))
        return _gives(images, Token("MASK", task.digest))

    def _invert(self, task: Task) -> Gift:
        images = _images(task)
        turned = tuple(Picture(item.kind, item.source, not item.inverted) for item in images.pictures)
        return _gives(Images(images.width, images.height, turned))

    def _scale(self, task: Task) -> Gift:
        images = _images(task)
        width, height = int(_number(task, "width")), int(_number(task, "height"))
        if not width and not height:
            width, height = images.width, images.height
        width = width or max(round(images.width * height / images.height), 1)
        height = height or max(round(images.height * width / images.width), 1)
        return _gives(Images(width, height, images.pictures))

    def _scale_by(self, task: Task) -> Gift:
        return _gives(_enlarged(_images(task), _number(task, "scale_by", 1.0)))

    def _upscale(self, task: Task) -> Gift:
        model = task.inputs.get("upscale_model")
        factor = 2.0 if isinstance(model, Model) and "x2" in model.file else 4.0
        return _gives(_enlarged(_images(task), factor))

    def _crop(self, task: Task) -> Gift:
        images = _images(task)
        region = task.node.inputs.get("crop_region")
        region = region if isinstance(region, dict) else {}
        width = min(int(region.get("width", images.width)), images.width)
        height = min(int(region.get("height", images.height)), images.height)
        cropped = Images(max(width, 1), max(height, 1), images.pictures)
        ui = {**self._saved(task, cropped, "temp", self._temp_prefix()), "animated": [False]}
        return Gift(Result((cropped,), ui))

    def _join(self, task: Task) -> Gift:
        first, second = _images(task, "image1"), _images(task, "image2")
        return _gives(Images(first.width, first.height, first.pictures + second.pictures))

    def _repeat(self, task: Task) -> Gift:
        images = _images(task)
        return _gives(Images(images.width, images.height, images.pictures * max(int(_number(task, "amount", 1)), 1)))

    def _size(self, task: Task) -> Gift:
        images = _images(task)
        batch = len(images.pictures)
        text = f"width: {images.width}, height: {images.height}\n batch size: {batch}"
        return Gift(Result((images.width, images.height, batch), None), text=text)

    def _save_images(self, task: Task) -> Gift:
        images = _images(task, "images")
        prefix = str(task.inputs.get("filename_prefix", "ComfyUI"))
        prefix = prefix.replace("%width%", str(images.width)).replace("%height%", str(images.height))
        return Gift(Result(_passed_on(task, images), self._saved(task, images, "output", prefix)))

    def _preview_images(self, task: Task) -> Gift:
        images = _images(task, "images")
        return Gift(Result(_passed_on(task, images), self._saved(task, images, "temp", self._temp_prefix())))

    def _save_latent(self, task: Task) -> Gift:
        prefix = str(task.inputs.get("filename_prefix", "latents/ComfyUI"))
        place = self._files.next_place("output", prefix, "latent")
        self._files.put(place, b"latent " + task.digest)
        return Gift(Result(_passed_on(task, task.inputs.get("samples")), {"latents": [place.as_json()]}))

    def _send_images(self, task: Task) -> Gift:
        return Gift(Result((), None), websocket_images=_images(task, "images"))

    def _preview_any(self, task: Task) -> Gift:
        value = task.inputs.get("source")
        text = value if isinstance(value, str) else as_text(value)
        return Gift(Result(_passed_on(task, text), {"text": [text]}))

    def _expand(self, task: Task) -> Gift:
        count = max(int(_number(task, "count", 1)), 1)
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
        width, height = int(_number(task, "width", side)), int(_number(task, "height", side))
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
            steps = int(_number(task, "steps"))
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

    def _saved(self, task: Task, images: Images, folder: str, prefix: str) -> dict[str, Json]:
        places: list[Place] = []
        extra = task.extra_data.get("extra_pnginfo")
        about = (task.prompt, extra if isinstance(extra, dict) else None)
        for picture in images.pictures:
            place = self._files.next_place("temp" if folder == "temp" else "output", prefix, "png")
            self._files.put(place, Recipe(picture, images.width, images.height, *about))
            places.append(place)
        return {"images": [place.as_json() for place in places]}

    def _temp_prefix(self) -> str:
        return "ComfyUI_temp_" + "".join(self._random.choices(string.ascii_lowercase, k=5))


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


def _gives(*outputs: Value) -> Gift:
    return Gift(Result(outputs, None))


def _passed_on(task: Task, value: Value) -> tuple[Value, ...]:
    return (value,) if task.node.node_class.outputs else ()


def _number(task: Task, name: str, default: float = 0) -> float:
    value = task.inputs.get(name)
    return value if isinstance(value, int | float) else default


def _images(task: Task, name: str = "image") -> Images:
    value = task.inputs.get(name)
    if isinstance(value, Images):
        return value
    raise TypeError(f"expected images at {name}, got {type(value).__name__}")


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
            scale = _number(task, "scale_by", 1.0)
            width, height = (
                int(_number(task, "width", value.width * scale)),
                int(_number(task, "height", value.height * scale)),
            )
            return Latent(max(width, 8), max(height, 8), value.batch, task.digest)
        if isinstance(value, Images):
            return Latent(value.width, value.height, len(value.pictures), task.digest)
    width, height = int(_number(task, "width", DEFAULT_SIDE)), int(_number(task, "height", DEFAULT_SIDE))
    return Latent(width, height, max(int(_number(task, "batch_size", 1)), 1), task.digest)


def _some_scalar(task: Task, kind: str) -> Value:
    value = task.inputs.get("value", next(iter(task.inputs.values()), None))
    if kind == "STRING":
        return value if isinstance(value, str) else as_text(value)
    if isinstance(value, int | float):
        return bool(value) if kind == "BOOLEAN" else int(value) if kind == "INT" else float(value)
    return 0
