"""The check of a gateway against a real Open WebUI, in front of a virtual ComfyUI: `make test-gateway`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from comfysoak.check.settings import GatewayAccess
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.gateway.api import OPEN_WEBUI
from tests.check.gateways import Visited, visited
from tests.check.stand import Stand, served, sound_nodes, sound_workflow
from tests.gateway.standing import OpenWebUI, open_webui

pytestmark = pytest.mark.gateway
CONFIG = "/api/v1/images/config"


@dataclass(frozen=True)
class Platform:
    """Both."""

    gateway: OpenWebUI
    stand: Stand

    def config(self) -> Any:
        """As an administrator reads it."""
        return self.gateway.ask("GET", CONFIG, token=self.gateway.admin)[1]

    def configure(self, **changes: Any) -> None:
        """As an administrator changes it."""
        status, _ = self.gateway.ask("POST", f"{CONFIG}/update", self.config() | changes, self.gateway.admin)
        assert status == 200

    def look(self, **changes: Any) -> Visited:
        """The rows, of a check as an administrator."""
        os.environ["OPEN_WEBUI_ADMIN"], os.environ["OPEN_WEBUI_USER"] = self.gateway.admin, self.gateway.user
        access = GatewayAccess(self.gateway.url, OPEN_WEBUI, "open-webui", "OPEN_WEBUI_ADMIN")
        named = {name: changes.pop(name) for name in list(changes) if name.endswith("token_variable")}
        return visited(self.stand, self.stand.settings(gateway=replace(access, **named), **changes))

    def pictures(self) -> int:
        """How many files it keeps, on its disk and in its list."""
        listed = self.gateway.ask("GET", "/api/v1/files/", token=self.gateway.admin)[1]
        stored = [path for path in (self.gateway.log.parent / "data" / "uploads").rglob("*") if path.is_file()]
        count = len(listed["items"] if isinstance(listed, dict) else listed)
        assert count == len(stored)
        return count

    def prompts(self) -> int:
        """How many ComfyUI has, waiting or ended."""
        with ComfyClient(self.stand.url) as client:
            return len(client.history_page(1000)) + client.queue_remaining()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One Open WebUI for all tests; whoever changes it puts it back."""
    folder: Path = tmp_path_factory.mktemp("open-webui")
    with served() as stand, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        environment = {
            "COMFYUI_BASE_URL": stand.url,
            "COMFYUI_WORKFLOW": json.dumps(sound_workflow()),
            "COMFYUI_WORKFLOW_NODES": json.dumps(sound_nodes()),
            "IMAGE_GENERATION_MODEL": "sd_xl_base_1.0.safetensors",
            "IMAGE_SIZE": "64x64",
            "IMAGE_STEPS": "4",
            "USER_PERMISSIONS_FEATURES_IMAGE_GENERATION": "false",
        }
        with open_webui(folder, environment) as gateway:
            yield Platform(gateway, stand)


def test_it_is_sound_and_left_as_it_was_found(platform: Platform) -> None:
    """Without leave to change it: what needs that is skipped, all else is ok; its disk and ComfyUI's history too."""
    before = platform.config(), platform.pictures(), platform.prompts()
    found = platform.look()
    assert found.complaints() == {}
    assert {id_ for id_, row in found.rows.items() if row.state != "ok"} == {"gateway.forbidden", "gateway.change"}
    assert (platform.config(), platform.pictures(), platform.prompts()) == before


def test_it_is_changed_and_put_back_exactly(platform: Platform) -> None:
    """Every row ok, 403 by switching it off for a moment."""
    before = platform.config(), platform.pictures(), platform.prompts()
    found = platform.look(may_change_gateway=True)
    assert {row.state.value for row in found.rows.values()} == {"ok"}
    assert (platform.config(), platform.pictures(), platform.prompts()) == before


def test_a_user_without_the_permission_is_forbidden(platform: Platform) -> None:
    """By the permission of users, which was not given here."""
    found = platform.look(forbidden_token_variable="OPEN_WEBUI_USER")
    assert "403" in found.rows["gateway.forbidden"].seen
    assert found.state("gateway.forbidden") == "ok"


def test_the_token_of_such_a_user_makes_no_picture(platform: Platform) -> None:
    """And what only administrators may read is skipped, not failed."""
    found = platform.look(token_variable="OPEN_WEBUI_USER")
    assert found.state("gateway.config") == "skipped"
    assert found.state("gateway.generates") == "failed"
    assert "allow it for this user" in found.rows["gateway.generates"].remedy
    assert set(found.complaints()) == {"gateway.generates"}


@pytest.mark.parametrize(
    ("change", "row", "words"),
    [
        ({"ENABLE_IMAGE_GENERATION": False}, "gateway.config", "switched off"),
        ({"IMAGE_GENERATION_MODEL": "nobody_has_this.safetensors"}, "gateway.generates", "nobody_has_this"),
        ({"COMFYUI_WORKFLOW": "{"}, "gateway.generates", "no workflow in API format"),
        (
            {"COMFYUI_WORKFLOW_NODES": [one for one in sound_nodes() if one["type"] != "n"]},
            "gateway.fields",
            "n is not mapped",
        ),
        (
            {"COMFYUI_WORKFLOW_NODES": [one | {"key": one["key"] + "x"} for one in sound_nodes()[4:5]] + sound_nodes()},
            "gateway.fields",
            "has no input",
        ),
    ],
)
def test_a_mistake_in_its_settings_is_found(platform: Platform, change: dict[str, Any], row: str, words: str) -> None:
    """In its row and in no other."""
    before = platform.config()
    platform.configure(**change)
    try:
        found = platform.look()
    finally:
        platform.configure(**before)
    assert set(found.complaints()) == {row}
    assert words in found.rows[row].seen
