"""The stand-in driver, and the sampler as a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.probes.fleet import Fleet, watched
from tests.probes.sampling import Sampling

SOURCE = Path(__file__).parent / "standin_nvml.c"


def build(folder: Path, *options: str) -> Path:
    """Build the stand-in driver as the library that nvidia-ml-py loads; the folder it is in."""
    library = folder / "libnvidia-ml.so.1"
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *options]
    subprocess.run(["cc", *flags, "-o", library, SOURCE, "-lpthread"], check=True)
    return folder


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a driver of today."""
    return build(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="session")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a driver that lacks what older drivers lack."""
    return build(tmp_path_factory.mktemp("old_driver"), "-DOLD_DRIVER")


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory, driver: Path) -> Iterator[Fleet]:
    """Sixteen GPUs as recorded by one sampler."""
    with watched(tmp_path_factory.mktemp("fleet"), driver) as fleet:
        yield fleet


Sample = Callable[..., Sampling]


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[Sample]:
    """Starts samplers (`Sampling.start`), and ends them with the test."""
    started: list[Sampling] = []

    def start(**options: object) -> Sampling:
        folder = tmp_path / f"run{len(started)}"
        folder.mkdir()
        started.append(Sampling.start(folder, **options))  # type: ignore[arg-type]  # passed through
        return started[-1]

    yield start
    for sampling in started:
        sampling.end()
