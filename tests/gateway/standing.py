"""A real Open WebUI for tests: started with an environment of its own, with an administrator and a user."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_S = 180.0  # of the slowest machine; two cores take 15 s
PASSWORD = "of-the-tests-only-1"  # nobody's


@dataclass(frozen=True)
class OpenWebUI:
    """One that answers. Tokens: an administrator's, a user's who may make pictures or may not, as it was started."""

    url: str
    admin: str
    user: str
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, method: str, path: str, document: Any = None, token: str | None = None) -> tuple[int, Any]:
        """One request: status, and JSON where it is JSON."""
        return _ask(self.url, method, path, document, token)


@contextmanager
def open_webui(folder: Path, environment: Mapping[str, str]) -> Iterator[OpenWebUI]:
    """Start the program that OPEN_WEBUI names, its data in `folder`; with an administrator and a user."""
    port = _free_port()
    log = folder / "log.txt"
    command = [os.environ["OPEN_WEBUI"], "serve", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=_environment(folder, environment), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _await(url, process, log)
        admin = _token(url, "signup", {"name": "Admin", "email": "admin@localhost.test", "password": PASSWORD})
        person = {"name": "User", "email": "user@localhost.test", "password": PASSWORD, "role": "user"}
        user = _token(url, "add", person, admin)
        yield OpenWebUI(url, admin, user, process, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the machine's own settings, and nothing that asks the network."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "DATA_DIR": str(folder / "data"),
        "WEBUI_SECRET_KEY": "of-the-tests-only-not-a-secret-0123456789",
        "OFFLINE_MODE": "true",
        "HF_HUB_OFFLINE": "1",
        "USE_SLIM_DOCKER": "true",
        "VECTOR_DB": "",
        "ENABLE_OLLAMA_API": "false",
        "ENABLE_OPENAI_API": "false",
        "ENABLE_VERSION_UPDATE_CHECK": "false",
        "ENABLE_IMAGE_GENERATION": "true",
        "IMAGE_GENERATION_ENGINE": "comfyui",
        "ENABLE_SIGNUP": "true",
        **more,
    }


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    latest = time.monotonic() + START_S
    while time.monotonic() < latest:
        if process.poll() is not None:
            break
        try:
            if _ask(url, "GET", "/health")[0] == 200:
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"Open WebUI did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _token(url: str, route: str, person: Mapping[str, str], token: str | None = None) -> str:
    status, found = _ask(url, "POST", f"/api/v1/auths/{route}", dict(person), token)
    assert status == 200, (status, found)
    return str(found["token"])


def _ask(url: str, method: str, path: str, document: Any = None, token: str | None = None) -> tuple[int, Any]:
    body = None if document is None else json.dumps(document).encode()
    headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    request = urllib.request.Request(f"{url}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            content, status = answer.read(), answer.status
    except urllib.error.HTTPError as error:
        content, status = error.read(), error.code
    try:
        return status, json.loads(content)
    except ValueError:
        return status, content


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
