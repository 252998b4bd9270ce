"""Looking at a gateway: settings with its token, and what earlier parts of the check know by then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from comfysoak.check.checking import Checking
from comfysoak.check.parts import gateway
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS, Part
from comfysoak.check.settings import GatewayAccess, Settings
from comfysoak_core.clock import steady_ns
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.gateway.api import APIS, ApiName
from comfysoak_simulator.gateway.gateway import Person
from tests.check.stand import Stand, served

TOKEN, USER_TOKEN, FORBIDDEN_TOKEN = "sk-of-an-administrator-1", "sk-of-a-user-of-the-test-1", "sk-of-one-who-may-not-1"
VARIABLES = {"ADMIN_OF_TEST": TOKEN, "USER_OF_TEST": USER_TOKEN, "FORBIDDEN_OF_TEST": FORBIDDEN_TOKEN}
IDS = [id_ for id_, kind in KINDS.items() if kind.part is Part.GATEWAY]


@dataclass
class Visited:
    """What was told of a gateway."""

    rows: dict[str, Row]
    checking: Checking

    def complaints(self) -> dict[str, str]:
        """State of those that complain."""
        return {id_: row.state.value for id_, row in self.rows.items() if row.remedy}

    def state(self, id_: str) -> str:
        """Of one row."""
        return self.rows[id_].state.value


@contextmanager
def platform(api: ApiName = "open-webui", **embedded: Any) -> Iterator[Stand]:
    """A gateway that asks for a token, with a user who may make pictures and one who may not, before a ComfyUI."""
    with served(gateway=api, **embedded) as stand:
        assert stand.gateway is not None
        stand.gateway.settings.token = TOKEN
        stand.gateway.settings.others = {
            USER_TOKEN: Person("user-1"),
            FORBIDDEN_TOKEN: Person("user-2", may_make_pictures=False),
        }
        yield stand


def settings_of(stand: Stand, *, api: str | None = None, **changes: Any) -> Settings:
    """Of a check of it as an administrator; `token_variable=None` and the like replace fields of the access."""
    assert stand.gateway is not None
    name = api or stand.api
    access = {key: changes.pop(key) for key in list(changes) if key.endswith("token_variable") or key == "url"}
    fields = {"url": stand.gateway.url, "token_variable": "ADMIN_OF_TEST"} | access
    chosen = GatewayAccess(api=APIS[name], api_name=name, **fields)  # type: ignore[index]  # a name of APIS
    return stand.settings(**({"gateway": chosen} | changes))


def visited(stand: Stand, settings: Settings | None = None, *, answers: bool = True, base_url: str = "") -> Visited:
    """The rows of the gateway, as if the parts before had found all well."""
    checking = Checking(settings or settings_of(stand), say=lambda _: None, steady_ns=steady_ns)
    known = checking.known
    known.base_url, known.answers = base_url or stand.url, answers
    if checking.settings.workflow is not None:
        known.workflow = Workflow.from_text(checking.settings.workflow.value)
    known.is_sendable = True
    return visited_with(checking)


def visited_with(checking: Checking) -> Visited:
    """The rows of the gateway; each once, in order."""
    told = list(gateway.look(checking))
    assert [row.kind.id for row in told] == IDS
    return Visited({row.kind.id: row for row in told}, checking)


def left_at(stand: Stand) -> tuple[Any, int, int]:
    """What a visit must leave as it was: the configuration, the gateway's pictures, and ComfyUI's prompts."""
    assert stand.gateway is not None
    one = stand.gateway
    document = one._shape.configuration(one.settings, one._upstream.base_url)
    with ComfyClient(stand.url) as client:
        prompts = len(client.history_page(1000)) + client.queue_remaining()
    return json.loads(json.dumps(document)), len(one._stored), prompts


def changed_defaults(stand: Stand, **changes: Any) -> None:
    """Set what the gateway writes into its workflow, or the workflow itself."""
    assert stand.gateway is not None
    stand.gateway.settings.defaults = replace(stand.gateway.settings.defaults, **changes)


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The variables that hold the tokens; a state folder of the test's own."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
