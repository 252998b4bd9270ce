"""What the gateway uses, against what its environment says: values stored at its first start win over it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from comfysoak.check.checking import Checking, ok, skipped, warning
from comfysoak.check.parts.gateway.door import Door, Who, said
from comfysoak.check.parts.gateway.layout import Configuration, layout_of
from comfysoak.check.row import Row
from comfysoak.check.settings import API_KEY, Settings
from comfysoak_core.comfyui.json_text import NotJsonError, decode, excerpt, text_or_none
from comfysoak_core.recording.redaction import redact

_TOLD: Final = ("COMFYUI_BASE_URL", "IMAGE_SIZE", "IMAGE_STEPS", "IMAGE_GENERATION_MODEL", "IMAGE_GENERATION_ENGINE")
_DOCUMENTS: Final = ("COMFYUI_WORKFLOW", "COMFYUI_WORKFLOW_NODES")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the gateway told: its version, and its configuration or why there is none."""

    version: str | None = None
    stored: Configuration | None = None
    why_not: str = "no gateway was named"


def ask_gateway(checking: Checking) -> Asked:
    """Its version, and what an administrator reads. Nothing is changed by it."""
    access = checking.settings.gateway
    if access is None:
        return Asked()
    layout = layout_of(access.api_name)
    checking.say(f"asking {access.url} for its configuration")
    door = Door(access)
    version = None
    if layout.version is not None:
        told = door.read(Who.NOBODY, layout.version)
        version = text_or_none(told.get("version"), 40) if isinstance(told, Mapping) else None
    if layout.config is None:
        return Asked(version, None, f"a gateway of the kind {access.api_name} has no route that tells")
    if not door.has(Who.ADMIN):
        return Asked(version, None, "no token of an administrator was named (--admin-token-variable)")
    document = door.read(Who.ADMIN, layout.config)
    if not isinstance(document, Mapping):
        return Asked(version, None, f"its configuration cannot be read: {said(document)}")
    return Asked(version, Configuration.of(document), "")


def stored_row(settings: Settings, asked: Asked) -> Row:
    """gateway.stored."""
    id_ = "gateway.stored"
    if asked.stored is None:
        return skipped(id_, asked.why_not)
    differing = list(_differences(settings, asked.stored))
    if differing:
        names = ", ".join(name for name, _ in differing)
        persistent = settings.variables.get("ENABLE_PERSISTENT_CONFIG")
        why = "values stored at its first start win over its environment"
        how = f"Change {names} in its admin settings (Images), or start it with ENABLE_PERSISTENT_CONFIG=false"
        if persistent is not None and persistent.value.strip().lower() == "false":
            why = "ENABLE_PERSISTENT_CONFIG is false here, so it was not started with this environment"
            how = f"Start the gateway again with this environment ({names})"
        slash = " It ends in a slash there, which breaks it." if asked.stored.base_url.endswith("/") else ""
        return warning(id_, f"{'; '.join(told for _, told in differing)}: {why}", f"{how}.{slash}")
    compared = [name for name in (*_TOLD, *_DOCUMENTS) if name in settings.variables]
    if not compared:
        return ok(id_, "no variable is set here that it could be compared with; it is asked as it is")
    return ok(id_, f"the same as here: {', '.join(compared)}")


def _differences(settings: Settings, stored: Configuration) -> Iterator[tuple[str, str]]:
    """Variables whose value the gateway does not use, with what it uses in their place; secrets are not told."""
    nested = stored.document.get("comfyui")
    used: Mapping[str, Any] = {**stored.document, **(nested if isinstance(nested, dict) else {})}
    for name in _TOLD:
        given = settings.variables.get(name)
        if given is not None and name in used and not _same(given.value, used[name], name):
            shown = [redact(excerpt(str(value), 80)) for value in (given.value, used[name])]
            yield name, f"{name} is {shown[0]!r} ({given.source}), and {shown[1]!r} in the gateway"
    for name in _DOCUMENTS:
        given = settings.variables.get(name)
        if given is not None and name in used and _document(given.value) != _document(used[name]):
            yield name, f"{name} ({given.source}) is another in the gateway: {_how(given.value, used[name])}"
    variable = settings.api_key_variable
    if variable == API_KEY and isinstance(used.get(API_KEY), str) and used[API_KEY] != os.environ.get(variable):
        yield API_KEY, f"{API_KEY} is another in the gateway"


def _same(here: str, there: object, name: str) -> bool:
    if name == "COMFYUI_BASE_URL":
        return here == there or here.rstrip("/") == there
    return here.strip() == str(there)


def _document(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return decode(value)
    except NotJsonError:
        return value


def _how(here: object, there: object) -> str:
    """In what two documents differ, by their parts."""
    first, second = _document(here), _document(there)
    if isinstance(first, dict) and isinstance(second, dict):
        parts = [str(key) for key in {**first, **second} if first.get(key) != second.get(key)]
        return f"node {', '.join(parts[:5])} of {len(second)}"
    sizes = [f"{len(one)} entries" if isinstance(one, list) else "no list" for one in (first, second)]
    return f"{sizes[0]} here, {sizes[1]} there"
