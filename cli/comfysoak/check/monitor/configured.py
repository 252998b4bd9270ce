"""The configuration as a whole: a hash that anybody may see, and which of its parts have changed. Pure.

Parts are what the gateway reads (variables, workflow, mapping), what it has stored, and how the server was started. A
secret is in no hash; that it was changed is noticed by a digest of this process that nobody is told.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from comfysoak.check.settings import API_KEY, Settings
from comfysoak_core.comfyui.answers import SystemStats
from comfysoak_core.recording.redaction import HIDDEN, redact

HASH_CHARACTERS: Final = 16
PARTS_MOST: Final = 500
_OURS_ALONE: Final = secrets.token_bytes(32)
_SECRET_WORDS: Final = ("key", "token", "password", "secret", "auth")


@dataclass(frozen=True, slots=True)
class Configured:
    """Digest by part. `hidden` are those of secrets, which mean something within this process only."""

    open: Mapping[str, str]
    hidden: Mapping[str, str]

    @property
    def hash(self) -> str:
        """The same for the same configuration on every machine; secrets count as being there, or not."""
        told = orjson.dumps([sorted(self.open.items()), sorted(self.hidden)])
        return hashlib.sha256(told).hexdigest()[:HASH_CHARACTERS]

    def changed_since(self, before: Configured) -> list[str]:
        """The parts that are new, gone or other than before, by name."""
        now, then = {**self.open, **self.hidden}, {**before.open, **before.hidden}
        return sorted(name for name in {**now, **then} if now.get(name) != then.get(name))


def configured(
    settings: Settings, stats: SystemStats | None, stored: Mapping[str, Any] | None, before: Configured | None
) -> Configured:
    """What is known now. What server or gateway do not say at the moment is as it was `before`."""
    parts = _of_settings(settings)
    parts |= _of_server(stats) if stats is not None else {}
    parts |= _of_gateway(stored) if stored is not None else {}
    kept = {name: digest for name, digest in before.open.items() if _is_silent(name, stats, stored)} if before else {}
    held = {name: digest for name, digest in before.hidden.items() if _is_silent(name, stats, stored)} if before else {}
    shown = {name: value for name, value in sorted(parts.items())[:PARTS_MOST] if not _is_secret(name)}
    secret = {name: value for name, value in sorted(parts.items())[:PARTS_MOST] if _is_secret(name)}
    return Configured(
        kept | {name: _digest(redact(value)) for name, value in shown.items()},
        held | {name: _hidden(value) for name, value in secret.items()},
    )


def _of_settings(settings: Settings) -> dict[str, str]:
    """Variables as found, and what options put in their place."""
    told = {name: given.value for name, given in settings.variables.items() if given.value != HIDDEN}
    for name, given in (
        ("COMFYUI_BASE_URL", settings.base_url),
        ("COMFYUI_WORKFLOW", settings.workflow),
        ("COMFYUI_WORKFLOW_NODES", settings.nodes),
    ):
        if given is not None:
            told[name] = given.value
    access = settings.gateway
    variables = {settings.api_key_variable or API_KEY}
    if access is not None:
        told |= {"--gateway": access.url, "--api": access.api_name}
        variables |= {access.token_variable or "", access.admin_token_variable or ""}
    return told | {name: os.environ[name] for name in variables if os.environ.get(name)}


def _of_server(stats: SystemStats) -> dict[str, str]:
    device = stats.devices[0] if stats.devices else None
    return {
        "server version": stats.comfyui_version or "",
        "server python": stats.python_version or "",
        "server pytorch": stats.pytorch_version or "",
        "server options": "\n".join(stats.argv),
        "server device": device.name if device is not None else "",
    }


def _of_gateway(stored: Mapping[str, Any]) -> dict[str, str]:
    """One part for each value; of what nests, for each value in it."""
    flat: dict[str, Any] = {}
    for name, value in stored.items():
        inner = value if isinstance(value, dict) else {"": value}
        flat |= {f"gateway {name}{f'.{key}' if key else ''}": one for key, one in inner.items()}
    return {name[:200]: orjson.dumps(value, default=str).decode() for name, value in flat.items()}


def _is_silent(name: str, stats: SystemStats | None, stored: Mapping[str, Any] | None) -> bool:
    return (stats is None and name.startswith("server ")) or (stored is None and name.startswith("gateway "))


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()


def _hidden(value: str) -> str:
    return hmac.new(_OURS_ALONE, value.encode("utf-8", "replace"), "sha256").hexdigest()
