"""`comfysoak probe`: the sampler alone, beside any load tool."""

from __future__ import annotations

import os
from pathlib import Path

import click

EPILOG = """\b
Examples:
  comfysoak probe                                          GPU and host of this machine, live
  comfysoak probe --server http://127.0.0.1:8188           a ComfyUI's queue, memory and model loads too
  comfysoak probe --dcgm http://gpu-1:9400/metrics --no-nvml
  comfysoak probe --out runs --for 10m                     recorded; then: comfysoak report runs/..."""


@click.command(epilog=EPILOG)
@click.option("--server", "servers", multiple=True, metavar="URL", help="Watch this ComfyUI as well.")
@click.option("--dcgm", multiple=True, metavar="URL", help="Read GPUs from this exporter of DCGM series.")
@click.option("--nvml/--no-nvml", default=True, help="Read this host's GPUs by the driver.  [default: nvml]")
@click.option("--every", default="100ms", show_default=True, help="Between two GPU samples.")
@click.option("--log", default="socket", show_default=True, help="Server log: socket, off, or a file on this host.")
@click.option("--token-variable", metavar="NAME", help="Environment variable with a token for the servers.")
@click.option("--out", type=click.Path(path_type=Path), help="Record to a run directory in this folder.")
@click.option("--for", "duration", metavar="TIME", help="Stop after this time, e.g. 10m.")
def command(
    servers: tuple[str, ...],
    dcgm: tuple[str, ...],
    every: str,
    log: str,
    token_variable: str | None,
    out: Path | None,
    duration: str | None,
    *,
    nvml: bool,
) -> int:
    """Watch GPU, host and, if named, ComfyUI servers, in a live table; Ctrl-C ends it."""
    from comfysoak.commands.options import as_seconds, as_url
    from comfysoak_core.recording.redaction import hide_value_of
    from comfysoak_probes.config import SamplerConfig
    from comfysoak_probes.live import probe

    if token_variable:
        hide_value_of(token_variable)
    config = SamplerConfig(
        nvml=nvml,
        dcgm=tuple(as_url(url, "--dcgm") for url in dcgm),
        every_s=as_seconds(every, "--every"),
        servers=tuple(as_url(url, "--server") for url in servers),
        log=log,
        token=os.environ.get(token_variable) if token_variable else None,
        disk=str(out or "."),
    )
    return int(probe(config, out=out, seconds=as_seconds(duration, "--for") if duration else None))
