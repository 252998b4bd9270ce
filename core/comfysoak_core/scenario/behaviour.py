"""What a workload says of its users, from the written form to the plan's: checked against its workflow and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from comfysoak_core.comfyui.mistakes import Mistakes as MistakesOf
from comfysoak_core.comfyui.places import place_of
from comfysoak_core.comfyui.shape import is_link
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.errors import ScenarioError
from comfysoak_core.scenario.quantities import format_size
from comfysoak_core.scenario.workload import Cancel, GiveUp, Mistakes, Upload
from comfysoak_core.scenario.written.behaviour import CancelSection, GiveUpSection, MistakesSection, UploadSection

PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MOST_BYTES: Final = 256 * 1024**2  # of all pictures of one upload: each load process holds them in memory
_DEFAULT_SIZE: Final = (512, 512)


def cancel_of(part: CancelSection | None) -> Cancel | None:
    """The share that is taken back."""
    return None if part is None else Cancel(share=part.share, after_s=part.after, within_s=part.within)


def give_up_of(part: GiveUpSection | None) -> GiveUp | None:
    """How long users wait, and what they do then."""
    if part is None:
        return None
    return GiveUp(after_s=part.after, again=part.again, withdraw=part.withdraw, within_s=part.within)


def mistakes_of(part: MistakesSection | None, workflow: Workflow) -> Mistakes | None:
    """The share that carries a mistake; ScenarioError for a kind that this workflow has no place for."""
    if part is None:
        return None
    MistakesOf(workflow.graph, part.kinds)
    return Mistakes(share=part.share, kinds=part.kinds)


def uploads_of(parts: Sequence[UploadSection], workflow: Workflow, folder: Path) -> tuple[Upload, ...]:
    """What is uploaded; ScenarioError for inputs and files that are not there."""
    return tuple(_upload(part, workflow, folder) for part in parts)


def _upload(part: UploadSection, workflow: Workflow, folder: Path) -> Upload:
    place = place_of(workflow.graph, part.input)
    if is_link(place.value(workflow.graph)):
        what = f"upload: {part.input} takes its value from another node"
        raise ScenarioError(what, "Name the input that holds a picture's name, such as `image` of LoadImage.")
    files = tuple(str(path) for name in part.files for path in _pictures(folder / name))
    size_bytes = sum(Path(path).stat().st_size for path in files)
    if size_bytes > MOST_BYTES:
        what = f"the pictures for {part.input} are {format_size(size_bytes)} together"
        raise ScenarioError(what, f"At most {format_size(MOST_BYTES)}: they are held in memory. Name fewer.")
    return Upload(input=part.input, files=files, each=part.each, size=part.size or _DEFAULT_SIZE)


def _pictures(path: Path) -> Iterator[Path]:
    """The picture there, or all in that folder, by name."""
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES and file.is_file())
        if not found:
            raise ScenarioError(f"there is no picture in {path}", f"Looked for {', '.join(PICTURES)}.")
        yield from (file.resolve() for file in found)
    elif path.is_file():
        yield path.resolve()
    else:
        raise ScenarioError(f"there is no picture {path}", "Paths are relative to the scenario.")
