"""What the run calls a server that a remote probe watches on its own machine."""

from __future__ import annotations

import pytest

from comfysoak_probes.remote.names import ServerNames

OURS = ("http://gpu-2:8188", "http://gpu-2:8189/comfy", "http://10.0.0.7:8188", "http://127.0.0.1:8190")


@pytest.mark.parametrize(
    ("probe_url", "host", "theirs", "name"),
    [
        ("http://gpu-2:9410", "gpu-2", "http://127.0.0.1:8188", "http://gpu-2:8188"),
        ("http://gpu-2:9410", "gpu-2", "http://localhost:8188", "http://gpu-2:8188"),
        ("http://gpu-2:9410", "gpu-2", "http://[::1]:8188", "http://gpu-2:8188"),
        ("http://10.0.0.7:9410", "node7.example", "http://127.0.0.1:8188", "http://10.0.0.7:8188"),
        ("http://127.0.0.1:9410", "gpu-2.example", "http://127.0.0.1:8188", "http://gpu-2:8188"),
        ("http://127.0.0.1:9410", "gpu-9", "http://127.0.0.1:8190", "http://127.0.0.1:8190"),
        ("http://gpu-2:9410", "gpu-2", "http://GPU-2.lan:8188", "http://gpu-2:8188"),
        ("http://gpu-2:9410", "gpu-2", "http://127.0.0.1:8189/comfy", "http://gpu-2:8189/comfy"),
        ("http://gpu-2:9410", "gpu-2", "http://127.0.0.1:8189", "http://127.0.0.1:8189"),
        ("http://gpu-3:9410", "gpu-3", "http://127.0.0.1:8188", "http://127.0.0.1:8188"),
        ("http://gpu-2:9410", "gpu-2", "http://gpu-5:8188", "http://gpu-5:8188"),
        ("http://gpu-2:9410", "gpu-2", "http://[half:8188", "http://[half:8188"),
        ("http://gpu-2:9410", "gpu-2", "no address", "no address"),
    ],
)
def test_a_server_is_known_by_its_port_and_machine(probe_url: str, host: str, theirs: str, name: str) -> None:
    """Loopback there is the probe's machine here; what the run does not know keeps its name."""
    assert ServerNames(probe_url, OURS, host).of(theirs) == name
