"""Which nodes of a workflow read the file of a model."""

from __future__ import annotations

from typing import Any

import pytest

from comfysoak_analysis.model_loads.loaders import Graph, is_loader_class, reads_kind
from tests.analysis.planted import graph


def made(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


RICH = {
    "unet": made("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
    "lora": made("LoraLoader", lora_name="detail.safetensors", model=["unet", 0], clip=["clip", 0]),
    "clip": made("DualCLIPLoader", clip_name1="clip_l.safetensors", clip_name2="t5xxl.safetensors", type="flux"),
    "vae": made("VAELoader", vae_name="ae.safetensors"),
    "cnet": made("ControlNetLoader", control_net_name="canny.safetensors"),
    "text": made("CLIPTextEncode", text="a ship", clip=["lora", 1]),
    "apply": made("ControlNetApplyAdvanced", positive=["text", 0], control_net=["cnet", 0], vae=["vae", 0]),
    "sampler": made("KSampler", model=["lora", 0], positive=["apply", 0], negative=["text", 0], seed=1),
    "decode": made("VAEDecode", samples=["sampler", 0], vae=["vae", 0]),
    "save": made("SaveImage", images=["decode", 0], filename_prefix="x"),
}


@pytest.mark.parametrize(
    ("node", "model", "loaders"),
    [
        ("sampler", "Flux", {"unet"}),
        ("sampler", "ControlNet", {"cnet"}),
        ("text", "FluxClipModel_", {"clip"}),
        ("decode", "AutoencodingEngine", {"vae"}),
        ("decode", None, {"vae"}),
        ("unet", "Flux", {"unet"}),
        ("save", "Flux", set()),
        ("nowhere", "Flux", set()),
    ],
)
def test_the_loader_of_a_model_is_found_above_the_node_that_uses_it(
    node: str, model: str | None, loaders: set[str]
) -> None:
    """Through adapters, and for a control net through the conditions it is hung on."""
    assert {one.node_id for one in Graph(RICH).loaders(node, model)} == loaders


def test_a_checkpoint_reads_all_its_models() -> None:
    """Model, text encoder and VAE come out of one file."""
    checkpoint = Graph(graph("portrait-sdxl"))
    for node, model in (("3", "SDXL"), ("6", "SDXLClipModel"), ("8", "AutoencoderKL")):
        assert [one.file for one in checkpoint.loaders(node, model)] == ["sdxl.safetensors"]


def test_a_varied_file_is_the_one_of_the_prompt() -> None:
    """What the prompt was sent with counts, not what stands in the workflow."""
    found = Graph(RICH).loaders("sampler", "Flux", '{"unet.unet_name": "other.safetensors"}')
    assert [one.file for one in found] == ["other.safetensors"]


@pytest.mark.parametrize("variation", ["", "[]", "{", "null", '{"unet.unet_name": null}'])
def test_a_variation_that_is_none_changes_nothing(variation: str) -> None:
    """Damaged text in a recording is no file name."""
    assert Graph(RICH).loaders("sampler", "Flux", variation)[0].file == "flux1-dev.safetensors"


@pytest.mark.parametrize(
    "odd",
    [{}, {"1": None}, {"1": {"inputs": []}}, {"1": {"inputs": {"model": ["1", 0]}}},
     {"1": {"inputs": {"model": ["2", 0]}}, "2": {"inputs": {"model": ["1", 0]}}},
     {"1": {"class_type": 5, "inputs": {"model": [None, {}], "vae": ["9", 0], "clip": "x"}}}],
)  # fmt: skip
def test_an_odd_graph_has_no_loaders_and_does_no_harm(odd: dict[str, Any]) -> None:
    """Cycles, holes and wrong types end the search."""
    assert Graph(odd).loaders("1", "SDXL") == ()
    assert list(Graph(odd).users()) in ([], ["1"], ["1", "2"])


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("CheckpointLoaderSimple", True), ("UNETLoader", True), ("UpscaleModelLoader", True), ("LoaderGGUF", True),
     ("DualCLIPLoader", True), ("LoadImage", False), ("LoraLoader", False), ("KSampler", False), (None, False)],
)  # fmt: skip
def test_a_class_is_known_as_a_loader_by_its_name(name: object, is_one: bool) -> None:
    """Where the workflow is not known its classes are: adapters and pictures are no models."""
    assert is_loader_class(name) is is_one


def test_kinds_of_models_are_read_by_inputs_of_their_kind() -> None:
    """A VAE is not read by a loader of text encoders; a checkpoint has all but control nets."""
    assert reads_kind("ckpt_name", "SDXLClipModel")
    assert reads_kind("unet_name", "SDXL")
    assert not reads_kind("unet_name", "AutoencoderKL")
    assert not reads_kind("vae_name", "SDXL")
    assert not reads_kind("ckpt_name", "ControlNet")
