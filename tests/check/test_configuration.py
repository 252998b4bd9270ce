"""Configuration: a sound set-up is ok in every row, and each mistake is told by the row it belongs to."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from comfysoak.check.parts.configuration import variables
from comfysoak.check.parts.configuration.stored import Asked, stored_row
from comfysoak.check.parts.configuration.workflow import read_json
from comfysoak.check.parts.gateway.layout import Configuration
from comfysoak.check.rows import Part
from comfysoak.check.settings import THE_ENVIRONMENT, Given, Settings
from comfysoak_core.comfyui.reaching import Place, Trouble, connected, identified, place_of
from tests.check.stand import Stand, look, sound_nodes, sound_workflow

Graph = dict[str, Any]
Nodes = list[dict[str, Any]]


def found(stand: Stand, settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """Rows that complain, with their remedies; and all states."""
    looked = look(settings, Part.CONFIGURATION)
    remedies = {id_: row.remedy for id_, row in looked.rows.items() if row.state in {"failed", "warning"}}
    return remedies, looked.states()


def given(stand: Stand, workflow: Any = None, nodes: Any = None) -> Settings:
    """Sound settings with another workflow, or another mapping."""
    settings = stand.settings()
    if workflow is not None:
        text = workflow if isinstance(workflow, str) else json.dumps(workflow)
        settings = replace(settings, workflow=Given(text, ".env:1"))
    if nodes is not None:
        text = nodes if isinstance(nodes, str) else json.dumps(nodes)
        settings = replace(settings, nodes=Given(text, ".env:2"))
    return settings


def test_a_sound_set_up_is_ok(stand: Stand) -> None:
    """No row complains, and what other parts need is known."""
    looked = look(stand.settings(), Part.CONFIGURATION)
    assert looked.complaints() == {}
    known = looked.checking.known
    assert (known.answers, known.has_socket, known.is_sendable) == (True, True, True)
    assert known.version in {"0.3.64", "0.33.0"}
    assert set(known.object_info) == {node["class_type"] for node in sound_workflow().values()}
    assert {mapping.type for mapping in known.mappings or ()} >= {"prompt", "seed"}
    assert looked.checking.prompts_sent == 0


def changed(change: Callable[[Graph], object]) -> Graph:
    graph = sound_workflow()
    change(graph)
    return graph


WORKFLOWS: list[tuple[str, Any, str, str]] = [
    ("a path", "/srv/w.json", "workflow.json", "jq -c . /srv/w.json"),
    ("cut off", json.dumps(sound_workflow())[:-9], "workflow.json", "single quotes"),
    ("quotes", f"'{json.dumps(sound_workflow())}'", "workflow.json", "quotes around it"),
    ("twice", json.dumps(json.dumps(sound_workflow())), "workflow.json", "encode it once"),
    ("editor", {"nodes": [], "links": []}, "workflow.format", "Export (API)"),
    ("body", {"prompt": sound_workflow()}, "workflow.format", "under `prompt`"),
    ("empty", {}, "workflow.format", "Export (API)"),
    ("no inputs", changed(lambda g: g.update({"77": {"class_type": "EmptyImage"}})), "workflow.format", "node 77"),
    ("class", changed(lambda g: g["8"].update(class_type="VaeDecode")), "workflow.classes", "VAEDecode"),
    ("missing", changed(lambda g: g["3"]["inputs"].pop("cfg")), "workflow.inputs", '"cfg": 8.0'),
    ("renamed", changed(lambda g: g["3"]["inputs"].update(cfgs=g["3"]["inputs"].pop("cfg"))), "workflow.inputs",
     'Rename its input "cfgs"'),
    ("no such node", changed(lambda g: g["3"]["inputs"].update(model=["55", 0])), "workflow.links", "place of 55"),
    ("no such output", changed(lambda g: g["8"]["inputs"].update(vae=["4", 7])), "workflow.links", "2 VAE"),
    ("wrong type", changed(lambda g: g["8"]["inputs"].update(vae=["4", 0])), "workflow.links", "Its output 2"),
    ("circle", changed(lambda g: g["3"]["inputs"].update(latent_image=["3", 0])), "workflow.links", "circle"),
    ("range", changed(lambda g: g["3"]["inputs"].update(steps=10**6)), "workflow.values", "from 1 to 10000"),
    ("list", changed(lambda g: g["3"]["inputs"].update(sampler_name="eulr")), "workflow.values", "euler"),
    ("no output", changed(lambda g: g.pop("9")), "workflow.output", "SaveImage"),
    ("one of two", changed(lambda g: g.update({"10": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}})),
     "workflow.inputs", "images"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "workflow", "row", "remedy"), WORKFLOWS, ids=[one[0] for one in WORKFLOWS])
def test_a_mistake_in_the_workflow(stand: Stand, name: str, workflow: Any, row: str, remedy: str) -> None:
    """It is told by its row alone, with what to do."""
    remedies, _ = found(stand, given(stand, workflow=workflow))
    assert list(remedies) == [row]
    assert remedy in remedies[row]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ('{"1": {"class_type": "EmptyImage", "inputs": {"width": NaN}}}', "workflow.json"),
        ('{"1": {"class_type": "EmptyImage", "inputs": {"width": 1' + 400 * "0" + "}}}", "workflow.format"),
        ('{"1": {"class_type": "EmptyImage", "inputs": {"width": "\\ud800"}}}', "workflow.format"),
        ('{"1": {"class_type": "SaveImage", "inputs": {"images": ["1", 1e999]}}}', "workflow.links"),
    ],
)
def test_a_workflow_that_no_json_can_hold(platform: Stand, text: str, row: str) -> None:
    """What Python reads and others do not is told, and breaks nothing."""
    settings = replace(platform.settings(), workflow=Given(text, ".env:1"), nodes=None, variables={}, gateway=None)
    assert row in look(settings, Part.CONFIGURATION).complaints()


def entry(kind: str, *drop: str, **changes: Any) -> Nodes:
    nodes = sound_nodes()
    one = next(node for node in nodes if node["type"] == kind)
    one.update(changes)
    for name in drop:
        one.pop(name)
    return nodes


def added(**item: Any) -> Nodes:
    return [*sound_nodes(), item]


MAPPINGS: list[tuple[str, Any, str, str]] = [
    ("no JSON", "prompt:6", "nodes.form", "Write JSON"),
    ("an object", {"prompt": "6"}, "nodes.form", "list"),
    ("unknown type", added(type="sampler", key="cfg", node_ids=["3"]), "nodes.form", "Types are"),
    ("no type", added(key="cfg", node_ids=["3"], value="7"), "nodes.form", '"type"'),
    ("a number", added(type="", key="cfg", node_ids=["3"], value=7), "nodes.form", '"value": "7"'),
    ("an image", added(type="image", key="image", node_ids=[]), "nodes.form", "IMAGES_EDIT"),
    ("ids", entry("prompt", node_ids=[6]), "nodes.ids", '"6"'),
    ("no list", entry("prompt", node_ids="6"), "nodes.ids", 'strings: "node_ids": ["6"]'),
    ("null", entry("prompt", node_ids=None), "nodes.ids", "list of strings"),
    ("no node", entry("prompt", node_ids=["66"]), "nodes.ids", "node 6"),
    ("no key", entry("width", "key"), "nodes.keys", '"key": "width"'),
    ("wrong key", entry("seed", key="noise_seed"), "nodes.keys", '"key": "seed"'),
    ("wrong kind", entry("prompt", key="clip"), "nodes.keys", '"key": "text"'),
    ("crossed", entry("width", key="height"), "nodes.keys", '"key": "width"'),
    ("a link", entry("prompt", key="images", node_ids=["9"]), "nodes.keys", '"key": "filename_prefix"'),
    ("nothing", entry("prompt", node_ids=[]), "nodes.prompt", "node_ids"),
    ("negative", entry("prompt", node_ids=["7"]), "nodes.prompt", '"node_ids": ["6"]'),
    ("no seed", entry("seed", node_ids=[]), "nodes.seed", '"node_ids": ["3"]'),
    ("null is own", entry("width", key=None), "", ""),
]


@pytest.mark.parametrize(("name", "nodes", "row", "remedy"), MAPPINGS, ids=[one[0] for one in MAPPINGS])
def test_a_mistake_in_the_mapping(stand: Stand, name: str, nodes: Any, row: str, remedy: str) -> None:
    """It is told by its row alone, with what to do."""
    remedies, _ = found(stand, given(stand, nodes=nodes))
    assert list(remedies) == [row][: len(row)]
    assert not row or remedy in remedies[row]


def test_a_seed_that_is_larger_than_its_input_takes(stand: Stand) -> None:
    """The share of requests that are refused is told."""
    graph = changed(lambda g: g.update({"1": {"class_type": "EmptyImage", "inputs": {
        "width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}}))  # fmt: skip
    nodes = entry("seed", key="color", node_ids=["1"])
    looked = look(given(stand, workflow=graph, nodes=nodes), Part.CONFIGURATION)
    assert list(looked.complaints()) == ["nodes.seed"]
    assert "at most 16777215: 100 % of all requests" in looked.complaints()["nodes.seed"]


ADDRESSES: list[tuple[Callable[[str], str], str, str]] = [
    (lambda url: f"{url}/", "url.form", "without the slash"),
    (lambda url: f"{url}/prompt", "url.form", "without that path"),
    (lambda url: f'"{url}"', "url.form", "quotes"),
    (lambda url: f"{url} ", "url.form", "without spaces"),
    (lambda url: url.removeprefix("http://"), "url.form", "Write http://"),
    (lambda url: url.replace("http", "ws"), "url.form", "Write http://"),
    (lambda url: url.replace("//", "//me:hunter2swordfish@"), "url.form", "COMFYUI_API_KEY"),
    (lambda url: url.replace("http", "https"), "url.http", "http:// in place of https://"),
    (lambda _: "http://comfyui:8188", "url.name", "docker compose ps comfyui"),
    (lambda _: "http://host.docker.internal:8188", "url.name", "extra_hosts"),
    (lambda _: "http://127.0.0.1:9", "url.tcp", "Start the server"),
]


@pytest.mark.parametrize(("change", "row", "remedy"), ADDRESSES)
def test_a_mistake_in_the_address(
    platform: Stand, change: Callable[[str], str], row: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name, port, HTTP and WebSocket are told apart, and what hangs on them is skipped; a password is not told."""
    settings = replace(platform.settings(), base_url=Given(change(platform.url), ".env:1"), gateway=None)
    looked = look(settings, Part.CONFIGURATION)
    complaints = looked.complaints()
    assert list(complaints) == [row]
    assert remedy in looked.rows[row].remedy
    assert "hunter2" not in repr(looked.rows)
    assert looked.rows["nodes.prompt"].state == "ok"  # needs no server


def _set(**values: str) -> Settings:
    return Settings(variables={name: Given(value, ".env:1") for name, value in values.items()})


@pytest.mark.parametrize(
    ("name", "right"),
    [("COMFYUI_URL", "COMFYUI_BASE_URL"), ("COMFYUI_BASEURL", "COMFYUI_BASE_URL"),
     ("COMFY_UI_BASE_URL", "COMFYUI_BASE_URL"), ("comfyui_base_url", "COMFYUI_BASE_URL"),
     ("CONFYUI_BASE_URL", "COMFYUI_BASE_URL"), ("COMFYUI_WORKFLOW_NODE", "COMFYUI_WORKFLOW_NODES"),
     ("COMFYUI_WORKFLOW_JSON", "COMFYUI_WORKFLOW"), ("COMFYUI_PORT", None), ("COMFYUI_WORKFLOW", None)],
)  # fmt: skip
def test_near_misses_of_variables(name: str, right: str | None) -> None:
    """What was meant is told; a variable of somebody else's is left alone."""
    assert variables.meant(name) == right
    row = variables.are_known(_set(**{name: "x"}), None, None)
    assert (row.state == "warning") is (right is not None)


def test_variables_that_a_version_ignores() -> None:
    """The mapping is read from 0.6.41 on, unless an administrator has stored the same one by hand."""
    settings = _set(COMFYUI_WORKFLOW_NODES="[]", COMFYUI_FLUX_WEIGHT_DTYPE="fp8")
    row = variables.are_known(settings, "0.3.35", None)
    assert "COMFYUI_WORKFLOW_NODES (.env:1) is ignored by the gateway's version 0.3.35" in row.seen
    assert "COMFYUI_FLUX_WEIGHT_DTYPE: no longer read" in row.seen
    settings = _set(COMFYUI_WORKFLOW_NODES="[]")
    assert variables.are_known(settings, "0.12.4", None).state == "ok"
    stored = Configuration.of({"comfyui": {"COMFYUI_WORKFLOW_NODES": []}})
    assert variables.are_known(settings, "0.3.35", stored).state == "ok"


@pytest.mark.parametrize(
    ("name", "value", "state"),
    [("ENABLE_IMAGE_GENERATION", "True", "ok"), ("ENABLE_IMAGE_GENERATION", "1", "failed"),
     ("IMAGE_GENERATION_ENGINE", "comfyui", "ok"), ("IMAGE_GENERATION_ENGINE", "ComfyUI", "failed"),
     ("IMAGE_SIZE", "512x512", "ok"), ("IMAGE_SIZE", "512", "failed"), ("IMAGE_STEPS", "20", "ok"),
     ("IMAGE_STEPS", "many", "failed"), ("AIOHTTP_CLIENT_TIMEOUT", "5m", "warning"),
     ("AIOHTTP_POOL_CONNECTIONS_PER_HOST", "4", "warning"), ("AIOHTTP_POOL_CONNECTIONS_PER_HOST", "0", "ok")],
)  # fmt: skip
def test_values_the_gateway_cannot_read(name: str, value: str, state: str) -> None:
    """What would switch it off, break it, or make it wait for ever."""
    assert variables.are_readable(_set(**{name: value})).state == state


@pytest.mark.parametrize(
    ("source", "exceptions", "state"),
    [(".env:2", "", "warning"), (".env:2", "localhost,comfyui", "skipped"), (THE_ENVIRONMENT, "", "skipped")],
)
def test_a_proxy_in_the_env_file_of_the_platform(source: str, exceptions: str, state: str) -> None:
    """The gateway would ask ComfyUI through it, unless the host is excepted; one of our own says nothing."""
    base_url = Given("http://comfyui:8188", ".env:1")
    named = {"HTTP_PROXY": Given("http://proxy:3128", source), "NO_PROXY": Given(exceptions, ".env:3")}
    assert variables.are_readable(Settings(variables=named, base_url=base_url)).state == state


def test_what_the_gateway_has_stored() -> None:
    """Each value that differs is told, and how to change it; equal JSON is equal however it is written."""
    stored = Configuration.of({"COMFYUI_BASE_URL": "http://a:1", "COMFYUI_WORKFLOW": '{"1": {}}', "IMAGE_STEPS": 4})
    asked = Asked("0.12.4", stored, "")
    same = _set(COMFYUI_BASE_URL="http://a:1/", COMFYUI_WORKFLOW='{ "1":{} }', IMAGE_STEPS="4")
    assert stored_row(same, asked).state == "ok"
    row = stored_row(_set(COMFYUI_BASE_URL="http://b:1", COMFYUI_WORKFLOW='{"2": {}}'), asked)
    assert "node 2, 1 of 1" in row.seen
    assert "'http://b:1' (.env:1), and 'http://a:1' in the gateway" in row.seen
    assert "ENABLE_PERSISTENT_CONFIG=false" in row.remedy
    row = stored_row(_set(COMFYUI_BASE_URL="http://b:1", ENABLE_PERSISTENT_CONFIG="false"), asked)
    assert row.remedy.startswith("Start the gateway again")
    assert stored_row(same, Asked(None, None, "why")).seen == "why"


def test_a_gateways_own_configuration_stands_in_for_what_is_not_set(
    platform: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Base URL, workflow and mapping are taken from it, and judged like any others."""
    settings = platform.settings()
    assert settings.gateway is not None
    monkeypatch.setenv("PLATFORM_TOKEN", "sk-nobodys-0123456789")
    gateway = replace(settings.gateway, token_variable="PLATFORM_TOKEN")
    looked = look(Settings(gateway=gateway), Part.CONFIGURATION)
    assert looked.complaints() == {}
    assert looked.checking.known.base_url == platform.url
    assert looked.checking.known.is_sendable
    assert looked.rows["nodes.model"].state == "ok"
    assert looked.rows["gateway.stored"].state == "ok"


@pytest.mark.parametrize(
    ("url", "remedy"),
    [("http://::1:8188", "Write http://[::1]:8188"), ("http://gpu-1:0", "Write it like"), ("http://a:x", "like http")],
)
def test_ports_and_addresses_that_no_client_can_use(url: str, remedy: str) -> None:
    """An address of IPv6 without brackets is written out with them; port 0 is no port."""
    place = place_of(url)
    assert isinstance(place, Trouble)
    assert remedy in place.remedy


@pytest.mark.parametrize(("source", "remedy"), [(THE_ENVIRONMENT, '"$(cat w.json)"'), (".env:2", "single quotes")])
def test_a_path_in_place_of_a_workflow(source: str, remedy: str) -> None:
    """A shell puts a file in; an env file does not, so there its content has to stand."""
    read = read_json("workflow.json", Given("w.json", source), "the workflow", "")
    assert remedy in read.row.remedy


def test_a_server_that_is_frozen() -> None:
    """It takes connections and never answers: that is told apart from one that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = place_of(f"http://127.0.0.1:{listening.getsockname()[1]}")
        assert isinstance(place, Place)
        assert isinstance(connected(place), float)
        found = identified(place, {}, timeout_s=0.05)
    assert isinstance(found, Trouble)
    assert "though its port takes connections" in found.seen
    assert "restart" in found.remedy
