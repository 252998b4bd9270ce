"""run.json: written whole, read with care."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.core.recording.samples import Died, DyingDisk

from comfysoak_core.clock import Anchor
from comfysoak_core.errors import RecordingError
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.host_facts import this_host
from comfysoak_core.recording.run_file import (
    RUN_FORMAT,
    Ended,
    EndReason,
    RunFile,
    ServerFacts,
    read_run_file,
    write_run_file,
)


def a_run(**values: object) -> RunFile:
    """A run of the smallest kind."""
    return RunFile.model_validate({"id": "1", "name": "test", "created_ns": 5, **values})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Every field comes back, text from hostile servers and huge seeds too."""
    plan = {"seed": 2**70, "text": "half a pair: \udc80 ünï", "deep": [{"a": None}]}
    run = a_run(
        plan=plan,
        hosts=(this_host("h", Anchor(1, 2, 3)),),
        ended=Ended(at_ns=9, reason=EndReason.CUT_OFF, detail="x"),
    )
    write_run_file(run, tmp_path / "run.json")
    assert read_run_file(tmp_path / "run.json") == run


def test_no_secret_is_written(tmp_path: Path) -> None:
    """Secrets go from command lines, URLs and details, also those put in by model_copy."""
    run = a_run(argv=("x", "--token", "S3CRET")).model_copy(
        update={
            "servers": (ServerFacts.model_construct(url="http://u:S3CRET@h", argv=("--api-key=S3CRET",)),),
            "ended": Ended.model_construct(at_ns=1, reason=EndReason.ABORTED, detail="PASSWORD=S3CRET"),
            "faults": ("Authorization: Bearer S3CRET12345",),
        }
    )
    write_run_file(run, tmp_path / "run.json")
    assert "S3CRET" not in (tmp_path / "run.json").read_text()


def test_unknown_fields_are_kept(tmp_path: Path) -> None:
    """What a newer version of the same format wrote survives being read and written."""
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"format": 1, "id": "1", "name": "n", "created_ns": 1, "new": {"a": 1},
                                "hosts": [{"name": "h", "newer": 2}]}))  # fmt: skip
    write_run_file(read_run_file(path), path)
    data = json.loads(path.read_text())
    assert (data["new"], data["hosts"][0]["newer"]) == ({"a": 1}, 2)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", 'no number under "format"'),
        (b'{"format": 1}', "id: Field required"),
        (b'{"format": 1, "id": 7, "name": "n", "created_ns": 1}', "id: "),
        (
            b'{"format": 99, "id": "later"}',
            f"format 99, this version of ComfySoak reads up to {RUN_FORMAT}",
        ),
    ],
)
def test_damage_is_one_clear_error(tmp_path: Path, content: bytes, expected: str) -> None:
    """A damaged or newer run.json is told in one sentence that names the file."""
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        read_run_file(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)


def test_no_run_directory_is_told(tmp_path: Path) -> None:
    """A folder without run.json is no run directory, and a file is none either."""
    with pytest.raises(RecordingError, match="no run directory"):
        read_run_file(tmp_path / "run.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="no run directory: it is a file"):
        read_run_file(tmp_path / "file" / "run.json")


def test_a_killed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """Killed at any step of writing, run.json is the old one or the new one."""
    path = tmp_path / "run.json"
    deaths = 0
    for dies_at in range(1, 10):
        write_run_file(a_run(name="old"), path)
        disk: Disk = DyingDisk(dies_at)
        try:
            write_run_file(a_run(name="new"), path, disk)
        except Died:
            deaths += 1
            assert read_run_file(path).name == "old"
        else:
            assert read_run_file(path).name == "new"
    assert deaths >= 3
