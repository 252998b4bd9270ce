"""What users of a real Open WebUI see when the ComfyUI behind it fails: as the virtual one has it, row by row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfysoak.check.rows import Part
from comfysoak.check.settings import GatewayAccess
from comfysoak_core.gateway.api import OPEN_WEBUI
from tests.check.stand import look, served, sound_nodes, sound_workflow
from tests.check.test_errors import OF_OPEN_WEBUI, states
from tests.gateway.standing import open_webui

pytestmark = pytest.mark.gateway
CONFIG = "/api/v1/images/config"


def test_a_real_open_webui_fails_as_the_virtual_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row has the same state, and its configuration is put back."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with served() as stand:
        environment = {
            "COMFYUI_BASE_URL": stand.url,
            "COMFYUI_WORKFLOW": json.dumps(sound_workflow()),
            "COMFYUI_WORKFLOW_NODES": json.dumps(sound_nodes()),
            "IMAGE_GENERATION_MODEL": "sd_xl_base_1.0.safetensors",
        }
        with open_webui(tmp_path, environment) as real:
            monkeypatch.setenv("ADMIN_OF_TEST", real.admin)
            before = real.ask("GET", CONFIG, token=real.admin)
            access = GatewayAccess(real.url, OPEN_WEBUI, "open-webui", "ADMIN_OF_TEST")
            settings = stand.settings(gateway=access, provoke_errors=True, deadline_s=4.0)
            found = look(settings, Part.CONFIGURATION, Part.ERRORS)
            assert states(found.rows) == OF_OPEN_WEBUI
            assert real.ask("GET", CONFIG, token=real.admin) == before
