"""Virtual servers that the tests of a process share, and how to have one of one's own.

stand            a ComfyUI of either version (two runs of the test), sound; leave it as it is
platform         one with an Open WebUI before it; leave it as it is
`served(...)`    one that a test may mistreat (tests.check.stand)
`look(settings, Part.MODELS, ...)`  the rows of parts by id (tests.check.stand)
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.check.stand import VERSIONS, Stand, served


@pytest.fixture(scope="session", params=VERSIONS)
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """A sound ComfyUI of either version."""
    with served(request.param) as one:
        yield one


@pytest.fixture(scope="session")
def platform() -> Iterator[Stand]:
    """A sound ComfyUI with an Open WebUI before it."""
    with served(gateway="open-webui") as one:
        yield one
