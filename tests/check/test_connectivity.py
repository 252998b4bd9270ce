"""Connectivity: the service, the way from here and from the gateway, and addresses that deceive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfysoak.check.parts.connectivity import (
    Views,
    containers_row,
    from_gateway_row,
    from_here_row,
    in_container,
    running_row,
)
from comfysoak.check.rows import Part
from comfysoak.check.settings import Given
from comfysoak_core.comfyui.answers import Queue, SystemStats
from comfysoak_core.comfyui.reaching import Place, place_of
from tests.check.stand import Stand, look

STATS = SystemStats("0.33.0", None, None, None, None, None, (), ())


def place(url: str) -> Place:
    found = place_of(url)
    assert isinstance(found, Place)
    return found


def test_a_service_that_answers(stand: Stand) -> None:
    """It runs, it is near; what was not asked for is skipped, with the reason."""
    looked = look(stand.settings(), Part.CONFIGURATION, Part.CONNECTIVITY)
    assert looked.complaints() == {}
    assert looked.states()["service.running"] == looked.states()["service.from_here"] == "ok"
    assert looked.rows["service.from_gateway"].seen == "no gateway was named"


def test_a_gateway_that_reaches_it(platform: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own verify route says so."""
    monkeypatch.setenv("PLATFORM_TOKEN", "sk-nobodys-0123456789")
    settings = platform.settings()
    assert settings.gateway is not None
    settings = replace(settings, gateway=replace(settings.gateway, token_variable="PLATFORM_TOKEN"))
    looked = look(settings, Part.CONFIGURATION, Part.CONNECTIVITY)
    assert looked.complaints() == {}
    assert looked.rows["service.from_gateway"].seen == f"it verified {platform.url}"


def test_nothing_answers(stand: Stand) -> None:
    """What was told in the address is not told again."""
    settings = replace(stand.settings(), base_url=Given("http://127.0.0.1:9", ".env:1"))
    looked = look(settings, Part.CONFIGURATION, Part.CONNECTIVITY)
    assert list(looked.complaints()) == ["url.tcp"]


@pytest.mark.parametrize(
    ("running", "pending", "state"), [((), (), "ok"), (("a",), ("b", "c"), "ok"), ((), ("b",), "warning")]
)
def test_a_queue_that_nobody_works_on(running: tuple[str, ...], pending: tuple[str, ...], state: str) -> None:
    """Prompts that wait while none runs are evidence; prompts that run are none."""
    queue = Queue(running, pending, 1)
    assert running_row(STATS, queue, len(running) + len(pending)).state == state
    assert running_row(STATS, queue, 0).state == "ok"  # taken up meanwhile


@pytest.mark.parametrize(
    ("took_s", "state"), [([0.001, 0.9, 0.002], "ok"), ([0.3, 0.4], "warning"), ([3.0], "warning")]
)
def test_how_far_it_is(took_s: list[float], state: str) -> None:
    """The median counts, not one slow answer."""
    assert from_here_row(took_s).state == state


@pytest.mark.parametrize(
    ("status", "is_silent", "state"),
    [(200, False, "ok"), (400, False, "failed"), (0, True, "failed"), (401, False, "skipped")],
)
def test_what_the_gateway_says_of_its_comfyui(status: int, is_silent: bool, state: str) -> None:
    """400 is its word for an address it does not reach."""
    assert from_gateway_row("http://a:1", status, "401 'no'", is_silent=is_silent).state == state


HERE, PUBLISHED, FAR = place("http://localhost:8188"), place("http://localhost:3000"), place("http://platform:8080")


@pytest.mark.parametrize(
    ("views", "state"),
    [
        (Views(inside=False, target=HERE, answers=True), "ok"),
        (Views(inside=True, target=HERE, answers=True), "ok"),
        (Views(inside=True, target=HERE), "skipped"),
        (Views(inside=False, target=FAR, answers=True), "ok"),
        (Views(False, HERE, True, "", PUBLISHED, HERE, True), "ok"),
        (Views(False, HERE, True, "", PUBLISHED, HERE, False), "warning"),
        (Views(False, FAR, True, "", FAR, HERE, False), "warning"),
        (Views(False, FAR, True, "", FAR, HERE, None), "ok"),
        (Views(inside=False), "skipped"),
    ],
)
def test_addresses_that_mean_something_else_in_a_container(views: Views, state: str) -> None:
    """A loopback address deceives a gateway that reaches nothing by it; one that reaches ComfyUI is not warned of."""
    assert containers_row(views).state == state


def test_whether_we_run_in_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the marks that engines leave."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert not in_container(tmp_path)
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/cgroup").write_text("0::/docker/abc\n", encoding="utf-8")
    assert in_container(tmp_path)
