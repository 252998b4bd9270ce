"""What is asked of a gateway, in each shape, and what its answers mean, however hostile."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.gateway.recorded import document

from comfysoak_core.gateway.answers import (
    MAX_DETAIL,
    MAX_PICTURES,
    Broken,
    Generated,
    Inline,
    Link,
    Refusal,
    origin_of,
    parse_generation,
    place_of,
)
from comfysoak_core.gateway.api import OPEN_WEBUI, OPEN_WEBUI_OLD, OPENAI, Api, Wish, body_of
from comfysoak_core.gateway.prompts import Images as Asked
from comfysoak_core.gateway.prompts import drawn_prompt, warnings_for

ALL: dict[str, Any] = {"prompt": "a cat", "n": 2, "size": "512x768", "model": "sdxl"}
FULL = Wish("a cat", n=2, size=(512, 768), steps=20, negative="blurry", model="sdxl")


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        (OPEN_WEBUI, ALL | {"steps": 20, "negative_prompt": "blurry"}),
        (OPEN_WEBUI_OLD, ALL | {"negative_prompt": "blurry"}),
        (OPENAI, ALL | {"response_format": "b64_json"}),
        (
            Api("/generate", "data[].url", "text", ("w", "h"), "count", model=None, constant={"safe": True}),
            {"text": "a cat", "w": 512, "h": 768, "count": 2, "safe": True},
        ),
    ],
)  # fmt: skip
def test_each_shape_has_its_own_fields(api: Api, fields: dict[str, Any]) -> None:
    """Those it has no name for are not sent."""
    assert orjson.loads(body_of(api, FULL)) == fields


def test_what_is_not_asked_for_is_left_to_the_gateway() -> None:
    """Size, steps, model and negative prompt have defaults there; gpt-image takes no response_format."""
    assert orjson.loads(body_of(OPEN_WEBUI, Wish("x"))) == {"prompt": "x", "n": 1}
    assert "response_format" not in orjson.loads(body_of(OPENAI, Wish("x", model="gpt-image-1")))


def test_requests_are_those_that_were_recorded() -> None:
    """The OpenAI-compatible request is that of a client of this shape."""
    recorded = document("openai-shape")["upstream_stub"][0]["json"]
    assert orjson.loads(body_of(OPENAI, Wish("ok", n=2, size=(256, 256), model="dall-e-2"))) == recorded


def test_a_token_goes_where_the_shape_says() -> None:
    """Bearer or a header of its own; none without a token."""
    assert OPENAI.headers("secret") == {"Authorization": "Bearer secret"}
    assert Api("/", "[].url", header="X-Api-Key", scheme="").headers("secret") == {"X-Api-Key": "secret"}
    assert OPENAI.headers(None) == {}


def test_pictures_are_found_in_each_place() -> None:
    """A bare list, data[].url and data[].b64_json."""
    assert parse_generation("[].url", 200, b'[{"url": "/a.png"}]') == Generated((Link("/a.png"),))
    assert parse_generation("data[].url", 200, b'{"data": [{"url": "/a.png"}]}') == Generated((Link("/a.png"),))
    encoded = base64.b64encode(b"bytes").decode()
    body = json.dumps({"data": [{"b64_json": encoded}, {"b64_json": f"data:image/png;base64,{encoded}"}]}).encode()
    assert parse_generation("data[].b64_json", 200, body) == Generated((Inline(b"bytes"), Inline(b"bytes")))


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"null", b'{"data": {}}', b'"[]"', b"\xff"])
def test_200_without_a_list_is_no_success(body: bytes) -> None:
    """It is told with the beginning of what came."""
    answer = parse_generation("[].url", 200, body)
    assert isinstance(answer, Refusal)
    assert answer.detail.startswith("200, but no")


@pytest.mark.parametrize(
    "item",
    [
        None,
        1,
        "x",
        {},
        {"url": None},
        {"url": ""},
        {"b64_json": "%%%"},
        {"url": "a" * 9000},
        {"url": "/cache/image/generations/None"},
    ],
)
def test_an_item_that_is_no_picture_is_broken(item: Any) -> None:
    """Its reason is bounded."""
    answer = parse_generation("[].url", 200, json.dumps([item]).encode())
    assert isinstance(answer, Generated)
    (picture,) = answer.pictures
    assert isinstance(picture, Broken)
    assert len(picture.reason) < 200


def test_a_list_without_end_is_cut() -> None:
    """So many pictures are read and no more."""
    answer = parse_generation("[].url", 200, json.dumps([{"url": "/a"}] * 5000).encode())
    assert isinstance(answer, Generated)
    assert len(answer.pictures) == MAX_PICTURES


@given(st.integers(100, 599), st.one_of(st.binary(), st.text().map(lambda text: json.dumps({"detail": text}).encode())))
def test_any_answer_is_a_value(status: int, body: bytes) -> None:
    """Nothing raises, and no text is longer than agreed."""
    answer = parse_generation("data[].url", status, body)
    if isinstance(answer, Refusal):
        assert len(answer.detail) <= MAX_DETAIL + 40
        assert "\n" not in answer.detail


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("/files/1", "http://platform:8080/files/1"),
        ("https://cdn/a.png?sig=1", "https://cdn/a.png?sig=1"),
        ("//cdn/a.png", "http://cdn/a.png"),
        ("file:///etc/passwd", None),
        ("http://[", None),
        ("/a b", None),
        ("/a\r\nX-Injected: 1", None),
        ("http://host:99999/", None),
        ("http://a..b/", None),
        (f"http://{'a' * 64}.org/", None),
    ],
)
def test_a_picture_is_fetched_from_http_only(url: str, place: str | None) -> None:
    """Whatever else an answer names leads nowhere."""
    assert place_of(Link(url), "http://platform:8080") == place


def test_origins_are_compared_with_their_ports() -> None:
    """The token goes to the gateway's own origin: the same host on another port is another one."""
    assert origin_of("http://platform/a") == origin_of("http://PLATFORM:80")
    assert origin_of("https://platform") != origin_of("http://platform")
    assert origin_of("http://platform:8080") != origin_of("http://platform:8081")


def test_a_number_in_a_prompt_is_drawn_anew() -> None:
    """Two draws differ, and the same seed draws the same."""
    texts = ("cat {number}",)
    first, again = (drawn_prompt(texts, random.Random(1)) for _ in range(2))
    assert first == again != drawn_prompt(texts, random.Random(2))
    assert warnings_for(Asked(texts)) == ()
    assert "again and again" in warnings_for(Asked(("cat",)))[0]
