"""What the sampler watches and how often, read from a run directory or put together by `comfysoak probe`.

The plan in `run.json` is read here without its pydantic model: the sampler stays on the watched host for days, and
the model would cost it 15 MB of memory. A test keeps the two in step.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from comfysoak_core.errors import RecordingError

RUN_FILE = "run.json"
LOG_SOCKET = "socket"
LOG_OFF = "off"
EVERY_S = 0.1
HOST_EVERY_S = 1.0
SERVER_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class RemoteProbe:
    """A probe that listens on another machine."""

    url: str
    token: str | None = None  # never written anywhere


@dataclass(frozen=True, slots=True)
class Pause:
    """Every so often one kind of probe is switched off for a while, the next time another."""

    every_s: float
    lasts_s: float


@dataclass(frozen=True, slots=True)
class SamplerConfig:
    """The sources of one sampler. `log` is `socket`, `off` or the path of the server's log file on this host."""

    nvml: bool = True
    dcgm: tuple[str, ...] = ()  # URLs of Prometheus text with DCGM series
    every_s: float = EVERY_S
    slow_every_s: float = 1.0  # power, clocks, temperature
    processes_every_s: float = 5.0  # the driver's process list holds a lock: never more often
    host: bool = True
    host_every_s: float = HOST_EVERY_S
    server_every_s: float = SERVER_EVERY_S
    servers: tuple[str, ...] = ()  # base URLs without secrets
    log: str = LOG_SOCKET
    token: str | None = None  # sent as `Authorization: Bearer`, never written anywhere
    disk: str = "."  # whose free space is watched
    probes: tuple[RemoteProbe, ...] = ()
    pause: Pause | None = None

    @classmethod
    def from_run(cls, run_dir: Path, environment: Mapping[str, str] = os.environ) -> SamplerConfig:
        """The configuration of the plan in `run_dir/run.json`.

        Raises RecordingError when there is no such file or it holds no plan.
        """
        plan = _mapping(_read(run_dir / RUN_FILE).get("plan"))
        if not plan:
            raise RecordingError(
                f"{run_dir / RUN_FILE} holds no plan", "The run directory must be made by `comfysoak run`."
            )
        probes = _mapping(plan.get("probes"))
        pause = _mapping(probes.get("pause"))
        gpu = [_mapping(source) for source in probes.get("gpu", [{"kind": "nvml"}])]
        return cls(
            nvml=any(source.get("kind") == "nvml" for source in gpu),
            dcgm=tuple(str(source["url"]) for source in gpu if source.get("kind") == "dcgm" and source.get("url")),
            every_s=float(probes.get("every_s", EVERY_S)),
            host_every_s=float(probes.get("host_every_s", HOST_EVERY_S)),
            server_every_s=float(probes.get("server_every_s", SERVER_EVERY_S)),
            servers=tuple(str(server) for server in plan.get("servers", ())),
            log=str(probes.get("log", LOG_SOCKET)),
            token=environment.get(str(plan.get("token_variable") or "")),
            disk=str(run_dir),
            probes=tuple(
                RemoteProbe(str(source["url"]), environment.get(str(source.get("token_variable") or "")))
                for source in gpu
                if source.get("kind") == "probe" and source.get("url")
            ),
            pause=Pause(float(pause["every_s"]), float(pause["lasts_s"])) if pause else None,
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return _mapping(orjson.loads(path.read_bytes()))
    except (OSError, orjson.JSONDecodeError) as error:
        raise RecordingError(
            f"{path} cannot be read: {error}", "Name the directory of a run; it holds a file run.json."
        ) from error


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
