"""What administrators of a gateway read and write: its configuration, of either age, with the checks each makes.

An update wants the whole object, and takes the slash from the end of base URLs; what is not about ComfyUI is kept as it
was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from comfysoak_simulator.gateway.gateway import Settings

Json = Any
Form = TypeVar("Form", bound=BaseModel)
_SIZE: Final = re.compile(r"\d+x\d+")
_WRONG: Final = "Invalid format. Please use the correct format  (e.g., {})."


class ConfigurationError(Exception):
    """A value is refused; the text is the gateway's."""


@dataclass(frozen=True)
class Written:
    """What an update has set."""

    settings: Settings
    base_url: str


class NewForm(BaseModel):
    """POST /config/update of 0.12; what is optional is null, and may not be left out."""

    model_config = ConfigDict(extra="ignore")

    ENABLE_IMAGE_GENERATION: bool
    ENABLE_IMAGE_PROMPT_GENERATION: bool
    IMAGE_GENERATION_ENGINE: str
    IMAGE_GENERATION_MODEL: str
    IMAGE_SIZE: str | None
    IMAGE_STEPS: int | None
    IMAGES_OPENAI_API_BASE_URL: str
    IMAGES_OPENAI_API_KEY: str
    IMAGES_OPENAI_API_VERSION: str
    IMAGES_OPENAI_API_PARAMS: dict[str, Json] | str | None
    AUTOMATIC1111_BASE_URL: str
    AUTOMATIC1111_API_AUTH: dict[str, Json] | str | None
    AUTOMATIC1111_PARAMS: dict[str, Json] | str | None
    COMFYUI_BASE_URL: str
    COMFYUI_API_KEY: str
    COMFYUI_WORKFLOW: str
    COMFYUI_WORKFLOW_NODES: list[dict[str, Json]]
    IMAGES_GEMINI_API_BASE_URL: str
    IMAGES_GEMINI_API_KEY: str
    IMAGES_GEMINI_ENDPOINT_METHOD: str
    ENABLE_IMAGE_EDIT: bool
    IMAGE_EDIT_ENGINE: str
    IMAGE_EDIT_MODEL: str
    IMAGE_EDIT_SIZE: str | None
    IMAGES_EDIT_OPENAI_API_BASE_URL: str
    IMAGES_EDIT_OPENAI_API_KEY: str
    IMAGES_EDIT_OPENAI_API_VERSION: str
    IMAGES_EDIT_GEMINI_API_BASE_URL: str
    IMAGES_EDIT_GEMINI_API_KEY: str
    IMAGES_EDIT_COMFYUI_BASE_URL: str
    IMAGES_EDIT_COMFYUI_API_KEY: str
    IMAGES_EDIT_COMFYUI_WORKFLOW: str
    IMAGES_EDIT_COMFYUI_WORKFLOW_NODES: list[dict[str, Json]]


class OldComfyUI(BaseModel):
    """The part about ComfyUI."""

    COMFYUI_BASE_URL: str
    COMFYUI_WORKFLOW: str
    COMFYUI_WORKFLOW_NODES: list[dict[str, Json]]


class OldForm(BaseModel):
    """POST /config/update of 0.3."""

    enabled: bool
    engine: str
    openai: dict[str, Json]
    automatic1111: dict[str, Json]
    comfyui: OldComfyUI


class OldImageForm(BaseModel):
    """POST /image/config/update of 0.3."""

    MODEL: str
    IMAGE_SIZE: str
    IMAGE_STEPS: int


@dataclass(frozen=True)
class Elsewhere:
    """What a configuration has that is not about ComfyUI, as it was written last."""

    new: Mapping[str, Json] = field(default_factory=lambda: dict(_ELSEWHERE_NEW))
    old: Mapping[str, Json] = field(default_factory=lambda: dict(_ELSEWHERE_OLD))


def configuration_new(settings: Settings, base_url: str) -> Json:
    """GET /config of 0.12."""
    defaults = settings.defaults
    found = {
        "ENABLE_IMAGE_GENERATION": settings.enabled,
        "IMAGE_GENERATION_ENGINE": settings.engine,
        "IMAGE_GENERATION_MODEL": defaults.model,
        "IMAGE_SIZE": defaults.size,
        "IMAGE_STEPS": defaults.steps,
        "COMFYUI_BASE_URL": base_url,
        "COMFYUI_API_KEY": settings.api_key,
        "COMFYUI_WORKFLOW": defaults.workflow,
        "COMFYUI_WORKFLOW_NODES": defaults.nodes,
    }
    return {name: found.get(name, settings.elsewhere.new.get(name)) for name in NewForm.model_fields}


def configuration_old(settings: Settings, base_url: str) -> Json:
    """GET /config of 0.3."""
    defaults = settings.defaults
    return {
        "enabled": settings.enabled,
        "engine": settings.engine,
        **settings.elsewhere.old,
        "comfyui": {
            "COMFYUI_BASE_URL": base_url,
            "COMFYUI_WORKFLOW": defaults.workflow,
            "COMFYUI_WORKFLOW_NODES": defaults.nodes,
        },
    }


def image_configuration_old(settings: Settings) -> Json:
    """GET /image/config of 0.3."""
    defaults = settings.defaults
    return {"MODEL": defaults.model, "IMAGE_SIZE": defaults.size, "IMAGE_STEPS": defaults.steps}


def updated_new(settings: Settings, body: bytes) -> Written:
    """As an update of 0.12 leaves it. ValidationError; ConfigurationError."""
    form = _form(NewForm, body)
    size, steps = form.IMAGE_SIZE or "", form.IMAGE_STEPS
    if size and size != "auto" and not _SIZE.fullmatch(size):
        raise ConfigurationError(_WRONG.format("512x512"))
    if steps is None or form.IMAGE_SIZE is None:
        raise TypeError("null is no size and no number of steps")  # 500, as the real one
    if steps < 0:
        raise ConfigurationError(_WRONG.format("50"))
    workflow, nodes = form.COMFYUI_WORKFLOW, form.COMFYUI_WORKFLOW_NODES
    defaults = replace(
        settings.defaults,
        workflow=workflow,
        nodes=nodes,
        model=form.IMAGE_GENERATION_MODEL,
        size=size,
        steps=steps,
    )
    rest = form.model_dump() | {"IMAGES_EDIT_COMFYUI_BASE_URL": form.IMAGES_EDIT_COMFYUI_BASE_URL.strip("/")}
    changed = replace(
        settings,
        defaults=defaults,
        api_key=form.COMFYUI_API_KEY,
        enabled=form.ENABLE_IMAGE_GENERATION,
        engine=form.IMAGE_GENERATION_ENGINE,
        elsewhere=replace(settings.elsewhere, new=rest),
    )
    return Written(changed, form.COMFYUI_BASE_URL.strip("/"))


def updated_old(settings: Settings, body: bytes) -> Written:
    """As an update of 0.3 leaves it. ValidationError."""
    form = _form(OldForm, body)
    comfyui = form.comfyui
    defaults = replace(settings.defaults, workflow=comfyui.COMFYUI_WORKFLOW, nodes=comfyui.COMFYUI_WORKFLOW_NODES)
    rest = {"openai": form.openai, "automatic1111": form.automatic1111}
    changed = replace(
        settings,
        defaults=defaults,
        enabled=form.enabled,
        engine=form.engine,
        elsewhere=replace(settings.elsewhere, old=rest),
    )
    return Written(changed, comfyui.COMFYUI_BASE_URL.strip("/"))


def image_updated_old(settings: Settings, body: bytes) -> Settings:
    """As an update of model, size and steps leaves it. ValidationError; ConfigurationError.

    The model is set before the others are looked at, and stays when they are refused.
    """
    form = _form(OldImageForm, body)
    if not _SIZE.fullmatch(form.IMAGE_SIZE):
        raise ConfigurationError(_WRONG.format("512x512"))
    if form.IMAGE_STEPS < 0:
        raise ConfigurationError(_WRONG.format("50"))
    defaults = replace(settings.defaults, model=form.MODEL, size=form.IMAGE_SIZE, steps=form.IMAGE_STEPS)
    return replace(settings, defaults=defaults)


def _form(kind: type[Form], body: bytes) -> Form:
    """As FastAPI reads it: JSON first, then what it holds."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return kind.model_validate_json(body)  # complains in its own words
    return kind.model_validate(document)


_ELSEWHERE_NEW: Final[Mapping[str, Json]] = {
    "ENABLE_IMAGE_PROMPT_GENERATION": True,
    "IMAGES_OPENAI_API_BASE_URL": "https://api.openai.com/v1",
    "IMAGES_OPENAI_API_KEY": "",
    "IMAGES_OPENAI_API_VERSION": "",
    "IMAGES_OPENAI_API_PARAMS": {},
    "AUTOMATIC1111_BASE_URL": "",
    "AUTOMATIC1111_API_AUTH": "",
    "AUTOMATIC1111_PARAMS": {},
    "IMAGES_GEMINI_API_BASE_URL": "",
    "IMAGES_GEMINI_API_KEY": "",
    "IMAGES_GEMINI_ENDPOINT_METHOD": "",
    "ENABLE_IMAGE_EDIT": False,
    "IMAGE_EDIT_ENGINE": "openai",
    "IMAGE_EDIT_MODEL": "",
    "IMAGE_EDIT_SIZE": "",
    "IMAGES_EDIT_OPENAI_API_BASE_URL": "https://api.openai.com/v1",
    "IMAGES_EDIT_OPENAI_API_KEY": "",
    "IMAGES_EDIT_OPENAI_API_VERSION": "",
    "IMAGES_EDIT_GEMINI_API_BASE_URL": "",
    "IMAGES_EDIT_GEMINI_API_KEY": "",
    "IMAGES_EDIT_COMFYUI_BASE_URL": "",
    "IMAGES_EDIT_COMFYUI_API_KEY": "",
    "IMAGES_EDIT_COMFYUI_WORKFLOW": "",
    "IMAGES_EDIT_COMFYUI_WORKFLOW_NODES": [],
}
_ELSEWHERE_OLD: Final[Mapping[str, Json]] = {
    "openai": {"OPENAI_API_BASE_URL": "https://api.openai.com/v1", "OPENAI_API_KEY": ""},
    "automatic1111": {
        "AUTOMATIC1111_BASE_URL": "",
        "AUTOMATIC1111_API_AUTH": "",
        "AUTOMATIC1111_CFG_SCALE": None,
        "AUTOMATIC1111_SAMPLER": None,
        "AUTOMATIC1111_SCHEDULER": None,
    },
}
