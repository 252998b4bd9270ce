"""The wheel: what it puts into somebody's site-packages, and that its copies are the ones that run."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "comfysoak",
    "comfysoak_analysis",
    "comfysoak_core",
    "comfysoak_load",
    "comfysoak_probes",
    "comfysoak_simulator",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the backend that `pip wheel` calls."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True, check=True)
    return folder / done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as site-packages would have it."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_brings_no_generic_name(wheel: Path) -> None:
    """Only packages with a name of ours stand at the top, each marked as typed."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES - {"comfysoak"}} <= set(names)


def test_the_wheel_brings_scenarios_and_locustfile(installed: Path) -> None:
    """What a checkout has at its top level, the wheel has inside the package, byte for byte."""
    data = installed / "comfysoak" / "data"
    for name in (
        "scenarios/demo.yaml",
        "scenarios/workflows/sdxl.json",
        "locustfiles/comfyui.py",
        "locustfiles/gateway.py",
    ):
        assert (data / name).read_bytes() == (ROOT / name).read_bytes()


def test_a_wheel_finds_its_own_scenarios(installed: Path) -> None:
    """Installed from a wheel, the commands use the files inside the package and not those of a checkout."""
    code = "from comfysoak import places; print(places.demo_scenario()); print(places.locustfile())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=installed,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(line.startswith(str(installed)) for line in done.stdout.splitlines())
