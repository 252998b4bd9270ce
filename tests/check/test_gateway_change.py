"""A gateway's configuration is put back, however a check ends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from comfysoak.check.parts.gateway.change import changed, put_back_of_earlier
from comfysoak.check.parts.gateway.door import Door
from comfysoak.check.parts.gateway.owed import Owed, keep, kept, path_of
from comfysoak.check.settings import GatewayAccess
from comfysoak_core.gateway.api import OPEN_WEBUI
from tests.check.gateways import TOKEN, left_at, platform, settings_of, tokens, visited

__all__ = ["tokens"]
pytestmark = pytest.mark.usefixtures("tokens")
CONFIG, UPDATE = "/api/v1/images/config", "/api/v1/images/config/update"
# What a person interrupts: a change that lasts, with the signals as the command takes them.
HOLD = """
import sys, time
from comfysoak.check.ending import signals_raised
from comfysoak.check.parts.gateway.change import changed
from comfysoak.check.parts.gateway.door import Door
from comfysoak.check.settings import GatewayAccess
from comfysoak_core.gateway.api import OPEN_WEBUI
access = GatewayAccess(sys.argv[1], OPEN_WEBUI, "open-webui", "ADMIN_OF_TEST")
door = Door(access)
with signals_raised():
    with changed(door, "/api/v1/images/config", "/api/v1/images/config/update", "IMAGE_STEPS", 33):
        print("changed", flush=True)
        time.sleep(60)
"""


def door_to(url: str) -> Door:
    return Door(GatewayAccess(url, OPEN_WEBUI, "open-webui", "ADMIN_OF_TEST"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_a_check_has_changed_is_put_back_when_it_is_ended(number: signal.Signals) -> None:
    """By itself where it can; by the next one where it was killed, which says so."""
    with platform() as stand:
        assert stand.gateway is not None
        before = left_at(stand)
        command = [sys.executable, "-c", HOLD, stand.gateway.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"changed\n"
            assert stand.gateway.settings.defaults.steps == 33
            process.send_signal(number)
            process.wait(20)
        path = path_of(stand.gateway.url, os.environ)
        assert path.exists() == (number is signal.SIGKILL)
        if number is signal.SIGKILL:
            found = visited(stand)
            assert "IMAGE_STEPS" in found.rows["gateway.config"].seen
            assert "was put back to 20" in found.rows["gateway.config"].seen
            assert not path.exists()
        assert left_at(stand)[0] == before[0]


def test_a_signal_in_the_midst_of_putting_back_does_not_keep_it_from_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the check afterwards."""
    with platform() as stand:
        assert stand.gateway is not None
        before = left_at(stand)
        door = door_to(stand.gateway.url)
        ask, asked = door.ask, []

        def interrupted(who, method, path, document=None):  # type: ignore[no-untyped-def]  # as Door.ask
            asked.append(method)
            if asked.count("POST") == 2 and method == "POST":
                raise KeyboardInterrupt
            return ask(who, method, path, document)

        monkeypatch.setattr(door, "ask", interrupted)
        with pytest.raises(KeyboardInterrupt), changed(door, CONFIG, UPDATE, "IMAGE_STEPS", 33):
            assert stand.gateway.settings.defaults.steps == 33
        assert left_at(stand)[0] == before[0]
        assert not path_of(stand.gateway.url, os.environ).exists()


def test_what_must_be_put_back_is_kept_for_the_user_alone_and_without_a_secret() -> None:
    """Mode 0600, one key with its two values."""
    with platform() as stand:
        assert stand.gateway is not None
        stand.gateway.settings.api_key = "sk-of-comfyui-0123456789"
        path = path_of(stand.gateway.url, os.environ)
        with changed(door_to(stand.gateway.url), CONFIG, UPDATE, "IMAGE_STEPS", 33):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            text = path.read_text(encoding="utf-8")
            assert json.loads(text)["was"] == 20
            assert TOKEN not in text
            assert "sk-" not in text
        assert not path.exists()


def test_what_somebody_has_set_since_is_left_to_them() -> None:
    """A check that was killed owes nothing any more."""
    with platform() as stand:
        assert stand.gateway is not None
        url = stand.gateway.url
        path = path_of(url, os.environ)
        keep(Owed(url, CONFIG, UPDATE, "IMAGE_STEPS", 20, 21, pid_of_nobody()), path)
        stand.gateway.settings.defaults = stand.gateway.settings.defaults.__class__(
            **{**stand.gateway.settings.defaults.__dict__, "steps": 50}
        )
        assert put_back_of_earlier(door_to(url)) is None
        assert stand.gateway.settings.defaults.steps == 50
        assert not path.exists()


def test_a_change_of_another_check_that_is_at_work_is_left_alone() -> None:
    """Nothing is put back under its hands, and nothing changed beside it."""
    with platform() as stand:
        assert stand.gateway is not None
        path = path_of(stand.gateway.url, os.environ)
        keep(Owed(stand.gateway.url, CONFIG, UPDATE, "IMAGE_STEPS", 20, 21, os.getppid()), path)
        found = visited(stand, settings_of(stand, may_change_gateway=True))
        assert found.state("gateway.change") == "skipped"
        assert str(path) in found.rows["gateway.change"].seen
        assert path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"gateway": 1}', '{"was": "x"}'])
def test_a_file_that_is_damaged_owes_nothing(text: str, tmp_path: Path) -> None:
    """And ends nothing."""
    path = tmp_path / "owed.json"
    path.write_text(text, encoding="utf-8")
    assert kept(path) is None


def test_a_configuration_that_cannot_be_put_back_exactly_is_not_touched() -> None:
    """An update takes the slash from a base URL: nothing is written."""
    with platform() as stand:
        assert stand.gateway is not None
        elsewhere = stand.gateway.settings.elsewhere
        new = {**elsewhere.new, "IMAGES_EDIT_COMFYUI_BASE_URL": "http://edit:8188/"}
        stand.gateway.settings.elsewhere = elsewhere.__class__(new=new)
        before = left_at(stand)
        found = visited(stand, settings_of(stand, may_change_gateway=True))
        assert "IMAGES_EDIT_COMFYUI_BASE_URL" in found.rows["gateway.change"].seen
        assert left_at(stand)[0] == before[0]


def pid_of_nobody() -> int:
    """Of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(20)
    return process.pid
