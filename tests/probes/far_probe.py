"""`comfysoak probe --listen` as a process of its own, as on a GPU host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.probes.sampling import WAIT_S

_LISTENS = re.compile(r"listening on http://(\S+):(\d+),")


@dataclass(slots=True)
class FarProbe:
    """One that listens; `said` are its first lines."""

    process: subprocess.Popen[bytes]
    port: int
    said: list[str] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        folder: Path,
        *options: str,
        listen: str = "0",
        driver: Path | None = None,
        script: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> FarProbe:
        """Start it beside such a driver (None: none) and wait until it listens."""
        (folder / "far_script").write_text(script, encoding="utf-8")
        variables = {**os.environ, "STANDIN_NVML": str(folder / "far_script"), **(environment or {})}
        variables["LD_LIBRARY_PATH"] = str(driver or folder)
        command = [sys.executable, "-m", "comfysoak", "probe", "--listen", listen, "--every", "50ms", *options]
        process = subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            bufsize=0,  # nothing is read ahead: `end` tells the rest
        )  # fmt: skip
        probe = cls(process, 0)
        assert process.stdout is not None
        while line := process.stdout.readline().decode():
            probe.said.append(line)
            match = _LISTENS.search(line)
            if match:
                probe.port = int(match[2])
                return probe
        raise AssertionError("".join(probe.said))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of an answer."""
        request = urllib.request.Request(self.url + path, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def batches(self, after: int = 0, headers: Mapping[str, str] | None = None) -> tuple[dict[str, Any], list[Any]]:
        """The head and the batches after a number."""
        status, body = self.get(f"/rows?after={after}", headers)
        assert status == 200, body
        head, *lines = body.splitlines()
        return orjson.loads(head), [orjson.loads(line) for line in lines]

    def end(self) -> tuple[int, str]:
        """Ask it to end; exit status and all it said since it listened."""
        if self.process.poll() is None:
            self.process.terminate()
        said, _ = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, said.decode()


def ended(*options: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Of a call that does not get to listen: exit status and standard error."""
    command = [sys.executable, "-m", "comfysoak", "probe", *map(str, options)]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=WAIT_S, check=False)
    return done.returncode, done.stderr
