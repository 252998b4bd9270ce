"""The check of a gateway on virtual ones: sound ones, and each with one mistake."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from comfysoak.check.parts.gateway import generation
from comfysoak.check.settings import Settings
from comfysoak_core.gateway.api import ApiName
from comfysoak_core.gateway.sighting import Whereabouts
from comfysoak_simulator.gateway.gateway import Person
from tests.check.gateways import (
    FORBIDDEN_TOKEN,
    TOKEN,
    USER_TOKEN,
    changed_defaults,
    left_at,
    platform,
    settings_of,
    tokens,
    visited,
)
from tests.check.stand import Stand, served, sound_nodes, sound_workflow

__all__ = ["tokens"]
pytestmark = pytest.mark.usefixtures("tokens")
NEVER = "http://127.0.0.1:9"


def by_design(api: ApiName) -> dict[str, str]:
    """What is never well with old ones: their pictures are public."""
    return {"gateway.private": "warning"} if api == "open-webui-old" else {}


@pytest.mark.parametrize(
    ("api", "skipped"),
    [
        ("open-webui", {"gateway.forbidden", "gateway.change"}),
        ("open-webui-old", {"gateway.models", "gateway.forbidden", "gateway.change"}),
        (
            "openai",
            {
                "gateway.health",
                "gateway.config",
                "gateway.models",
                "gateway.private",
                "gateway.forbidden",
                "gateway.change",
            },
        ),
    ],
)
def test_a_sound_gateway_of_each_kind_is_ok_and_left_as_it_was(api: ApiName, skipped: set[str]) -> None:
    """At most four prompts, and what is skipped says why; nothing of ours is in history, and its files are gone."""
    with platform(api) as stand:
        before = left_at(stand)
        found = visited(stand)
        assert found.complaints() == by_design(api)
        assert {id_ for id_, row in found.rows.items() if row.state == "skipped"} == skipped
        assert found.checking.prompts_sent <= 4
        after = left_at(stand)
        assert (after[0], after[2]) == (before[0], before[2])
        assert after[1] == (0 if api == "open-webui" else 3)  # others have no route to delete them


@pytest.mark.parametrize("api", ["open-webui", "open-webui-old"])
def test_a_configuration_is_changed_and_put_back_where_that_is_allowed(api: ApiName) -> None:
    """403 is seen by switching it off for a moment; within four prompts."""
    with platform(api) as stand:
        before = left_at(stand)
        found = visited(stand, settings_of(stand, may_change_gateway=True))
        assert found.complaints() == by_design(api)
        assert found.state("gateway.change") == "ok"
        assert "20 -> 21" in found.rows["gateway.change"].seen
        if api == "open-webui":
            assert found.rows["gateway.forbidden"].seen.startswith("switched off for a moment: 403")
        assert found.checking.prompts_sent <= 4
        assert left_at(stand)[0] == before[0]


def test_a_user_who_may_not_is_forbidden_and_rows_for_administrators_are_skipped_for_others() -> None:
    """With the token of a user nothing is failed that he may not do; the way to give another is named."""
    with platform() as stand:
        found = visited(
            stand,
            settings_of(stand, token_variable="USER_OF_TEST", forbidden_token_variable="FORBIDDEN_OF_TEST"),
        )
        assert found.complaints() == {}
        assert found.state("gateway.forbidden") == "ok"
        assert "--admin-token-variable" in found.rows["gateway.config"].seen
        assert left_at(stand)[1] == 0


def test_no_gateway_skips_all() -> None:
    """And says how to name one."""
    with served() as stand:
        found = visited(stand, stand.settings())
        assert {row.state for row in found.rows.values()} == {"skipped"}
        assert "--gateway" in found.rows["gateway.health"].seen


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong: made at the gateway, or in how the check is called. The rest of it is sound."""

    row: str
    remedy: str
    make: Callable[[Stand], object] = lambda _: None
    call: Callable[[Stand], Settings] = settings_of
    api: ApiName = "open-webui"
    state: str = "failed"
    code: str | None = None
    also: tuple[str, ...] = ()
    embedded: tuple[tuple[str, Any], ...] = ()


def set_(**changes: Any) -> Callable[[Stand], object]:
    """Set fields of the gateway's settings."""

    def make(stand: Stand) -> None:
        assert stand.gateway is not None
        for name, value in changes.items():
            setattr(stand.gateway.settings, name, value)

    return make


def nodes(*change: dict[str, Any], without: tuple[str, ...] = ()) -> Callable[[Stand], object]:
    """Entries of the mapping changed by type, or left out."""
    by_type = {one["type"]: one for one in change}
    mapped = [one | by_type.get(one["type"], {}) for one in sound_nodes() if one["type"] not in without]
    return lambda stand: changed_defaults(stand, nodes=mapped)


def reshaped(**changes: Any) -> Callable[[Stand], object]:
    """A gateway with another habit."""

    def make(stand: Stand) -> None:
        assert stand.gateway is not None
        stand.gateway._shape = replace(stand.gateway._shape, **changes)

    return make


def behind_slash(stand: Stand) -> None:
    assert stand.gateway is not None
    stand.gateway._upstream.base_url += "/"


def no_pictures(stand: Stand) -> None:
    """Whatever is stored is gone when it is asked for."""
    assert stand.gateway is not None
    stand.gateway._stored = _Losing()


class _Losing(OrderedDict[str, Any]):
    """Storage that loses files."""

    def __setitem__(self, name: str, value: Any) -> None:
        """Nothing is kept."""


def two_outputs(stand: Stand) -> None:
    graph = sound_workflow()
    graph["10"] = {"class_type": "PreviewImage", "inputs": {"images": graph["9"]["inputs"]["images"]}}
    changed_defaults(stand, workflow=json.dumps(graph))


def call(**changes: Any) -> Callable[[Stand], Settings]:
    return lambda stand: settings_of(stand, **changes)


LOST = (("faults", [{"kind": "lose-messages", "type": "executing-null"}]),)
RAISES = (("faults", [{"kind": "node-error", "node": "KSampler"}]),)
MISTAKES = {
    "down": Mistake("gateway.health", "Start|check --gateway", call=call(url=NEVER)),
    "down, without a health route": Mistake("gateway.generates", "Start", call=call(url=NEVER, api="openai")),
    "a wrong token": Mistake("gateway.generates", "--token-variable", set_(token="sk-another-0123456789")),
    "no token": Mistake("gateway.generates", "--token-variable", call=call(token_variable=None)),
    "another api": Mistake("gateway.generates", "--api", call=call(api="openai")),
    "an old one, called new": Mistake(
        "gateway.config", "--api", call=call(api="open-webui"), api="open-webui-old", also=("gateway.generates",)
    ),
    "switched off": Mistake("gateway.config", "ENABLE_IMAGE_GENERATION", set_(enabled=False)),
    "another engine": Mistake("gateway.config", "IMAGE_GENERATION_ENGINE=comfyui", set_(engine="openai")),
    "a slash at the end": Mistake("gateway.generates", "slash", behind_slash),
    "a workflow that is no JSON": Mistake(
        "gateway.generates", r"Export \(API\)", lambda stand: changed_defaults(stand, workflow="{"),
    ),
    "ids as numbers": Mistake(
        "gateway.generates", "ids as strings", nodes({"type": "width", "node_ids": [5]}),
    ),
    "a node that is not there": Mistake(
        "gateway.generates", "Nodes of its workflow are: .*3", nodes({"type": "width", "node_ids": ["77"]}),
    ),
    "a model nobody has": Mistake(
        "gateway.generates", "settings", lambda stand: changed_defaults(stand, model="nobody_has_this.safetensors"),
        code="SUBMIT_ERROR",
    ),
    "a node that raises": Mistake("gateway.generates", ".", code="NODE_ERROR", embedded=RAISES),
    "an end nobody is told of": Mistake(
        "gateway.generates", "deadline", code="GATEWAY_HANG", also=("gateway.left",), embedded=LOST
    ),
    "n is not mapped": Mistake(
        "gateway.fields", '{"type": "n", "key": "batch_size", "node_ids": \\["5"\\]}', nodes(without=("n",)),
        state="warning",
    ),
    "size is not mapped": Mistake(
        "gateway.fields", '"width".*"height"', nodes(without=("width", "height")), state="warning"
    ),
    "a key that is no input": Mistake(
        "gateway.fields", "an input of EmptyLatentImage", nodes({"type": "n", "key": "batchsize"})
    ),
    "width and height are crossed": Mistake(
        "gateway.fields", "type width",
        nodes({"type": "width", "key": "height"}, {"type": "height", "key": "width"}),
    ),
    "the prompt is the negative one": Mistake(
        "gateway.fields", "positive", nodes({"type": "prompt", "node_ids": ["7"]})
    ),
    "the prompt is not mapped": Mistake("gateway.fields", '"type": "prompt"', nodes(without=("prompt",))),
    "pictures are lost": Mistake("gateway.download", "storage", no_pictures, code="OUTPUT_MISSING"),
    "pictures are public": Mistake("gateway.private", "token", reshaped(files_need_token=False)),
    "everybody is let in": Mistake(
        "gateway.unauthorised", "WEBUI_AUTH", set_(token=None), also=("gateway.private",)
    ),
    "a permission too many": Mistake(
        "gateway.forbidden", "permissions", set_(others={FORBIDDEN_TOKEN: Person("user-2")}),
        call(forbidden_token_variable="FORBIDDEN_OF_TEST"),
    ),
    "a forbidden token that nobody knows": Mistake(
        "gateway.forbidden", "valid", set_(others={}), call(forbidden_token_variable="FORBIDDEN_OF_TEST")
    ),
    "settings that cannot be saved": Mistake(
        "gateway.change", "by hand", lambda stand: changed_defaults(stand, size="64"), call(may_change_gateway=True),
        also=("gateway.forbidden",),
    ),
    "two output nodes, each twice": Mistake(
        "gateway.count", "one output node", two_outputs, api="open-webui-old", state="warning",
        also=("gateway.private",),
    ),
    "pictures of a class it does not take": Mistake(
        "gateway.generates", ".", lambda stand: changed_defaults(
            stand,
            workflow=json.dumps(
                sound_workflow()
                | {"9": {"class_type": "SaveAnimatedWEBP", "inputs": {
                    "images": ["8", 0], "filename_prefix": "x", "fps": 6.0, "lossless": True, "quality": 80,
                    "method": "default"}}}
            ),
        ),
        code="GATEWAY_EMPTY",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_in_its_row_and_in_no_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the remedy for it; what cannot be judged because of it is skipped."""
    mistake = MISTAKES[name]
    if mistake.code == "GATEWAY_HANG":
        monkeypatch.setattr(generation, "AFTER_END_S", 0.2)
        monkeypatch.setattr(generation, "_LOOK_EVERY_S", 0.1)
    with platform(mistake.api, **dict(mistake.embedded)) as stand:
        mistake.make(stand)
        before = left_at(stand)
        found = visited(stand, mistake.call(stand))
        assert (left_at(stand)[0], left_at(stand)[2]) == (before[0], before[2])
        shown = {id_: row.seen for id_, row in found.rows.items() if row.remedy}
        assert found.state(mistake.row) == mistake.state, shown
        assert set(found.complaints()) <= {mistake.row, *mistake.also}, shown
        assert re.search(mistake.remedy, found.rows[mistake.row].remedy), found.rows[mistake.row]
        assert mistake.code in {None, found.rows[mistake.row].code}
        assert found.checking.prompts_sent <= 4
        assert not any(secret in str(row) for row in found.rows.values() for secret in (TOKEN, USER_TOKEN))


def test_the_cause_of_a_400_is_named_where_the_configuration_tells_it() -> None:
    """The gateway itself says nothing but that something went wrong."""
    with platform() as stand:
        changed_defaults(stand, model="nobody_has_this.safetensors")
        seen = visited(stand).rows["gateway.generates"].seen
        assert "IMAGE_GENERATION_MODEL is 'nobody_has_this.safetensors', and CheckpointLoaderSimple offers" in seen


def test_a_comfyui_that_is_away_is_not_told_again() -> None:
    """Rows of its own say so: at the gateway nothing is failed for it."""
    with platform() as stand:
        stand.do(stand.server.kill())
        found = visited(stand, answers=False)
        assert found.complaints() == {}
        assert "url.http" in found.rows["gateway.generates"].seen


def test_pictures_of_another_comfyui_are_told_as_that() -> None:
    """The gateway works, and the ComfyUI that was named knows nothing of it."""
    with platform() as stand, served() as other:
        found = visited(stand, base_url=other.url)
        assert set(found.complaints()) == {"gateway.fields"}
        assert "another ComfyUI" in found.rows["gateway.fields"].seen


def test_a_wrong_key_that_the_mapping_rows_tell_is_not_told_twice() -> None:
    """The environment has the same mapping: nodes.keys complains."""
    from comfysoak.check.checking import Checking
    from comfysoak_core.clock import steady_ns
    from comfysoak_core.comfyui.vary import NodeMapping
    from tests.check.gateways import visited_with

    with platform() as stand:
        nodes({"type": "n", "key": "batchsize"})(stand)
        checking = Checking(settings_of(stand), say=lambda _: None, steady_ns=steady_ns)
        checking.known.base_url, checking.known.answers, checking.known.is_sendable = stand.url, True, True
        checking.known.mappings = (NodeMapping("n", "batchsize", ("5",)),)
        found = visited_with(checking)
        assert found.complaints() == {}
        assert found.state("gateway.fields") == "ok"


def test_an_interruption_takes_the_running_prompt_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """ComfyUI stops it, its history has nothing of ours, and the gateway is free."""

    def interrupted(_sent: object, mark: str, behind: Any, *_: object) -> bool:
        while behind.sight(mark).whereabouts is not Whereabouts.RUNS:
            pass
        behind.ours.clear()  # as if it had not been looked for yet
        raise KeyboardInterrupt

    costs = {"KSampler": {"steps": 1000, "seconds_per_step": "10s"}}
    with platform(costs=costs) as stand:
        before = left_at(stand)
        monkeypatch.setattr(generation, "_wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            visited(stand)
        assert left_at(stand) == before
