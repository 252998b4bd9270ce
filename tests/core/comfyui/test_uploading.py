"""The form of an upload, as servers read it; answers; and pictures that are the same to the eye and new to a server."""

from __future__ import annotations

import io
import json
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import pytest
from PIL import Image

from comfysoak_core.comfyui.answers import Damaged
from comfysoak_core.comfyui.uploading import Uploaded, form, made_new, parse_upload

RECORDING = Path(__file__).parents[2] / "data" / "recordings" / "10_upload_load_view.json"


def picture(kind: str) -> bytes:
    """A small picture in this format."""
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((16, 16)).save(file, kind)
    return file.getvalue()


def test_the_form_is_what_a_parser_of_mail_reads() -> None:
    """Each field under its name, and the file with name, type and every byte."""
    content = b"\x89PNG\r\n--comfysoak\r\n\x00" + bytes(range(256))
    made = form('in "1".png', content, {"type": "input", "overwrite": "true"})
    head = f"Content-Type: {made.content_type}\r\n\r\n".encode()
    parts = {
        part.get_param("name", header="content-disposition"): part
        for part in BytesParser(policy=HTTP).parsebytes(head + made.body).iter_parts()
    }
    assert {name: parts[name].get_payload(decode=True) for name in ("type", "overwrite")} == {
        "type": b"input",
        "overwrite": b"true",
    }
    image = parts["image"]
    assert image.get_payload(decode=True) == content
    assert (image.get_filename(), image.get_content_type()) == ("in %221%22.png", "image/png")


def test_recorded_answers_are_read() -> None:
    """The name of the answer counts: it may have a number in it, and a subfolder before it."""
    steps = json.loads(RECORDING.read_text())["steps"]
    answers = [step for step in steps if step["dir"] == "response" and step["path"] == "/upload/image"]
    found = [parse_upload(step["status"], json.dumps(step.get("json")).encode()) for step in answers]
    values = [answer.value for answer in found if isinstance(answer, Uploaded)]
    assert values[:5] == ["harness_in.png"] * 2 + ["harness_in (1).png", "harness_in.png", "sub/harness_in.png"]
    assert {answer.status for answer in found if isinstance(answer, Damaged)} == {400, 500}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"name": 3}', b'{"name": ""}', b"null"])
def test_what_is_no_answer_is_damaged(body: bytes) -> None:
    """A proxy may say anything."""
    assert isinstance(parse_upload(200, body), Damaged)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_made_new_is_the_same_picture(kind: str) -> None:
    """Other bytes for each mark, and every pixel as before."""
    old = picture(kind)
    first, second = made_new(old, "0123456789abcdef"), made_new(old, "fedcba9876543210")
    assert len({old, first, second}) == 3
    with Image.open(io.BytesIO(old)) as before, Image.open(io.BytesIO(first)) as after:
        after.load()
        assert before.convert("RGB").tobytes() == after.convert("RGB").tobytes()
