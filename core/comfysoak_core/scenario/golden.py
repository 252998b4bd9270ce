"""From the `canary` of a scenario to that of a plan: its workflow, and the pictures it is compared with, read in."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.errors import ScenarioError
from comfysoak_core.outputs.pictures import decoded
from comfysoak_core.scenario.canary import BUILT_IN, BUILT_IN_NAME, Canary, KnownPicture

if TYPE_CHECKING:
    from comfysoak_core.scenario.model import Scenario  # takes a third of a second, and reports need none

BASELINE: Final = "baseline-"  # begins the names of files, of which the rest says which picture of the canary it is
MOST_BYTES: Final = 8 * 1024 * 1024  # of all together: they stand in the plan
_REMEDY: Final = "Name a PNG, or the folder `canary` of a run directory: baseline: runs/20261122-101500-soak/canary"


_NO_PICTURE: Final = re.compile(r"^(Save(Latent|Audio|Video|WEBM|GLB)|Preview(Any|Audio))")


def canary_of(scenario: Scenario, folder: Path) -> Canary | None:
    """The canary of a scenario whose file is in `folder`; ScenarioError when it cannot be."""
    part = scenario.canary
    if part is None:
        return None
    if scenario.target.is_gateway:
        what = "a canary goes to each ComfyUI by itself, and this target names none"
        raise ScenarioError(what, "Name the servers (target: {comfyui: [...]}), or leave `canary` out.")
    workflow = None if part.workflow is None else Workflow.load(folder / part.workflow)
    if workflow is not None and all(_NO_PICTURE.match(workflow.classes[node]) for node in workflow.shape.outputs):
        raise ScenarioError(
            f"{part.workflow} gives no picture", "A canary is compared by its pixels: let it end in a PreviewImage."
        )
    return Canary(
        name=BUILT_IN_NAME if workflow is None else workflow.name,
        graph=BUILT_IN if workflow is None else dict(workflow.graph),
        every_s=part.every,
        deadline_s=part.deadline or part.every,
        tolerance=part.tolerance,
        differing=part.differing,
        baseline=() if part.baseline is None else known_pictures(folder / part.baseline),
    )


def known_pictures(path: Path) -> tuple[KnownPicture, ...]:
    """The baseline at `path`; ScenarioError when there is none, or it cannot be decoded."""
    found = tuple(_of_folder(path)) if path.is_dir() else (_read(path, None, None),)
    if not found:
        raise ScenarioError(f"{path} holds no {BASELINE}*.png in a folder a server", _REMEDY)
    if sum(len(picture.png) for picture in found) > MOST_BYTES * 4 // 3:
        raise ScenarioError(f"the pictures in {path} are more than 8 MiB", "Choose a smaller picture for the canary.")
    return found


def _of_folder(path: Path) -> Iterator[KnownPicture]:
    for file in sorted(path.glob(f"*/{BASELINE}*.png")):
        yield _read(file, file.parent.name, file.stem.removeprefix(BASELINE))


def _read(path: Path, server: str | None, place: str | None) -> KnownPicture:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ScenarioError(f"{path} is larger than 8 MiB", "Choose a smaller picture for the canary.")
        data = path.read_bytes()
        decoded(data)
    except OSError as error:
        raise ScenarioError(f"the baseline {path} cannot be read: {error.strerror}", _REMEDY) from None
    except ValueError as error:
        raise ScenarioError(f"the baseline {path} is no picture: {error}", _REMEDY) from None
    return KnownPicture(server=server, place=place, png=base64.b64encode(data).decode())
