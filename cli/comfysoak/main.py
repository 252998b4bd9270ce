"""The front door: `comfysoak VERB`. Results go to stdout, everything else to stderr; exit codes are `ExitCode`."""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from comfysoak_core.errors import ComfySoakError, ExitCode
from comfysoak_core.recording.redaction import redact
from comfysoak_core.terminal import printable

VERBS = {
    "check": "is this integration sound? configuration, server, workflow, gateway, row by row",
    "run": "load, watch, record, report: the main job",
    "worker": "make load on this machine for a run on another",
    "report": "make the report of a recorded run again",
    "compare": "is it worse? runs against runs, with statistics and an exit code",
    "plan": "how many GPUs a demand needs, from what was measured",
    "probe": "watch the GPU and the host alone",
    "sim": "start the embedded ComfyUI simulator alone",
    "trace": "a load trace from a server's history, a recording or an access log",
    "init": "write a scenario for a workflow",
    "schema": "the JSON Schema of a scenario, for editors",
}
EXAMPLES = """\b
Examples:
  comfysoak run                                    the demo: no ComfyUI, no GPU, under a minute
  comfysoak run soak.yaml --target http://gpu-1:8188
  comfysoak check http://gpu-1:8188 --workflow my-workflow-api.json
  comfysoak init my-workflow-api.json > soak.yaml
  comfysoak report runs/20261122-101500-soak
"""


class _Verbs(click.Group):
    """Loads the module of a verb when it is called: `probe` must not pay for pandas."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module = import_module(f"comfysoak.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=_Verbs, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="comfysoak", message="comfysoak %(version)s")
def cli() -> None:
    """Load and stability testing of ComfyUI that watches the GPU and tells the truth."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code; no traceback ever reaches the terminal."""
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    try:
        code = cli.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.ClickException as error:
        error.show(file=sys.stderr)
        return int(ExitCode.WRONG_CALL)
    except (click.Abort, KeyboardInterrupt):
        return int(ExitCode.INTERRUPTED)
    except ComfySoakError as error:
        for problem in error.problems:
            for line in f"error: {redact(str(problem))}".splitlines():
                click.echo(printable(line), err=True)
        return int(error.exit_code)
    except BrokenPipeError:
        from comfysoak.telling import leave_stdout

        leave_stdout()
        return int(ExitCode.OK)
    except Exception as error:  # noqa: BLE001  # the last door: whatever it is, a person gets one line and a file
        return _our_error(error)
    return int(code) if isinstance(code, int) else int(ExitCode.OK)


def _our_error(error: Exception) -> int:
    details = Path(tempfile.mkstemp(prefix="comfysoak-error-", suffix=".txt")[1])
    details.write_text(redact("".join(traceback.format_exception(error))), encoding="utf-8")
    click.echo(
        f"error: {type(error).__name__}: {redact(str(error))}\n"
        f"    This is a mistake of ComfySoak, not of yours. Please report it with the details in {details}",
        err=True,
    )
    return int(ExitCode.OUR_ERROR)
