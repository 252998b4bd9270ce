"""The check of a gateway against what real ones answered, of both ages."""

from __future__ import annotations

import pytest

from comfysoak.check.checking import Checking
from comfysoak.check.settings import GatewayAccess, Settings
from comfysoak_core.clock import steady_ns
from comfysoak_core.gateway.api import OPEN_WEBUI, OPEN_WEBUI_OLD
from tests.check.gateways import Visited, visited_with
from tests.check.recorded_gateway import TOKEN, recorded

NEW = {
    "gateway.health": "ok",
    "gateway.config": "ok",
    "gateway.models": "ok",
    "gateway.generates": "ok",
    "gateway.fields": "skipped",  # no ComfyUI was named
    "gateway.count": "ok",
    "gateway.download": "ok",
    "gateway.private": "ok",
    "gateway.unauthorised": "ok",
    "gateway.forbidden": "skipped",
    "gateway.invalid": "ok",
    "gateway.failure": "skipped",
    "gateway.change": "skipped",
    "gateway.left": "ok",
}
OLD = NEW | {"gateway.models": "skipped", "gateway.private": "warning"}  # by design


def look(url: str, *, old: bool, monkeypatch: pytest.MonkeyPatch) -> Visited:
    monkeypatch.setenv("TOKEN_OF_TEST", TOKEN)
    name, api = ("open-webui-old", OPEN_WEBUI_OLD) if old else ("open-webui", OPEN_WEBUI)
    settings = Settings(gateway=GatewayAccess(url, api, name, "TOKEN_OF_TEST"), deadline_s=10)
    return visited_with(Checking(settings, say=lambda _: None, steady_ns=steady_ns))


@pytest.mark.parametrize(("old", "states"), [(False, NEW), (True, OLD)], ids=["0.12.4", "0.3.35"])
def test_a_recorded_gateway_is_sound(
    old: bool,  # a parameter of the test
    states: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the old one neither its models nor its verify route are asked: they would switch it off."""
    with recorded(old=old) as url:
        found = look(url, old=old, monkeypatch=monkeypatch)
    assert {id_: row.state.value for id_, row in found.rows.items()} == states


@pytest.mark.parametrize(
    ("case", "row", "words"),
    [
        ("silent-execution-error", "gateway.generates", "0 pictures instead of 2"),
        ("silent-model-load-error", "gateway.generates", "0 pictures instead of 2"),
        ("fail-comfyui-down", "gateway.generates", "Something went wrong"),
        ("fail-missing-input", "gateway.generates", "Something went wrong"),
        ("fail-generation-disabled", "gateway.generates", "switched off, or not allowed"),
        ("v0335-silent-execution-error", "gateway.generates", "0 pictures instead of 2"),
        ("v0335-fail-comfyui-down", "gateway.generates", "NoneType"),
        ("v0335-fail-mapping-missing-node", "gateway.generates", "ERROR"),
        ("v0335-silent-view-404", "gateway.download", "its url ends in /None"),
    ],
)
def test_a_recorded_failure_is_told_in_its_row(
    case: str, row: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of the gateway, as no ComfyUI is there to say more; nothing else fails for it."""
    old = case.startswith("v0335")
    with recorded(old=old, case=case) as url:
        found = look(url, old=old, monkeypatch=monkeypatch)
    allowed = {row, "gateway.count"} if case == "v0335-silent-view-404" else {row}
    assert set(found.complaints()) <= allowed
    assert found.state(row) == "failed"
    assert words in found.rows[row].seen
