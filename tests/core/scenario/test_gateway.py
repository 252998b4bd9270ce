"""A scenario that goes through a gateway: what can be written, and what each mistake is told as."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfysoak_core.errors import ScenarioError
from comfysoak_core.gateway.api import OPEN_WEBUI, OPENAI, Api
from comfysoak_core.gateway.prompts import Images
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.read import read_scenario
from comfysoak_core.scenario.resolve import resolve

TARGET = "target: {gateway: {url: http://platform:8080/, token_variable: PLATFORM_TOKEN}}"
WORKLOAD = "workload: [{prompt: [a cat], size: 512x768, n: 2}]"
LOAD = "load: [{users: 1, for: 1m}]"


def plan_of(folder: Path, *lines: str) -> Plan:
    path = folder / "platform.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return resolve(*read_scenario(path))


def test_a_gateway_is_an_address_a_shape_and_a_variable(tmp_path: Path) -> None:
    """The plan holds no secret, and says what is asked for; it is read again as it was written."""
    plan = plan_of(tmp_path, TARGET, WORKLOAD, LOAD)
    assert plan.gateway is not None
    assert (plan.gateway.url, plan.gateway.api, plan.gateway.token_variable) == (
        "http://platform:8080", OPEN_WEBUI, "PLATFORM_TOKEN"
    )  # fmt: skip
    assert (plan.address, plan.servers, plan.token_variable) == ("http://platform:8080", (), None)
    (workload,) = plan.workloads
    assert (workload.name, workload.images) == ("images", Images(("a cat",), n=2, size=(512, 768)))
    assert Plan.model_validate(plan.model_dump(mode="json")) == plan


def test_prompts_come_from_a_file_and_addresses_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workload is called as its file is; the ComfyUI behind is watched as any other server."""
    monkeypatch.setenv("PLATFORM_URL", "http://platform:8080/")
    monkeypatch.setenv("COMFYUI_BASE_URL", "http://gpu-1:8188")
    (tmp_path / "people.txt").write_text("a cat\n# no prompt\n\na dog {number}\n", encoding="utf-8")
    target = "target: {gateway: {url: $PLATFORM_URL, api: openai, comfyui: $COMFYUI_BASE_URL}}"
    plan = plan_of(tmp_path, target, "workload: [{prompt: people.txt}]", LOAD, "sessions: {watchers: 2}")
    assert plan.gateway is not None
    assert (plan.gateway.url, plan.gateway.api, plan.servers) == (
        "http://platform:8080",
        OPENAI,
        ("http://gpu-1:8188",),
    )
    assert plan.workloads[0].name == "people"
    assert plan.workloads[0].images == Images(("a cat", "a dog {number}"))


def test_a_shape_of_ones_own_names_its_fields(tmp_path: Path) -> None:
    """What is not named is not sent; the header says how the token is."""
    api = (
        '{path: /generate, prompt: text, size: [w, h], n: count, header: "X-Api-Key: {token}", pictures: "data[].url"}'
    )
    plan = plan_of(tmp_path, f"target: {{gateway: {{url: http://platform, api: {api}}}}}", WORKLOAD, LOAD)
    assert plan.gateway is not None
    assert plan.gateway.api == Api(
        "/generate", "data[].url", prompt="text", size=("w", "h"), n="count", model=None, header="X-Api-Key", scheme=""
    )


def test_an_embedded_gateway_is_known_when_it_has_started(tmp_path: Path) -> None:
    """Until then it has no address; its workflow and mapping are read in."""
    (tmp_path / "w.json").write_text('{"1": {"class_type": "EmptyImage", "inputs": {}}}', encoding="utf-8")
    target = "target: {embedded: {gateway: {api: openai, workflow: w.json, nodes: []}}}"
    plan = plan_of(tmp_path, target, WORKLOAD, LOAD)
    assert plan.gateway is not None
    assert (plan.gateway.url, plan.gateway.api) == ("", OPENAI)
    assert plan.embedded is not None
    assert plan.embedded.gateway is not None
    assert plan.embedded.gateway.workflow == {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((TARGET, "workload: [{workflow: w.json}]", LOAD), "a gateway is sent prompts"),
        (("target: {comfyui: http://gpu-1:8188}", WORKLOAD, LOAD), "a ComfyUI is sent workflows"),
        ((TARGET, "workload: [{prompt: [x], vary: {seed: random}}]", LOAD), "'vary' does not go with prompt"),
        ((TARGET, "workload: [{weight: 2}]", LOAD), "expected one of `workflow: sdxl.json`"),
        ((TARGET, "workload: [{prompt: nowhere.txt}]", LOAD), "nowhere.txt cannot be read"),
        ((TARGET, "workload: [{prompt: [x], size: large}]", LOAD), "expected a size such as 512x768"),
        ((TARGET, WORKLOAD, "load: [{users: 1, for: 1m, settle: 30s}]"), "settle needs the ComfyUI behind"),
        ((TARGET, WORKLOAD, "load: [{cold_start: wait, for: 1m}]"), "cold_start is for ComfyUI itself"),
        ((TARGET, "workload: [{prompt: [x], fetch: [images]}]", LOAD), "of a gateway all is fetched"),
        ((TARGET, WORKLOAD, LOAD, "sessions: {watchers: 2}"), "sessions are held with the ComfyUI"),
        (("target: {gateway: {url: http://u:p@platform}}", WORKLOAD, LOAD), "user name or password"),
        (("target: {gateway: {url: http://platform, api: midjourney}}", WORKLOAD, LOAD), "open-webui"),
        (("target: {gateway: {url: http://platform, email_variable: E}}", WORKLOAD, LOAD), "both email_variable"),
        (
            ("target: {gateway: {url: http://p, api: {path: /x, header: nonsense}}}", WORKLOAD, LOAD),
            "expected a header such as",
        ),
        (("target: {token_variable: T, gateway: {url: http://p}}", WORKLOAD, LOAD), "token_variable under gateway"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_words(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    """What was expected, with an example."""
    with pytest.raises(ScenarioError) as error:
        plan_of(tmp_path, *lines)
    assert words in str(error.value)
