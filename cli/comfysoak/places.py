"""Where the files people read, copy and edit are: at the top level of a checkout, inside the package of a wheel."""

from __future__ import annotations

from pathlib import Path

from comfysoak_core.errors import ScenarioError

_PACKAGE = Path(__file__).resolve().parent


def _root() -> Path:
    installed = _PACKAGE / "data"
    return installed if installed.is_dir() else _PACKAGE.parent.parent


def locustfile(*, gateway: bool = False) -> Path:
    """The locustfile a run starts Locust with: on ComfyUI itself, or through a gateway."""
    return _root() / "locustfiles" / ("gateway.py" if gateway else "comfyui.py")


def demo_scenario() -> Path:
    """The scenario of a `comfysoak run` that names none."""
    return _root() / "scenarios" / "demo.yaml"


def find_scenario(name: str) -> Path:
    """The scenario file a person means: a path, or the name of one that comes with ComfySoak."""
    path = Path(name)
    if path.is_file() or path.suffix or len(path.parts) > 1:
        return path
    supplied = _root() / "scenarios" / f"{name}.yaml"
    if supplied.exists():
        return supplied
    known = ", ".join(sorted(file.stem for file in supplied.parent.glob("*.yaml")))
    raise ScenarioError(f"there is no scenario {name!r}", f"Name a YAML file, or one that is supplied: {known}.")
