"""`comfysoak check`: whether a ComfyUI integration is sound, row by row."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfysoak.commands.options import as_seconds
from comfysoak_core.errors import UsageError
from comfysoak_core.recording.redaction import redact
from comfysoak_core.terminal import printable

if TYPE_CHECKING:
    from comfysoak.check.settings import Options, Settings
    from comfysoak.check.telling import Telling

EPILOG = """\b
Examples:
  comfysoak check                                      what the environment says: COMFYUI_BASE_URL, COMFYUI_WORKFLOW,
                                                       COMFYUI_WORKFLOW_NODES, COMFYUI_API_KEY
  comfysoak check --env-file .env                      the same from the file that the platform is started with
  comfysoak check http://gpu-1:8188 --workflow w.json
  comfysoak check --gateway http://platform:8080       the gateway before it; its token in COMFYSOAK_GATEWAY_TOKEN
  comfysoak check --errors                             provokes failures, too; asks first, --yes in CI
  comfysoak check --markdown checklist.md --html check.html --junit check.xml
  comfysoak check --watch 30s --metrics 127.0.0.1:9109 stays, as a monitor
It sends at most 10 prompts without --errors and --hold, and leaves server and gateway as it found them.
Exit codes: 0 sound (warnings too), 2 wrong call, 4 a row failed, 130 and 143 interrupted (what was decided until then
is told all the same). What each row means and what to do: docs/troubleshooting.md."""
ASKED = """\
--errors provokes failures: it puts a proxy of its own between the gateway and ComfyUI, sends workflows that must fail,
and gives up on some. It stops no server of yours, and puts back what it changes. Meanwhile users of this gateway are
refused, cut off, or wait for a minute and more."""


_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=EPILOG)
@click.argument("target", default="")
@click.option("--env-file", type=_FILE, help="Read variables from here before the environment.")
@click.option("--workflow", type=_FILE, help="In API format; default: COMFYUI_WORKFLOW.")
@click.option("--nodes", type=_FILE, help="The node mapping; default: COMFYUI_WORKFLOW_NODES.")
@click.option("--api-key-variable", metavar="NAME", help="Holds ComfyUI's key; default: COMFYUI_API_KEY.")
@click.option("--gateway", metavar="URL", help="The image gateway that stands before ComfyUI.")
@click.option("--api", metavar="NAME", help="Its shape: open-webui (default), open-webui-old or openai.")
@click.option("--token-variable", metavar="NAME", help="Holds a token of it; default: COMFYSOAK_GATEWAY_TOKEN.")
@click.option(
    "--admin-token-variable", metavar="NAME",
    help="Holds an administrator's, where that is another; default: COMFYSOAK_GATEWAY_ADMIN_TOKEN.",
)  # fmt: skip
@click.option("--forbidden-token-variable", metavar="NAME", help="Holds one of a user who may not make pictures.")
@click.option("--change-config", is_flag=True, help="Change the gateway's configuration, too, and put it back.")
@click.option("--errors", is_flag=True, help="Provoke failures, too.")
@click.option("--yes", is_flag=True, help="Do not ask before --errors.")
@click.option("--free", is_flag=True, help="Have the server unload its models first: loading is really cold then.")
@click.option("--idle", metavar="TIME", help="A socket stays silent for so long; default: 20s.")
@click.option("--hold", metavar="TIME", help="A socket is held open for so long, such as 5m; default: not at all.")
@click.option("--deadline", metavar="TIME", help="A prompt may take so long; default: 5m.")
@click.option("--watch", metavar="TIME", help="Stay, and look again every so often: a monitor.")
@click.option("--metrics", metavar="HOST:PORT", help="With --watch: serve /metrics, /healthz and /readyz there.")
@click.option(
    "--canary-every", metavar="TIME",
    help="With --watch: send a prompt so often, or never; default: 5m for a workflow, else each look.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The outcome as JSON on stdout.")
@click.option("--junit", type=_FILE, help="Write it as JUnit: a test case a row.")
@click.option("--html", type=_FILE, help="Write it as a page, complete in one file.")
@click.option("--markdown", type=_FILE, help="Write the team's checklist, ticked.")
@click.option("--quiet", is_flag=True, help="Only what fails or warns, and how it came out.")
@click.option("--log-json", is_flag=True, help="What happens, as lines of JSON on stderr.")
def command(
    target: str,
    env_file: Path | None,
    workflow: Path | None,
    nodes: Path | None,
    api_key_variable: str | None,
    gateway: str | None,
    api: str | None,
    token_variable: str | None,
    admin_token_variable: str | None,
    forbidden_token_variable: str | None,
    idle: str | None,
    hold: str | None,
    deadline: str | None,
    watch: str | None,
    metrics: str | None,
    canary_every: str | None,
    junit: Path | None,
    html: Path | None,
    markdown: Path | None,
    *,
    change_config: bool,
    errors: bool,
    yes: bool,
    free: bool,
    as_json: bool,
    quiet: bool,
    log_json: bool,
) -> int:
    """Say of TARGET (default: COMFYUI_BASE_URL), workflow and gateway what holds, what fails, and what to do."""
    from comfysoak.check.settings import Options, settings_from
    from comfysoak.check.telling import Telling, check_and_tell

    options = Options(
        target=target or None,
        env_file=env_file,
        workflow=workflow,
        nodes=nodes,
        api_key_variable=api_key_variable,
        gateway=gateway,
        api=api,
        token_variable=token_variable,
        admin_token_variable=admin_token_variable,
        forbidden_token_variable=forbidden_token_variable,
        provoke_errors=errors,
        hold=hold,
        idle=idle,
        deadline=deadline,
        unload_first=free,
        may_change_gateway=change_config,
    )
    settings = settings_from(os.environ, options)
    telling = Telling(junit, html, markdown, as_json=as_json, quiet=quiet, log_json=log_json)
    if watch is not None or metrics is not None or canary_every is not None:
        return _watch(options, watch, canary_every, metrics, telling)
    if errors and not yes:
        _ask(settings)
    return int(check_and_tell(settings, telling).exit_code)


def _ask(settings: Settings) -> None:
    """Failures are provoked only on somebody's word."""
    if not sys.stdin.isatty():
        raise UsageError("--errors asks first, and there is nobody to ask", "Say --errors --yes.")
    named = [settings.gateway.url] if settings.gateway is not None else []
    named += [settings.base_url.value] if settings.base_url is not None else []
    click.echo(ASKED, err=True)
    click.confirm(f"Provoke failures at {printable(redact(' and '.join(named) or 'nothing'))}?", abort=True, err=True)


def _watch(options: Options, watch: str | None, canary_every: str | None, metrics: str | None, telling: Telling) -> int:
    """Stay as a monitor until a signal ends it."""
    from comfysoak.check.monitor import Rhythm
    from comfysoak.check.monitor import watch as stay
    from comfysoak.check.settings import settings_from

    if watch is None:
        option = "--metrics" if metrics is not None else "--canary-every"
        raise click.UsageError(f"{option} is of a monitor: add --watch 30s")
    of_checks = {
        "--errors": options.provoke_errors,
        "--hold": options.hold,
        "--idle": options.idle,
        "--free": options.unload_first,
        "--change-config": options.may_change_gateway,
    }
    for option, value in of_checks.items():
        if value:
            raise click.UsageError(f"{option} is of a check that ends, and --watch does not: leave one of them out")
    every_s = as_seconds(watch, "--watch")
    canary_every_s = None
    if canary_every is not None:
        canary_every_s = 0.0 if canary_every == "never" else as_seconds(canary_every, "--canary-every")
    return int(stay(lambda: settings_from(os.environ, options), Rhythm(every_s, canary_every_s), metrics, telling))
