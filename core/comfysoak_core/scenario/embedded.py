"""What a scenario says about the embedded ComfyUI: `target: {embedded: {...}}`.

    target:
      embedded:
        servers: 2
        gpu: {name: NVIDIA L4, memory: 24 GiB, load_bandwidth: 2 GiB}
        models: {checkpoints/sd15.safetensors: 2 GiB}
        costs: {KSampler: {seconds_per_step: "0.08 * {megapixels}", vram: 2 GiB}}
        faults:
          - {kind: oom, node: KSampler, at: 30s}
          - {kind: drop-sockets, at: 40s, share: 50%}

Nothing here runs; the package `comfysoak_simulator` does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from comfysoak_core.errors import Problem, ScenarioError
from comfysoak_core.gateway.api import ApiName
from comfysoak_core.scenario.faults import Fault
from comfysoak_core.scenario.formula import parse_formula
from comfysoak_core.scenario.quantities import Bytes, Seconds, parse_duration, parse_size
from comfysoak_core.scenario.yaml_text import load_yaml

Version = Literal["0.3.64", "0.33.0"]
CacheKind = Literal["default", "classic", "none", "lru"]
PreviewMethod = Literal["none", "latent2rgb", "taesd", "auto"]


def _or_formula(parse: Callable[[Any], float]) -> BeforeValidator:
    """A quantity, or arithmetic on inputs of a node by name; one error for what is neither."""

    def validate(value: Any) -> float | str:
        if isinstance(value, str) and "{" in value:
            parse_formula(value)
            return value
        return parse(value)

    return BeforeValidator(validate)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f'expected a whole number or a formula such as "{{steps}}", got {value!r}')
    return value


SecondsOrFormula = Annotated[float | str, _or_formula(parse_duration)]
BytesOrFormula = Annotated[int | str, _or_formula(parse_size)]
CountOrFormula = Annotated[int | str, _or_formula(_whole)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cost(_Model):
    """How long nodes of one class take and what they hold in VRAM.

    Each value is a quantity or a formula in which inputs of the node appear by name. Besides these there
    is `{megapixels}`: width x height x batch of the largest image or latent that goes in. `seconds` is the time
    before the first, `seconds_per_step` the time of each of `steps` progress updates; `vram` is held while the node
    runs, in addition to the models it uses. `model` is a file the node itself puts on the GPU, as in
    `{model_name}`; what the stock loaders load needs no mention.
    """

    seconds: SecondsOrFormula = 0.0
    steps: CountOrFormula = 0
    seconds_per_step: SecondsOrFormula = 0.0
    vram: BytesOrFormula = 0
    model: str | None = Field(default=None, max_length=200)


class VirtualGpu(_Model):
    """The GPU of each embedded server; bandwidth in bytes a second, from file to GPU."""

    name: str = Field(default="Virtual GPU", max_length=100)
    memory: Bytes = Field(default=24 * 1024**3, gt=0)
    load_bandwidth: Bytes = Field(default=2 * 1024**3, gt=0)
    reserved: Bytes = Field(default=512 * 1024**2, ge=0, description="VRAM the driver and the context always hold")
    watts: float = Field(default=300.0, gt=0, le=5000, description="power at full load")
    dynamic_vram: bool = Field(default=False, description="0.33: models are staged, and the log tells no load's end")


class WallClock(_Model):
    """How wrong the clock of an embedded server is; `at`: since when, counted from its start."""

    ahead: Seconds = 0.0
    behind: Seconds = 0.0
    drift_ppm: float = Field(default=0.0, ge=-10_000, le=10_000, description="microseconds it gains in a second")
    at: Seconds = 0.0


def _inline_or_file(value: Any) -> str:
    return "file" if isinstance(value, str | Path) else "inline"


def _by_name(value: Any) -> Any:
    return {"api": value} if isinstance(value, str) else value


class EmbeddedGateway(_Model):
    """A virtual gateway in front of the first server; a name alone is its API.

    `workflow` and `nodes` are what COMFYUI_WORKFLOW and COMFYUI_WORKFLOW_NODES are to a real one: JSON itself, a file
    or a variable; left out, a text-to-image workflow that is mapped.
    """

    api: ApiName = "open-webui"
    workflow: str | dict[str, Any] | None = None
    nodes: str | list[Any] | None = None
    model: str = Field(default="", max_length=200)
    size: str = Field(default="512x512", pattern=r"^[0-9]{1,5}x[0-9]{1,5}$")
    steps: int = Field(default=20, ge=1, le=10_000)
    token_variable: str | None = Field(default=None, description="who asks must bring the token in this variable")

    def with_files_read(self, folder: Path) -> EmbeddedGateway:
        """The same with the JSON it names in the place of files and variables. ScenarioError."""
        return self.model_copy(
            update={name: _json_named(getattr(self, name), folder, name) for name in ("workflow", "nodes")}
        )


Gateway = Annotated[EmbeddedGateway, BeforeValidator(_by_name, json_schema_input_type=ApiName | EmbeddedGateway)]


def _json_named(written: Any, folder: Path, what: str) -> Any:
    if not isinstance(written, str):
        return written
    name = written.removeprefix("$")
    text = os.environ.get(name, "") if written.startswith("$") else _text(folder / written)
    try:
        return json.loads(text)
    except ValueError as error:
        raise ScenarioError(
            f"the {what} of the gateway is no JSON: {error}", _WORKFLOW_REMEDY, where=written
        ) from error


_WORKFLOW_REMEDY = "Name a file in API format (menu: File > Export (API)), or export COMFYUI_WORKFLOW."


class Embedded(_Model):
    """The embedded target: how many servers, which version, on what GPU, and what goes wrong with them.

    `models` adds files (`folder/name` or a name that is in every folder) to a built-in list. `costs` and
    `object_info` may name a file; `with_files_read` puts its content in their place.
    """

    servers: int = Field(default=1, ge=1, le=64)
    gateway: Gateway | None = None
    version: Version = "0.33.0"
    gpu: VirtualGpu | None = Field(default=VirtualGpu(), description="null: a server that runs on its CPU")
    models: dict[str, Bytes] = Field(default_factory=dict, max_length=10_000)
    stock_models: bool = Field(default=True, description="false: only the files in `models`")
    costs: Annotated[
        Annotated[dict[str, Cost], Tag("inline")] | Annotated[Path, Tag("file")], Discriminator(_inline_or_file)
    ] = Field(default_factory=dict)
    object_info: Path | dict[str, Any] | None = None
    cache: CacheKind = "default"
    lru_size: int = Field(default=100, ge=1)
    log: Path | None = Field(default=None, description="file the log lines of each server go to; {} is its number")
    speed: float = Field(default=1.0, gt=0, le=1_000_000, description="2: every node takes half its time")
    previews: PreviewMethod = "none"
    preview_size: int = Field(default=512, ge=8, le=8192)
    max_upload: Bytes = Field(default=100 * 1024**2, gt=0)
    clocks: tuple[WallClock, ...] = Field(default=(), description="of the servers, in turn; those not named are right")
    seed: int = Field(default=0, description="of the faults that come by probability")
    faults: tuple[Fault, ...] = ()

    @field_validator("models")
    @classmethod
    def _names_are_paths_within(cls, models: dict[str, int]) -> dict[str, int]:
        for name in models:
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"expected `name` or `folder/name`, got {name!r}")
        return models

    def with_files_read(self, folder: Path) -> Embedded:
        """The same with the content of the files it names; relative paths are relative to `folder`.

        Raises ScenarioError naming the file when one cannot be read or is not what it should be.
        """
        changes: dict[str, Any] = {}
        if isinstance(self.costs, Path):
            changes["costs"] = read_costs(folder / self.costs)
        if self.gateway is not None:
            changes["gateway"] = self.gateway.with_files_read(folder)
        if isinstance(self.object_info, Path):
            changes["object_info"] = read_object_info(folder / self.object_info)
        return self.model_copy(update=changes) if changes else self


def read_costs(path: Path) -> dict[str, Cost]:
    """The table of a costs file: YAML, node class to `Cost`. Raises ScenarioError."""
    try:
        return TypeAdapter(dict[str, Cost]).validate_python(load_yaml(_text(path))[1] or {})
    except yaml.YAMLError as error:
        raise ScenarioError(f"the costs file is not YAML: {error}", where=str(path)) from error
    except ValidationError as error:
        problems = [
            Problem(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}", _COSTS_REMEDY, str(path))
            for item in error.errors()
        ]
        raise ScenarioError.of(problems) from error


_COSTS_REMEDY = 'Write node class: cost, as in `HarnessSleep: {seconds: "{seconds}"}`.'


def read_object_info(path: Path) -> dict[str, Any]:
    """A dump of a server's GET /object_info: class name to description. Raises ScenarioError."""
    remedy = "Save the answer of GET /object_info of your server: curl http://HOST:8188/object_info > object_info.json"
    try:
        info = json.loads(_text(path))
    except ValueError as error:
        raise ScenarioError(f"the dump of /object_info is not JSON: {error}", remedy, where=str(path)) from error
    if not isinstance(info, dict) or not all(isinstance(node, dict) and "input" in node for node in info.values()):
        raise ScenarioError("expected an object of node classes, each with `input`", remedy, where=str(path))
    return info


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"cannot read {path}: {error}", "Name a file that is there.", where=str(path)) from error
