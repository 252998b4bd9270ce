"""What a history entry and an `executed` message tell of outputs of every kind, as real servers list them."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from tests.core.comfyui.test_messages import JSON

from comfysoak_core.comfyui.history import (
    HistoryEntry,
    OutputFile,
    OutputText,
    files_of_outputs,
    parse_history,
    parse_job,
    texts_of_outputs,
)

FILE = {"filename": "a_00001_.png", "subfolder": "", "type": "output"}
OUTPUTS = {
    "1": {"images": [FILE], "animated": [True]},
    "2": {"images": [FILE]},
    "3": {"audio": [FILE | {"filename": "a_00001.flac", "subfolder": "audio"}]},
    "4": {"text": ["hello", "  world"]},
    "5": {"images": [FILE], "animated": [False]},
    "6": {"gifs": [FILE | {"filename": "a.mp4", "format": "video/h264-mp4", "frame_rate": 8.0}]},
    "7": {"result": ["mesh.glb", {"position": 1}, None]},
}


@pytest.mark.parametrize("by", ["history", "job"])
def test_files_and_texts_of_every_kind_are_told(by: str) -> None:
    """Keys, folders, what moves, and texts, which are no files; what is neither is left alone."""
    if by == "history":
        body = orjson.dumps({"p": {"outputs": OUTPUTS, "status": {"status_str": "success"}}})
        entry: object = parse_history("p", 200, body)
    else:
        job = parse_job("p", 200, orjson.dumps({"status": "completed", "outputs": OUTPUTS}))
        entry = getattr(job, "entry", None)
    assert isinstance(entry, HistoryEntry)
    told = [(file.node_id, file.kind, file.filename, file.animated) for file in entry.files]
    assert told == [
        ("1", "images", "a_00001_.png", True),
        ("2", "images", "a_00001_.png", False),
        ("3", "audio", "a_00001.flac", False),
        ("5", "images", "a_00001_.png", False),
        ("6", "gifs", "a.mp4", False),
    ]
    assert entry.files[2] == OutputFile("3", "audio", "a_00001.flac", "audio", "output")
    assert entry.texts == (OutputText("4", "hello"), OutputText("4", "world"))


def test_texts_are_cut_to_a_bound() -> None:
    """A novel is kept as its beginning, and blanks say nothing."""
    (novel, blank) = texts_of_outputs({"1": {"text": ["x" * 1_000_000, " \n " * 1000]}})
    assert 0 < len(novel.text) < 100_000
    assert blank.text == ""


@given(JSON)
def test_any_outputs_are_survived(outputs: object) -> None:
    """Whatever stands where outputs should be, files and texts come out or do not."""
    files_of_outputs(outputs)
    texts_of_outputs(outputs)
    files_of_outputs({"1": outputs})
    texts_of_outputs({"1": outputs})
