"""What all tests share: which may be skipped, and what is skipped where something is not installed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine draws slowly; that says nothing about the code. The same examples each time: what was green stays so.
# New ones are looked for with `pytest --hypothesis-profile=explore`.
settings.register_profile(
    "comfysoak", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
settings.register_profile("explore", settings.get_profile("comfysoak"), derandomize=False, max_examples=1000)
settings.load_profile("comfysoak")

DATA = Path(__file__).parent / "data"
MAY_BE_SKIPPED = ("real", "gpu", "gateway")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

# A shell ignores SIGINT in what it runs in the background, and so would every process the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a program or a server that is not here, naming what to install or set."""
    missing = {
        "browser": None if CHROMIUM else "needs Chromium (Debian: apt-get install chromium)",
        "compiler": None if shutil.which("cc") else "needs a C compiler (Debian: apt-get install gcc libc6-dev)",
        "prometheus": None
        if shutil.which("prometheus") and shutil.which("promtool")
        else "needs Prometheus and promtool (Debian: apt-get install prometheus)",
        "real": None if os.environ.get("COMFYUI_BASE_URL") else "needs a real ComfyUI: set COMFYUI_BASE_URL",
        "gateway": None if os.environ.get("OPEN_WEBUI") else "needs a real Open WebUI: make test-gateway",
        "gpu": None if shutil.which("nvidia-smi") else "needs an NVIDIA GPU and its driver",
    }
    for item in items:
        for marker, reason in missing.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):  # type: ignore[no-untyped-def]  # pluggy's generator protocol
    """Where all tests must run (CI), a test skipped for want of a program is a failure."""
    outcome = yield
    report = outcome.get_result()
    if (
        report.skipped
        and not hasattr(report, "wasxfail")
        and os.environ.get("COMFYSOAK_ALL_TESTS") == "1"
        and not any(item.get_closest_marker(marker) for marker in MAY_BE_SKIPPED)
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped where no test but those marked {MAY_BE_SKIPPED} may be: {report.longrepr}"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser that tests marked `browser` use."""
    assert CHROMIUM is not None
    return CHROMIUM
