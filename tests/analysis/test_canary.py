"""Golden canaries in the analysis: apart from the load, told by server, and shown."""

from __future__ import annotations

import base64
import io
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.findings.detectors import find_all
from comfysoak_analysis.golden import canaries_in_words, pictures_of
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.measures import whole
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.recording.layout import Layout
from comfysoak_core.rows import Outcome, Prompt, Role
from tests.analysis.planted import SERVER, START_NS, plant

OTHER = "http://127.0.0.1:8288"


def canary(at_s: float, lasted_s: float = 1.0, server: str = SERVER, **more: Any) -> Prompt:
    """One canary; by default it was as before."""
    begun, over = START_NS + round(at_s * NS_PER_S), START_NS + round((at_s + lasted_s) * NS_PER_S)
    values: dict[str, Any] = {"outcome": Outcome.SUCCESS, "outputs_ok": True, "finished_ns": over} | more
    return Prompt(
        id=str(uuid.UUID(int=round(at_s * 1000) + len(server), version=4)), server=server, worker="load-0",
        client_id="c", workflow="golden", scheduled_ns=begun, sent_ns=begun, role=Role.CANARY, **values,
    )  # fmt: skip


CORRUPT: dict[str, Any] = {
    "outcome": Outcome.FAILED, "code": Code.OUTPUT_CORRUPT, "outputs_ok": False,
    "output_problem": "a.png: 64 of 65,536 pixels (0.10%) differ, by up to 90 of 255 steps",
}  # fmt: skip
GAVE_UP: dict[str, Any] = {"outcome": Outcome.TIMEOUT, "code": Code.DEADLINE, "outputs_ok": None}
DOWN: dict[str, Any] = {"outcome": Outcome.FAILED, "code": Code.SERVER_DOWN, "outputs_ok": None}


def run_with(directory: Path, *rows: Prompt) -> Run:
    return open_run(plant(directory, workflows=("sketch-sd15",), duration_s=30.0, other_rows=rows))


def test_canaries_are_in_no_figure_of_the_load(directory: Path, tmp_path: Path) -> None:
    """Whatever becomes of them, the load is what it would be without them."""
    without = whole(run_with(tmp_path / "without"))
    rows = (canary(5, **CORRUPT), canary(10), canary(15, 9.0, **GAVE_UP))
    run = run_with(directory, *rows)
    assert whole(run) == without
    assert sorted(run.canaries["id"]) == sorted(row.id for row in rows)
    assert len(run.prompts) + len(run.canaries) == len(run.frame("prompts", ("id",)))


def test_a_corrupt_picture_is_told_with_server_and_time(directory: Path) -> None:
    """One finding, which names each server, how many of its pictures differ, and what differed first."""
    run = run_with(
        directory, canary(5), canary(10, **CORRUPT), canary(15, **CORRUPT), canary(12, server=OTHER, **CORRUPT)
    )
    (finding,) = find_all(run, GpuStates(run))
    assert (finding.code, finding.count) == (Code.OUTPUT_CORRUPT, 3)
    moment = "11:06:50 UTC"  # ten seconds after the start of what is planted
    assert f"{SERVER}: 2 of 3 canary pictures, first at {moment} (a.png: 64 of 65,536 pixels" in finding.evidence
    assert f"{OTHER}: 1 of 1 canary picture, first at" in finding.evidence


def test_a_wrong_canary_is_told_among_the_wrong_outputs(directory: Path) -> None:
    """Black or undecodable pictures are no other than those of the load."""
    wrong = {**CORRUPT, "code": Code.OUTPUT_WRONG, "output_problem": "a.png: all of one colour"}
    run = run_with(directory, canary(5), canary(10, **wrong))
    (finding,) = find_all(run, GpuStates(run))
    assert (finding.code, finding.count) == (Code.OUTPUT_WRONG, 1)
    assert "canary golden" in finding.evidence


def test_canaries_that_could_not_run_are_told_and_are_no_finding(directory: Path) -> None:
    """A full queue or a server that is down says nothing about pixels."""
    run = run_with(directory, canary(1), canary(5, 8.0, **GAVE_UP), canary(15, 2.5, **GAVE_UP), canary(20, **DOWN))
    assert find_all(run, GpuStates(run)) == ()
    assert list(canaries_in_words(run)) == [
        (
            f"Canary of {SERVER}",
            (
                "1 picture looked at, all as they were, 1 without one (failed, SERVER_DOWN, after 1 s at most), "
                "2 without one (timeout, DEADLINE, after 8 s at most)"
            ),
        )
    ]


def test_pictures_are_drawn_anew_and_small(directory: Path) -> None:
    """Baseline, what came and where they differ, as the page may show them; a file that is no picture is left out."""
    corrupt = canary(10, **CORRUPT)
    run = run_with(directory, canary(5), corrupt)
    folder = Layout(directory).canary / "127.0.0.1-8188"
    folder.mkdir(parents=True)
    picture = Image.new("RGB", (600, 300), (9, 9, 9))
    picture.save(folder / "baseline-6-1.png")
    picture.putpixel((5, 5), (200, 9, 9))
    picture.save(folder / f"{corrupt.id}-6-1.png")
    (folder / f"{corrupt.id}-7-1.png").write_bytes(b"<script>")
    (finding,) = find_all(run, GpuStates(run))
    shown = pictures_of(run, finding)
    assert [one.label for one in shown] == ["127.0.0.1-8188: before", "now", "where they differ"]
    for one in shown:
        head, _, encoded = one.uri.partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
            assert image.size == (256, 128)
    apart = Image.open(io.BytesIO(base64.b64decode(shown[2].uri.partition(",")[2])))
    assert apart.convert("L").getextrema()[1] == 255


@pytest.mark.parametrize("name", ["../../x", "*", "00000000-0000-4000-8000-00000000000*"])
def test_ids_of_a_foreign_recording_open_no_other_files(directory: Path, name: str) -> None:
    """Only what looks like an id of ours is looked for."""
    run = run_with(directory, canary(5))
    folder = Layout(directory).canary / "x"
    folder.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "00000000-0000-4000-8000-000000000001-6-1.png")
    states = GpuStates(run)
    finding = replace(next(iter(find_all(run_with(directory / "b", canary(5, **CORRUPT)), states))), examples=(name,))
    assert pictures_of(run, finding) == ()
