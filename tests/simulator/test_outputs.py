from __future__ import annotations

from typing import Any

import pytest

from comfysoak_core.comfyui.expected import expected_outputs, files_expected
from comfysoak_core.comfyui.history import files_of_outputs
from comfysoak_core.outputs.check import problem_of
from comfysoak_core.outputs.kinds import kind_of
from comfysoak_simulator.files import Place
from tests.simulator.driving import Driven

Json = Any
IMAGES = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 48, "height": 32, "batch_size": 2, "color": 0xFF0000}},
    "2": {"class_type": "EmptyImage", "inputs": {"width": 48, "height": 32, "batch_size": 3, "color": 0x00FF00}},
    "3": {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["2", 0]}},
    "4": {"class_type": "CreateVideo", "inputs": {"images": ["3", 0], "fps": 8.0}},
}
SOUND = {"1": {"class_type": "EmptyAudio", "inputs": {"duration": 1.5, "sample_rate": 44100, "channels": 2}}}
LATENT = {"1": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 32, "batch_size": 2}}}
FILM = {"images": ["3", 0], "filename_prefix": "clips/a", "fps": 8.0}
SAVERS: dict[str, tuple[dict[str, Json], str, dict[str, Json]]] = {
    "animated webp": (IMAGES, "SaveAnimatedWEBP", {**FILM, "lossless": True, "quality": 80, "method": "default"}),
    "animated png": (IMAGES, "SaveAnimatedPNG", {**FILM, "compress_level": 4}),
    "webm": (IMAGES, "SaveWEBM", {**FILM, "codec": "vp9", "crf": 32.0}),
    "mp4": (IMAGES, "SaveVideo", {"video": ["4", 0], "filename_prefix": "clips/a", "format": "auto", "codec": "auto"}),
    "flac": (SOUND, "SaveAudio", {"audio": ["1", 0], "filename_prefix": "a"}),
    "mp3": (SOUND, "SaveAudioMP3", {"audio": ["1", 0], "filename_prefix": "a", "quality": "V0"}),
    "opus": (SOUND, "SaveAudioOpus", {"audio": ["1", 0], "filename_prefix": "a", "quality": "64k"}),
    "preview": (SOUND, "PreviewAudio", {"audio": ["1", 0]}),
    "latent": (LATENT, "SaveLatent", {"samples": ["1", 0], "filename_prefix": "latents/a"}),
}
NAMES_0364 = {
    "animated webp": ("images", "a_00001_.webp", "clips", True),
    "animated png": ("images", "a_00001_.png", "clips", True),
    "webm": ("images", "a_00001_.webm", "clips", True),
    "mp4": ("images", "a_00001_.mp4", "clips", True),
    "flac": ("audio", "a_00001_.flac", "", False),
    "mp3": ("audio", "a_00001_.mp3", "", False),
    "opus": ("audio", "a_00001_.opus", "", False),
    "latent": ("latents", "a_00001_.latent", "latents", False),
}
KINDS = {"animated": "animations", "webm": "video", "mp4": "video", "latent": "latents"}


def graph(name: str) -> dict[str, Json]:
    nodes, node_class, inputs = SAVERS[name]
    return {**nodes, "9": {"class_type": node_class, "inputs": inputs}}


@pytest.mark.parametrize("version", ["0.3.64", "0.33.0"])
@pytest.mark.parametrize("name", SAVERS)
def test_savers_of_every_kind_give_what_the_graph_says(name: str, version: str) -> None:
    """Each stock saver gives a whole file of its kind, as long, large and many as the graph says."""
    driven, prompt = Driven(version=version), graph(name)
    files = files_of_outputs(driven.ran(prompt)["outputs"])
    expected = expected_outputs(prompt)["9"]
    assert len(files) == files_expected({"9": expected}) == 1
    data = driven.machine.files.read(Place(files[0].filename, files[0].subfolder, files[0].type))  # type: ignore[arg-type]  # the engine's own word
    assert data is not None
    assert problem_of(files[0].filename, data, expected.each) is None
    assert kind_of(files[0].filename, files[0].kind, animated=files[0].animated) == KINDS.get(
        name.split(maxsplit=1)[0], "audio"
    )


@pytest.mark.parametrize("name", NAMES_0364)
def test_files_are_named_and_listed_as_real_servers_do_it(name: str) -> None:
    """The key, the name, the folder and `animated` are those of real servers; 0.33 names sounds differently."""
    for version in ("0.3.64", "0.33.0"):
        (file,) = files_of_outputs(Driven(version=version).ran(graph(name))["outputs"])
        kind, filename, subfolder, animated = NAMES_0364[name]
        if kind == "audio" and version == "0.33.0":
            filename = filename.replace("_.", ".")
        assert (file.kind, file.filename, file.subfolder, file.animated) == (kind, filename, subfolder, animated)


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize("how", ["size", "truncated", "empty", "text"])
def test_a_wrong_output_of_any_kind_is_seen(name: str, how: str) -> None:
    """The fault spoils files of every kind, and every check sees it."""
    driven, prompt = Driven(faults=[{"kind": "wrong-output", "how": how, "probability": 1}]), graph(name)
    (file,) = files_of_outputs(driven.ran(prompt)["outputs"])
    data = driven.machine.files.read(Place(file.filename, file.subfolder, file.type))  # type: ignore[arg-type]  # the engine's own word
    assert data is not None
    assert problem_of(file.filename, data, expected_outputs(prompt)["9"].each) is not None
    assert driven.noted == ["OUTPUT_WRONG"]


def test_a_black_latent_is_none() -> None:
    """What is black for a picture is NaN for a latent."""
    driven = Driven(faults=[{"kind": "wrong-output", "how": "black", "probability": 1}])
    (file,) = files_of_outputs(driven.ran(graph("latent"))["outputs"])
    data = driven.machine.files.read(Place(file.filename, file.subfolder, "output"))
    assert data is not None
    assert problem_of(file.filename, data) == "tensor 'latent_tensor' holds NaN or infinite numbers"


def test_an_input_nobody_declared_defeats_the_cache_and_changes_nothing() -> None:
    """As on real servers, it is part of what a node is known by, and no part of what it does."""
    driven = Driven()
    prompt: dict[str, Json] = {
        "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "2": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
        "3": {"class_type": "VAEDecode", "inputs": {"samples": ["1", 0], "vae": ["2", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "a"}},
    }
    seen = []
    for mark in ("one", "two", None, None):
        if mark is None:
            prompt["3"]["inputs"].pop("mark", None)
        else:
            prompt["3"]["inputs"]["mark"] = mark
        entry = driven.ran(prompt)
        cached = dict(entry["status"]["messages"])["execution_cached"]["nodes"]
        (file,) = files_of_outputs(entry["outputs"])
        data = driven.machine.files.read(Place(file.filename, "", "output"))
        assert data is not None
        seen.append((sorted(cached), data[data.index(b"IDAT") :]))
    assert [cached for cached, _ in seen] == [[], ["1", "2"], ["1", "2"], ["1", "2", "3", "4"]]
    assert len({pixels for _, pixels in seen}) == 1
