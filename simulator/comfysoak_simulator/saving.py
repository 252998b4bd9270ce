"""What the nodes do that save or preview: files of every kind, named as ComfyUI names them."""

from __future__ import annotations

import string
from collections.abc import Callable
from random import Random
from typing import Any

from comfysoak_simulator.cache import Result
from comfysoak_simulator.files import Files, Folder, Place
from comfysoak_simulator.films import Form
from comfysoak_simulator.recipes import Film, Recipe, Sound, Still, Tensor
from comfysoak_simulator.sounds import Codec
from comfysoak_simulator.tasks import Gift, Task
from comfysoak_simulator.values import Audio, Images, Latent, Video

Json = Any
_UNKNOWN_SOUND = Audio(1.0, 44_100, 2)  # what a node makes that nothing is known of
_CELL = 8


class Saving:
    """Saves into the files of one server, by class; `newer`: as 0.33 does."""

    def __init__(self, files: Files, random: Random, *, newer: bool) -> None:
        self._files = files
        self._random = random
        self._newer = newer
        self.by_class: dict[str, Callable[[Task], Gift]] = {
            "SaveImage": self._save_images,
            "PreviewImage": self._preview_images,
            "SaveAnimatedWEBP": lambda task: self._save_film(task, task.images("images"), "webp", "ComfyUI"),
            "SaveAnimatedPNG": lambda task: self._save_film(task, task.images("images"), "png", "ComfyUI"),
            "SaveWEBM": lambda task: self._save_film(task, task.images("images"), "webm", "ComfyUI"),
            "SaveVideo": self._save_video,
            "SaveAudio": lambda task: self._save_sound(task, "flac"),
            "SaveAudioMP3": lambda task: self._save_sound(task, "mp3"),
            "SaveAudioOpus": lambda task: self._save_sound(task, "opus"),
            "PreviewAudio": lambda task: self._save_sound(task, "flac", folder="temp"),
            "SaveLatent": self._save_latent,
        }

    def saved(self, task: Task, images: Images, folder: Folder, prefix: str) -> dict[str, Json]:
        """Each image as a file of its own; what the node shows."""
        extra = task.extra_data.get("extra_pnginfo")
        places = []
        for picture in images.pictures:
            place = self._files.next_place(folder, prefix, "png")
            still = Still(
                picture=picture, width=images.width, height=images.height,
                prompt=task.prompt, extra_pnginfo=extra if isinstance(extra, dict) else None,
            )  # fmt: skip
            self._files.put(place, still)
            places.append(place)
        return {"images": [place.as_json() for place in places]}

    def temp_prefix(self) -> str:
        """A name for a preview."""
        return "ComfyUI_temp_" + "".join(self._random.choices(string.ascii_lowercase, k=5))

    def _save_images(self, task: Task) -> Gift:
        images = task.images("images")
        prefix = _prefix(task, "ComfyUI").replace("%width%", str(images.width)).replace("%height%", str(images.height))
        return Gift(Result(task.passed_on(images), self.saved(task, images, "output", prefix)))

    def _preview_images(self, task: Task) -> Gift:
        images = task.images("images")
        return Gift(Result(task.passed_on(images), self.saved(task, images, "temp", self.temp_prefix())))

    def _save_video(self, task: Task) -> Gift:
        video = task.inputs.get("video")
        if not isinstance(video, Video):
            raise TypeError(f"expected a video, got {type(video).__name__}")
        gift = self._save_film(task, video.images, "mp4", "video/ComfyUI", video.fps)
        return Gift(Result(task.passed_on(video), gift.result.ui))

    def _save_film(self, task: Task, images: Images, form: Form, prefix: str, fps: float | None = None) -> Gift:
        recipe = Film(
            form=form, pictures=images.pictures, width=images.width, height=images.height,
            fps=task.number("fps", 6.0) if fps is None else fps,
        )  # fmt: skip
        place = self._put("output", _prefix(task, prefix), form, recipe)
        moves = form in ("webm", "mp4") or not self._newer or len(images.pictures) > 1
        ui: dict[str, Json] = {"images": [place.as_json()]}
        if moves:
            ui["animated"] = [True]
        return Gift(Result(task.passed_on(images), ui))

    def _save_sound(self, task: Task, codec: Codec, folder: Folder = "output") -> Gift:
        given = task.inputs.get("audio")
        audio = given if isinstance(given, Audio) else _UNKNOWN_SOUND
        recipe = Sound(codec=codec, seconds=audio.seconds, rate=audio.rate, channels=audio.channels)
        prefix = _prefix(task, "audio/ComfyUI") if folder == "output" else self.temp_prefix()
        place = self._put(folder, prefix, codec, recipe, after="" if self._newer else "_")
        return Gift(Result(task.passed_on(audio), {"audio": [place.as_json()]}))

    def _save_latent(self, task: Task) -> Gift:
        latent = task.inputs.get("samples")
        shape: tuple[int, ...] = (1, 4, 64, 64)
        if isinstance(latent, Latent):
            shape = (latent.batch, latent.channels, max(latent.height // _CELL, 1), max(latent.width // _CELL, 1))
        digest = latent.digest if isinstance(latent, Latent) else task.digest
        place = self._put("output", _prefix(task, "latents/ComfyUI"), "latent", Tensor(digest=digest, shape=shape))
        return Gift(Result(task.passed_on(latent), {"latents": [place.as_json()]}))

    def _put(self, folder: Folder, prefix: str, extension: str, recipe: Recipe, *, after: str = "_") -> Place:
        place = self._files.next_place(folder, prefix, extension, after=after)
        self._files.put(place, recipe)
        return place


def _prefix(task: Task, default: str) -> str:
    return str(task.inputs.get("filename_prefix", default))
