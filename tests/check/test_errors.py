"""Failures that are provoked: what is told of a ComfyUI alone, and of gateways before it; nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from comfysoak.check.checking import Checking
from comfysoak.check.parts import errors
from comfysoak.check.parts.errors import at_comfyui, at_gateway, between
from comfysoak.check.parts.gateway.door import Door
from comfysoak.check.parts.gateway.owed import path_of
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS, Part
from comfysoak_core.clock import steady_ns
from comfysoak_core.comfyui.answers import Accepted
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.transport import Answer
from comfysoak_core.gateway.api import ApiName
from tests.check.careful_gateway import CarefulUpstream
from tests.check.gateways import left_at, platform, settings_of, tokens, visited
from tests.check.stand import Looked, Stand, look, served

__all__ = ["tokens"]
pytestmark = pytest.mark.usefixtures("tokens", "hurried")
IDS = [id_ for id_, kind in KINDS.items() if kind.part is Part.ERRORS]
# What Open WebUI does, as it was seen with a real one: told soon where it is told, without a cause; waits without end.
OF_OPEN_WEBUI = dict.fromkeys(IDS, "ok") | {
    "errors.frozen": "failed",
    "errors.cut": "warning",
    "errors.lost_end": "failed",
    "errors.node": "failed",
    "errors.memory": "failed",
    "errors.gives_up": "warning",
    "errors.words": "warning",
}
HELD = """
import sys
from comfysoak.check.checking import Checking
from comfysoak.check.ending import Interrupted, signals_raised
from comfysoak.check.parts import errors
from comfysoak.check.settings import GatewayAccess, Settings
from comfysoak_core.clock import steady_ns
from comfysoak_core.gateway.api import OPEN_WEBUI
from contextlib import closing
access = GatewayAccess(sys.argv[1], OPEN_WEBUI, "open-webui", "ADMIN_OF_TEST")
say = lambda words: print(words, flush=True)
checking = Checking(Settings(gateway=access, provoke_errors=True), say, steady_ns)
checking.known.base_url, checking.known.answers = sys.argv[2], True
try:
    with signals_raised(), closing(errors.look(checking)) as rows:
        list(rows)
except Interrupted:
    pass
"""


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person waits for is short."""
    monkeypatch.setattr(at_comfyui, "FROZEN_S", 0.3)
    monkeypatch.setattr(at_gateway, "_REACTS_S", 0.2)


def states(rows: Mapping[str, Row]) -> dict[str, str]:
    """Of the rows of this part."""
    return {id_: rows[id_].state.value for id_ in IDS}


def provoked(stand: Stand, **changes: Any) -> Looked:
    """The rows, after those that learn what they need."""
    changes = {"provoke_errors": True, "deadline_s": 1.5} | changes
    settings = stand.settings(**changes) if stand.gateway is None else settings_of(stand, **changes)
    return look(settings, Part.CONFIGURATION, Part.ERRORS)


def told(settings: Any, base_url: str, *, answers: bool = True) -> dict[str, Row]:
    """The rows, with no part before them."""
    checking = Checking(settings, lambda _: None, steady_ns)
    checking.known.base_url, checking.known.answers = base_url, answers
    rows = list(errors.look(checking))
    assert [row.kind.id for row in rows] == IDS
    return {row.kind.id: row for row in rows}


def test_a_sound_comfyui_tells_every_failure_and_is_left_as_it_was(stand: Stand) -> None:
    """Both versions: only the mapping, which is a gateway's, is skipped."""
    with ComfyClient(stand.url) as client:
        before = (client.queue_remaining(), len(client.history_page(1000)))
        found = provoked(stand, deadline_s=5.0)
        assert (client.queue_remaining(), len(client.history_page(1000))) == before
    assert states(found.rows) == dict.fromkeys(IDS, "ok") | {"errors.mapping": "skipped"}
    rows = found.rows
    assert "refuses connections" in rows["errors.unreachable"].seen
    assert "502" in rows["errors.refused"].seen
    assert "1006" in rows["errors.cut"].seen
    assert "Required input is missing: images" in rows["errors.workflow"].seen
    assert "re.error" in rows["errors.node"].seen
    assert "can't allocate memory" in rows["errors.memory"].seen
    assert "ComfySoakNodeThatNobodyHas" in rows["errors.unknown_node"].seen
    assert found.checking.prompts_sent == 10


@pytest.mark.parametrize("api", ["open-webui", "open-webui-old"])
def test_what_users_of_an_open_webui_see_is_told_and_everything_put_back(api: ApiName) -> None:
    """It hangs, gives empty lists and names no cause: each is told once, with what to do; nothing of ours is left."""
    with platform(api) as stand:
        before = left_at(stand)
        found = provoked(stand)
        after = left_at(stand)
    assert states(found.rows) == OF_OPEN_WEBUI
    assert after[0] == before[0]
    assert after[2] == before[2]
    stay = re.search(r"(\d+) pictures? of clients that had gone", found.rows["errors.clean"].seen)
    if api == "open-webui":  # it can delete the others
        assert after[1] - before[1] == (int(stay[1]) if stay else 0)
    codes = {id_: row.code for id_, row in found.rows.items() if row.kind.part is Part.ERRORS and row.code}
    assert codes == {
        "errors.frozen": "GATEWAY_HANG",
        "errors.cut": "LOST_TERMINAL",
        "errors.lost_end": "GATEWAY_HANG",
        "errors.node": "GATEWAY_EMPTY",
        "errors.memory": "GATEWAY_EMPTY",
        "errors.gives_up": "GAVE_UP",
    }
    assert "re.error" in found.rows["errors.node"].seen
    assert "its health route said that all is well" in found.rows["errors.frozen"].seen


def test_a_gateway_that_does_as_the_remedies_say_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is complained of; it answers before a client of ours gives up."""
    monkeypatch.setattr("comfysoak_simulator.gateway.gateway.Upstream", CarefulUpstream)
    monkeypatch.setattr(at_gateway, "RUNS_ON_S", 0.2)
    with platform() as stand:
        found = provoked(stand, deadline_s=4.0)
    assert states(found.rows) == dict.fromkeys(IDS, "ok") | {"errors.gives_up": "skipped"}
    assert "504" in found.rows["errors.frozen"].seen
    assert "200 with 1 picture" in found.rows["errors.cut"].seen
    assert "200 with 1 picture" in found.rows["errors.lost_end"].seen


def test_an_api_without_a_configuration_leaves_comfyui_itself_to_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says why."""
    asked: list[str] = []

    def rows(_checking: Checking, why: str) -> Iterator[Row]:
        asked.append(why)
        return iter(())

    monkeypatch.setattr(errors, "rows_of_comfyui", rows)
    with platform("openai") as stand:
        look_at = Checking(settings_of(stand, provoke_errors=True), lambda _: None, steady_ns)
        look_at.known.base_url, look_at.known.answers = stand.url, True
        assert list(errors.look(look_at)) == []
    assert asked == ["this API (openai) has no route to its configuration, so no proxy can be put behind it"]


def test_a_server_that_is_busy_with_others_is_not_blamed() -> None:
    """Rows that take a run are skipped; what is refused at once is told; nobody else's prompt is touched."""
    sleep: dict[str, Any] = {
        "1": {"class_type": "HarnessSleep", "inputs": {"seconds": 60.0}},
        "2": {"class_type": "PreviewAny"},
    }
    sleep["2"]["inputs"] = {"source": ["1", 0]}
    with served(speed=1) as stand, ComfyClient(stand.url) as client:
        theirs = client.post_prompt(json.dumps({"prompt": sleep}).encode())
        assert isinstance(theirs, Accepted)
        found = provoked(stand, deadline_s=0.3)
        assert client.queue().running == (theirs.prompt_id,)
        assert client.queue().pending == ()
    busy = {"refused", "cut", "lost_end", "node", "memory", "gives_up", "serves", "mapping"}
    assert states(found.rows) == dict.fromkeys(IDS, "ok") | {f"errors.{name}": "skipped" for name in busy}


def test_nothing_is_provoked_unasked_or_without_a_comfyui() -> None:
    """Every row says which it was."""
    with platform() as stand:
        unasked = told(settings_of(stand), stand.url)
        assert {row.seen for row in unasked.values()} == {"not asked for: comfysoak check --errors"}
        away = told(settings_of(stand, provoke_errors=True), stand.url, answers=False)
        assert all(row.state == "skipped" and "url.http" in row.seen for row in away.values())


def test_a_user_may_not_point_the_gateway_elsewhere() -> None:
    """Skipped, with the variable that would hold an administrator's token."""
    with platform() as stand:
        before = left_at(stand)
        found = told(settings_of(stand, provoke_errors=True, token_variable=None), stand.url)
        assert all(row.state == "skipped" for row in found.values())
        assert all("COMFYSOAK_GATEWAY_ADMIN_TOKEN" in row.seen for row in found.values())
        assert left_at(stand) == before


def test_a_gateway_that_does_not_reach_our_proxy_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one in a container, asked by its port on this machine: told how to do it."""
    with platform() as stand:
        before, ask = left_at(stand), Door.ask

        def asked(door: Door, who: Any, method: str, path: str, document: object = None) -> Any:
            if path.endswith("/verify"):
                return Answer(400, "application/json", b'{"detail": "no"}')
            return ask(door, who, method, path, document)

        monkeypatch.setattr(Door, "ask", asked)
        found = told(settings_of(stand, provoke_errors=True), stand.url)
        assert all(row.state == "skipped" for row in found.values())
        assert all("does not reach our proxy at 127.0.0.1" in row.seen for row in found.values())
        assert all("run the check where" in row.seen for row in found.values())
        assert left_at(stand) == before


def test_a_loopback_address_is_named_where_the_gateway_lives_elsewhere() -> None:
    """It asks ComfyUI by a name of its own network."""
    assert "in a container is the container itself" in between.out_of_reach("127.0.0.1", "http://comfyui:8188")
    assert "container itself" not in between.out_of_reach("10.0.0.5", "http://comfyui:8188")


def test_a_gateway_that_makes_no_picture_is_not_judged() -> None:
    """Its own row says why; the failures would tell nothing."""
    with platform() as stand:
        assert stand.gateway is not None
        stand.gateway.settings.defaults = stand.gateway.settings.defaults.__class__(
            **{**stand.gateway.settings.defaults.__dict__, "model": "is-not-there.safetensors"}
        )
        before = left_at(stand)
        found = told(settings_of(stand, provoke_errors=True, deadline_s=5.0), stand.url)
        assert all(row.state == "skipped" and "see gateway.generates" in row.seen for row in found.values())
        assert left_at(stand)[0] == before[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_gateway_asks_its_comfyui_again_however_the_check_ends(number: signal.Signals) -> None:
    """In the midst of a failure: put back at once, or by the next check where it was killed."""
    with platform() as stand:
        assert stand.gateway is not None
        before = left_at(stand)
        command = [sys.executable, "-c", HELD, stand.gateway.url, stand.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert any("answered nothing" in line for line in process.stdout)  # it waits for a frozen one
            assert "comfysoak-check-" in left_at(stand)[0]["COMFYUI_BASE_URL"]
            process.send_signal(number)
            process.wait(20)
        path = path_of(stand.gateway.url, os.environ)
        assert path.exists() == (number is signal.SIGKILL)
        if number is signal.SIGKILL:
            assert "COMFYUI_BASE_URL" in visited(stand).rows["gateway.config"].seen
            assert not path.exists()
        assert left_at(stand)[0] == before[0]


def test_a_check_that_is_closed_half_way_puts_back_what_it_changed() -> None:
    """As when whoever takes the rows ends."""
    with platform() as stand:
        before = left_at(stand)
        checking = Checking(settings_of(stand, provoke_errors=True, deadline_s=1.0), lambda _: None, steady_ns)
        checking.known.base_url, checking.known.answers = stand.url, True
        rows = errors.look(checking)
        assert next(rows).kind.id == "errors.unreachable"
        assert left_at(stand)[0] != before[0]
        rows.close()  # type: ignore[attr-defined]  # it is a generator
        latest_s = time.monotonic() + 5
        while left_at(stand) != before and time.monotonic() < latest_s:
            time.sleep(0.05)
        assert left_at(stand) == before
