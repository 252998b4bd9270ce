"""`comfysoak probe`: the sampler alone, beside any load tool."""

from __future__ import annotations

import os
from pathlib import Path

import click

PROBE_TOKEN = "COMFYSOAK_PROBE_TOKEN"  # noqa: S105  # the name of a variable

EPILOG = """\b
Examples:
  comfysoak probe                                          GPU and host of this machine, live
  comfysoak probe --server http://127.0.0.1:8188           a ComfyUI's queue, memory and model loads too
  comfysoak probe --dcgm http://gpu-1:9400/metrics --no-nvml
  comfysoak probe --out runs --for 10m                     recorded; then: comfysoak report runs/...

\b
On a GPU host, for a run on another machine and for Prometheus:
  comfysoak probe --listen 9410                            reached from this machine, or by an ssh tunnel
  export COMFYSOAK_PROBE_TOKEN=$(openssl rand -hex 16)
  comfysoak probe --listen 0.0.0.0:9410                    reached from everywhere, with the token
  comfysoak probe --probe http://gpu-1:9410 --no-nvml      from there: the table of the GPU host, live"""


@click.command(epilog=EPILOG)
@click.option("--server", "servers", multiple=True, metavar="URL", help="Watch this ComfyUI as well.")
@click.option("--dcgm", multiple=True, metavar="URL", help="Read GPUs from this exporter of DCGM series.")
@click.option("--probe", "remote", multiple=True, metavar="URL", help="Watch what a probe that listens there sees.")
@click.option("--nvml/--no-nvml", default=True, help="Read this host's GPUs by the driver.  [default: nvml]")
@click.option("--every", default="100ms", show_default=True, help="Between two GPU samples.")
@click.option("--log", default="socket", show_default=True, help="Server log: socket, off, or a file on this host.")
@click.option("--token-variable", metavar="NAME", help="Environment variable with a token for the servers.")
@click.option("--listen", metavar="ADDRESS", help="Serve it all to others: 9410, [::1]:9410 or 0.0.0.0:9410.")
@click.option("--keep", default="5m", show_default=True, help="With --listen: a network cut so long loses nothing.")
@click.option(
    "--probe-token-variable",
    metavar="NAME",
    default=PROBE_TOKEN,
    show_default=True,
    help="Environment variable with the token of probes: asked for by --listen, sent by --probe.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Record to a run directory in this folder.")
@click.option("--for", "duration", metavar="TIME", help="Stop after this time, e.g. 10m.")
def command(
    servers: tuple[str, ...],
    dcgm: tuple[str, ...],
    remote: tuple[str, ...],
    every: str,
    log: str,
    token_variable: str | None,
    listen: str | None,
    keep: str,
    probe_token_variable: str,
    out: Path | None,
    duration: str | None,
    *,
    nvml: bool,
) -> int:
    """Watch GPU, host and, if named, ComfyUI servers, in a live table; Ctrl-C ends it."""
    from comfysoak.commands.options import as_seconds, as_url
    from comfysoak_core.recording.redaction import hide_value_of
    from comfysoak_probes.config import RemoteProbe, SamplerConfig
    from comfysoak_probes.remote.listening import ListenAddress, ListenOn, token_in
    from comfysoak_probes.shown.live import probe

    for variable in (token_variable, probe_token_variable):
        if variable:
            hide_value_of(variable)
    probe_token = token_in(probe_token_variable)
    config = SamplerConfig(
        nvml=nvml,
        dcgm=tuple(as_url(url, "--dcgm") for url in dcgm),
        every_s=as_seconds(every, "--every"),
        servers=tuple(as_url(url, "--server") for url in servers),
        log=log,
        token=os.environ.get(token_variable) if token_variable else None,
        disk=str(out or "."),
        probes=tuple(RemoteProbe(as_url(url, "--probe"), probe_token) for url in remote),
    )
    listen_on = None
    if listen is not None:
        try:
            address = ListenAddress.of(listen)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--listen") from None
        listen_on = ListenOn(address, as_seconds(keep, "--keep"), probe_token, probe_token_variable)
    seconds = as_seconds(duration, "--for") if duration else None
    return int(probe(config, listen=listen_on, out=out, seconds=seconds))
