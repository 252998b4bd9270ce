"""What a check is about: from the command line, an env file and the environment, each with where it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from comfysoak.check.env_file import UnreadLine, read_env_file
from comfysoak_core.errors import UsageError
from comfysoak_core.gateway.api import APIS, Api, ApiName
from comfysoak_core.recording.redaction import HIDDEN, hide_value_of
from comfysoak_core.scenario.address import check_url
from comfysoak_core.scenario.units import parse_duration

THE_COMMAND_LINE: Final = "the command line"
THE_ENVIRONMENT: Final = "the environment"
GATEWAY_TOKEN: Final = "COMFYSOAK_GATEWAY_TOKEN"  # noqa: S105  # the name of a variable
GATEWAY_ADMIN_TOKEN: Final = "COMFYSOAK_GATEWAY_ADMIN_TOKEN"  # noqa: S105  # the name of a variable
API_KEY: Final = "COMFYUI_API_KEY"
_SECRETS: Final = frozenset({API_KEY, "IMAGES_EDIT_COMFYUI_API_KEY"})
_OURS: Final = re.compile(
    r"(?!COMFYSOAK)(CO[MN]FY?|IMAGES?_|ENABLE_IMAGE|ENABLE_PERSISTENT|AIOHTTP_|(?:HTTP|ALL|NO)_PROXY$)", re.IGNORECASE
)
_TOKEN_CHARACTERS: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Given:
    """One value and where it came from: `the command line`, `the environment`, `.env:3`."""

    value: str
    source: str


@dataclass(frozen=True, slots=True)
class GatewayAccess:
    """A gateway. Secrets stand in the variables these fields name, and nowhere else."""

    url: str
    api: Api
    api_name: str
    token_variable: str | None = None
    admin_token_variable: str | None = None  # of an administrator, where the token is a user's
    forbidden_token_variable: str | None = None  # of somebody who may not make pictures


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a check was told. A variable that is not set is not there: `variables` has what was found, by name."""

    variables: dict[str, Given] = field(default_factory=dict)  # COMFYUI_* and what else the gateway reads, as found
    base_url: Given | None = None  # the target: argument, else COMFYUI_BASE_URL
    workflow: Given | None = None  # its text
    nodes: Given | None = None  # the mapping's text
    api_key_variable: str | None = None  # set where it holds something
    gateway: GatewayAccess | None = None
    provoke_errors: bool = False
    hold_s: float = 0.0
    idle_s: float = 20.0
    deadline_s: float = 300.0  # of one prompt
    env_file: Path | None = None
    unread_lines: tuple[UnreadLine, ...] = ()  # of it
    unload_first: bool = False  # models are unloaded before they are loaded, so that loading is cold
    may_change_gateway: bool = False  # its configuration, which is put back


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said, as it was written; None: nothing."""

    target: str | None = None  # the argument: the base URL
    env_file: Path | None = None
    workflow: Path | None = None
    nodes: Path | None = None
    api_key_variable: str | None = None  # else COMFYUI_API_KEY, where it is set
    gateway: str | None = None
    api: str | None = None  # a name in APIS
    token_variable: str | None = None  # else COMFYSOAK_GATEWAY_TOKEN, where it is set
    admin_token_variable: str | None = None  # else COMFYSOAK_GATEWAY_ADMIN_TOKEN, where it is set
    forbidden_token_variable: str | None = None
    provoke_errors: bool = False
    hold: str | None = None
    idle: str | None = None
    deadline: str | None = None
    unload_first: bool = False
    may_change_gateway: bool = False


def settings_from(environment: MutableMapping[str, str], options: Options) -> Settings:
    """The settings of a check; UsageError for a call that cannot be understood.

    A value is taken from the option, else from the env file, else from the environment. Secrets of the env file are
    put into `environment`, as everybody reads them there by the names of their variables, and are hidden everywhere.
    """
    assigned, unread = read_env_file(options.env_file, environment) if options.env_file else ({}, ())
    found = {name: Given(value, THE_ENVIRONMENT) for name, value in environment.items()} | {
        name: Given(value, f"{options.env_file}:{line}") for name, (value, line) in assigned.items()
    }
    secrets = _Secrets(found, environment)
    gateway = _gateway(options, secrets)
    defaults = Settings()
    return Settings(
        variables=dict(_variables(found)),
        base_url=Given(options.target, THE_COMMAND_LINE) if options.target else _set(found, "COMFYUI_BASE_URL"),
        workflow=_text_of(options.workflow, "--workflow") or _set(found, "COMFYUI_WORKFLOW"),
        nodes=_text_of(options.nodes, "--nodes") or _set(found, "COMFYUI_WORKFLOW_NODES"),
        api_key_variable=secrets.named(options.api_key_variable, "--api-key-variable", API_KEY),
        gateway=gateway,
        provoke_errors=options.provoke_errors,
        hold_s=_seconds(options.hold, "--hold", defaults.hold_s),
        idle_s=_seconds(options.idle, "--idle", defaults.idle_s),
        deadline_s=_seconds(options.deadline, "--deadline", defaults.deadline_s),
        env_file=options.env_file,
        unread_lines=unread,
        unload_first=options.unload_first,
        may_change_gateway=options.may_change_gateway,
    )


@dataclass(frozen=True, slots=True)
class _Secrets:
    """Variables that hold a secret, by name."""

    found: Mapping[str, Given]
    environment: MutableMapping[str, str]

    def named(self, name: str | None, option: str, otherwise: str | None = None) -> str | None:
        """The variable an option names (UsageError where it holds no token), else `otherwise` where that is set."""
        wanted = name or otherwise
        given = self.found.get(wanted) if wanted else None
        if wanted is None or given is None or not given.value:
            if name is None:
                return None
            raise UsageError(f"{option} names {name}, which is not set", f"export {name}=...")
        if not _TOKEN_CHARACTERS.fullmatch(given.value):
            raise UsageError(
                f"{wanted} ({given.source}) holds characters that no token has: spaces, line breaks, or beyond ASCII",
                "Look for a line break at its end.",
            )
        self.environment[wanted] = given.value
        hide_value_of(wanted)
        return wanted


def _variables(found: Mapping[str, Given]) -> Iterator[tuple[str, Given]]:
    for name, given in sorted(found.items()):
        if _OURS.match(name):
            is_secret = name.upper() in _SECRETS and given.value
            yield name, Given(HIDDEN, given.source) if is_secret else given


def _set(found: Mapping[str, Given], name: str) -> Given | None:
    """An empty variable is none: the gateway takes its default then."""
    given = found.get(name)
    return given if given is not None and given.value.strip() else None


def _text_of(path: Path | None, option: str) -> Given | None:
    if path is None:
        return None
    try:
        return Given(path.read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be read: {error.strerror}", "Name a file that is there.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path} is not UTF-8", "Save it again as UTF-8.") from None


def _gateway(options: Options, secrets: _Secrets) -> GatewayAccess | None:
    if options.gateway is None:
        alone = {
            "--api": options.api,
            "--token-variable": options.token_variable,
            "--admin-token-variable": options.admin_token_variable,
            "--forbidden-token-variable": options.forbidden_token_variable,
        }
        for option, value in alone.items():
            if value is not None:
                raise UsageError(f"{option} is about a gateway, and none is named", "Add --gateway http://HOST:PORT.")
        return None
    name = options.api or "open-webui"
    if name not in APIS:
        raise UsageError(f"--api {name} is not known", f"It is one of {', '.join(APIS)}.")
    try:
        url = check_url(options.gateway)
    except ValueError as error:
        raise UsageError(f"--gateway: {error}", "Such as --gateway http://platform:8080") from None
    return GatewayAccess(
        url,
        APIS[cast("ApiName", name)],
        name,
        secrets.named(options.token_variable, "--token-variable", GATEWAY_TOKEN),
        secrets.named(options.admin_token_variable, "--admin-token-variable", GATEWAY_ADMIN_TOKEN),
        secrets.named(options.forbidden_token_variable, "--forbidden-token-variable"),
    )


def _seconds(text: str | None, option: str, otherwise: float) -> float:
    if text is None:
        return otherwise
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}", f"Such as {option} 30s") from None
    if seconds < 0:
        raise UsageError(f"{option}: expected no less than zero, got {text}", f"Such as {option} 30s")
    return seconds
