"""Variables: which are set and where from, which the gateway cannot read, which nobody reads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from comfysoak.check.checking import failed, ok, skipped, warning
from comfysoak.check.env_file import UnreadLine
from comfysoak.check.parts.gateway.layout import Configuration
from comfysoak.check.row import Row
from comfysoak.check.settings import API_KEY, THE_ENVIRONMENT, Given, Settings
from comfysoak_core.comfyui.json_text import excerpt
from comfysoak_core.comfyui.judgement import version_of
from comfysoak_core.recording.redaction import redact

BASE_URL, WORKFLOW, NODES = "COMFYUI_BASE_URL", "COMFYUI_WORKFLOW", "COMFYUI_WORKFLOW_NODES"
NODES_READ_SINCE: Final = (0, 6, 41)
_READ: Final = (
    BASE_URL, WORKFLOW, NODES, API_KEY, "ENABLE_IMAGE_GENERATION", "IMAGE_GENERATION_ENGINE", "IMAGE_GENERATION_MODEL",
    "IMAGE_SIZE", "IMAGE_STEPS", "ENABLE_PERSISTENT_CONFIG", "IMAGES_EDIT_COMFYUI_BASE_URL",
    "IMAGES_EDIT_COMFYUI_API_KEY", "IMAGES_EDIT_COMFYUI_WORKFLOW", "IMAGES_EDIT_COMFYUI_WORKFLOW_NODES",
    "AIOHTTP_CLIENT_TIMEOUT", "AIOHTTP_POOL_CONNECTIONS", "AIOHTTP_POOL_CONNECTIONS_PER_HOST",
)  # fmt: skip
_MEANT: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("COMFYUI_URL", "COMFYUI_URI", "COMFYUI_HOST", "COMFYUI_SERVER", "COMFYUI_API_URL", "COMFYUI_API_BASE_URL",
         "COMFYUI_ENDPOINT", "COMFYUI_ADDRESS", "COMFYUI_SERVER_URL", "COMFYUI_BASE", "COMFY_URL", "COMFY_BASE_URL"),
        BASE_URL,
    ),
    **dict.fromkeys(
        ("COMFYUI_WORKFLOW_JSON", "COMFYUI_WORKFLOW_FILE", "COMFYUI_WORKFLOW_PATH", "COMFYUI_PROMPT"), WORKFLOW
    ),
    **dict.fromkeys(
        ("COMFYUI_NODES", "COMFYUI_WORKFLOW_NODE", "COMFYUI_WORKFLOW_MAPPING", "COMFYUI_NODE_MAPPING",
         "COMFYUI_WORKFLOW_NODES_JSON"),
        NODES,
    ),
    **dict.fromkeys(("COMFYUI_KEY", "COMFYUI_TOKEN", "COMFYUI_APIKEY", "COMFYUI_AUTH_TOKEN"), API_KEY),
    **dict.fromkeys(("IMAGE_ENGINE", "IMAGES_GENERATION_ENGINE"), "IMAGE_GENERATION_ENGINE"),
    **dict.fromkeys(("ENABLE_IMAGES", "ENABLE_IMAGES_GENERATION"), "ENABLE_IMAGE_GENERATION"),
}  # fmt: skip
_NO_LONGER_READ: Final = frozenset({
    "COMFYUI_FLUX_WEIGHT_DTYPE", "COMFYUI_FLUX_FP8_CLIP", "COMFYUI_CFG_SCALE", "COMFYUI_SAMPLER", "COMFYUI_SCHEDULER",
    "COMFYUI_SD3", "COMFYUI_FLUX", "COMFYUI_STEPS",
})  # fmt: skip
_NEAR: Final = 0.88
_PROXIES: Final = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def is_set(settings: Settings, stored: Configuration | None) -> Row:
    """variables.set."""
    id_ = "variables.set"
    missing, found = [], []
    for name, given in ((BASE_URL, settings.base_url), (WORKFLOW, settings.workflow), (NODES, settings.nodes)):
        if given is not None:
            shown = redact(excerpt(given.value, 80)) if name == BASE_URL else f"{len(given.value)} characters"
            found.append(f"{name} from {given.source} ({shown})")
        elif _stored_value(stored, name):
            found.append(f"{name} from the gateway's configuration")
        elif name == BASE_URL or _is_expected(settings, name):
            missing.append(name)
    if settings.api_key_variable is not None:
        found.append(f"{settings.api_key_variable} is set")
    if missing:
        near = [_pair(name, settings) for name in settings.variables if meant(name) in missing]
        hint = f" {near[0]}" if near else ""
        options = {BASE_URL: "comfysoak check http://HOST:8188", WORKFLOW: "--workflow FILE", NODES: "--nodes FILE"}
        how = " or ".join(options[name] for name in missing[:1])
        seen = f"not set: {', '.join(missing)}. {'Set: ' + '; '.join(found) if found else 'Nothing else is set.'}"
        flawed = [line for line in settings.unread_lines if line.name in missing]
        if flawed:
            seen = f"{seen.removesuffix('.')}; {_flaws(settings, flawed)}"
            return failed(id_, seen, " ".join(dict.fromkeys(line.remedy for line in flawed)))
        return failed(id_, seen, f"Set {', '.join(missing)} ({how}), or name the env file: --env-file .env.{hint}")
    return ok(id_, "; ".join(found))


def _is_expected(settings: Settings, name: str) -> bool:
    """Whoever names server or workflow on the command line need not have a platform's variables."""
    by_variables = settings.base_url is not None and BASE_URL in settings.variables
    by_variables = by_variables or any(other in settings.variables for other in (WORKFLOW, NODES))
    if name == NODES and settings.workflow is not None and WORKFLOW not in settings.variables:
        return False
    return by_variables or settings.base_url is None


def _stored_value(stored: Configuration | None, name: str) -> bool:
    if stored is None:
        return False
    return bool({BASE_URL: stored.base_url, WORKFLOW: stored.workflow, NODES: stored.nodes}[name])


# What the values must be for the gateway to read them


def are_readable(settings: Settings) -> Row:
    """variables.values."""
    id_ = "variables.values"
    complaints = list(_unreadable(settings))
    lines = [line for line in settings.unread_lines if not _is_told_elsewhere(line, settings)]
    told = [what for what, _, _ in complaints] + ([_flaws(settings, lines)] if lines else [])
    if any(is_fatal for _, _, is_fatal in complaints):
        return failed(id_, _told(told), complaints[0][1])
    if complaints:
        return warning(id_, _told(told), complaints[0][1])
    if lines:
        return warning(id_, _told(told), " ".join(dict.fromkeys(line.remedy for line in lines)))
    judged = [name for name in (*_VALUES, "AIOHTTP_POOL_CONNECTIONS_PER_HOST") if name in settings.variables]
    if not judged:
        return skipped(id_, "none of the gateway's other variables is set")
    return ok(id_, ", ".join(f"{name}={excerpt(settings.variables[name].value, 40)}" for name in judged))


def _flaws(settings: Settings, lines: Sequence[UnreadLine]) -> str:
    """By their numbers and names alone: their values may be secrets."""
    shown = [
        f"{settings.env_file}:{line.number}{f' ({line.name[:60]})' if line.name else ''} {line.flaw}"
        for line in lines[:4]
    ]
    return "; ".join(shown) + (f"; and {len(lines) - 4} more lines" if len(lines) > 4 else "")


def _is_told_elsewhere(line: UnreadLine, settings: Settings) -> bool:
    """Whether a variable is not set because of it, or it is the rest of JSON whose own row says where that ends."""
    if line.name:
        given = {BASE_URL: settings.base_url, WORKFLOW: settings.workflow, NODES: settings.nodes}
        return line.name in given and given[line.name] is None
    values = [settings.variables[name].value.strip() for name in (WORKFLOW, NODES) if name in settings.variables]
    return any(value[:1] in ("{", "[") and value[-1:] not in ("}", "]") for value in values)


def _unreadable(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """What is wrong with a value, what to do, and whether nothing works by it."""
    for name, judge in _VALUES.items():
        given = settings.variables.get(name)
        found = judge(given.value) if given is not None else None
        if given is not None and found is not None:
            what, remedy, is_fatal = found
            yield f"{name} ({given.source}) is {excerpt(given.value, 40)!r}: {what}", remedy, is_fatal
    yield from _pool_limit(settings.variables)
    yield from _proxied(settings)


_Judgement = tuple[str, str, bool] | None


def _switch(value: str) -> _Judgement:
    if value.strip().lower() == "true" and value == value.strip():
        return None
    return "everything but true means that image generation is off (403)", "Set ENABLE_IMAGE_GENERATION=true.", True


def _engine(value: str) -> _Judgement:
    if value == "comfyui":
        return None
    return "the gateway does not ask ComfyUI then", "Set IMAGE_GENERATION_ENGINE=comfyui, in small letters.", True


def _size(value: str) -> _Judgement:
    if re.fullmatch(r"[1-9][0-9]*x[1-9][0-9]*", value):
        return None
    what = "expected WIDTHxHEIGHT; requests that name no size end in 500"
    return what, "Write it like IMAGE_SIZE=512x512.", True


def _whole(name: str, example: str) -> Callable[[str], _Judgement]:
    def judge(value: str) -> _Judgement:
        if re.fullmatch(r"\s*\+?[0-9]+\s*", value):
            return None
        return "expected a whole number; the gateway does not start with it", f"Write it like {name}={example}.", True

    return judge


def _timeout(value: str) -> _Judgement:
    if not value or re.fullmatch(r"\s*\+?[0-9]+\s*", value):
        return None
    return "expected seconds as a whole number; 300 are taken in its place", "Write AIOHTTP_CLIENT_TIMEOUT=300.", False


_VALUES: Final[Mapping[str, Callable[[str], _Judgement]]] = {
    "ENABLE_IMAGE_GENERATION": _switch,
    "IMAGE_GENERATION_ENGINE": _engine,
    "IMAGE_SIZE": _size,
    "IMAGE_STEPS": _whole("IMAGE_STEPS", "20"),
    "AIOHTTP_CLIENT_TIMEOUT": _timeout,
}


def _pool_limit(variables: Mapping[str, Given]) -> Iterator[tuple[str, str, bool]]:
    for name in ("AIOHTTP_POOL_CONNECTIONS_PER_HOST", "AIOHTTP_POOL_CONNECTIONS"):
        given = variables.get(name)
        if given is not None and re.fullmatch(r"[1-9][0-9]*", given.value.strip()):
            limit = int(given.value)
            yield (
                f"{name} ({given.source}) is {limit}: {limit} requests, each with a WebSocket, leave none for /prompt",
                f"Take {name} away: each picture needs two connections at once.",
                False,
            )


def _proxied(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """A proxy named in the platform's own env file; one in our environment says nothing about the gateway."""
    from comfysoak_core.comfyui.reaching import Place, place_of

    place = place_of(settings.base_url.value) if settings.base_url is not None else None
    if not isinstance(place, Place) or place.scheme != "http":
        return
    named = {name: given for name, given in settings.variables.items() if given.source != THE_ENVIRONMENT}
    proxy = next((name for name in _PROXIES if name in named and named[name].value), None)
    exceptions = next((named[name].value for name in ("NO_PROXY", "no_proxy") if name in named), "")
    hosts = [host.strip().lstrip(".") for host in exceptions.split(",") if host.strip()]
    excepted = any(host == "*" or place.host == host or place.host.endswith(f".{host}") for host in hosts)
    if proxy is not None and not excepted:
        what = f"{proxy} ({named[proxy].source}) sends the gateway's requests for {place.host} through a proxy"
        yield what, f"Add {place.host} to NO_PROXY.", False


# Which variables nobody reads


def are_known(settings: Settings, gateway_version: str | None, stored: Configuration | None) -> Row:
    """variables.known."""
    id_ = "variables.known"
    complaints = [*_near_misses(settings), *_ignored(settings, gateway_version, stored)]
    if complaints:
        return warning(id_, _told([what for what, _ in complaints]), " ".join(remedy for _, remedy in complaints[:3]))
    ours = [name for name in settings.variables if name in _READ]
    if not settings.variables:
        return skipped(id_, "no variable of the integration is set")
    version = f" by the gateway's version {gateway_version}" if gateway_version else ""
    return ok(id_, f"{len(ours)} variables of the integration are set, and each is one that is read{version}")


def meant(name: str) -> str | None:
    """The variable that was meant by one that nobody reads; None: it is read, or means nothing here."""
    if name in _READ or name in _NO_LONGER_READ:
        return None
    upper = name.upper()
    if upper in _READ:
        return upper
    if upper in _MEANT:
        return _MEANT[upper]
    bare = {read.replace("_", ""): read for read in _READ}
    if upper.replace("_", "") in bare:
        return bare[upper.replace("_", "")]
    near = difflib.get_close_matches(upper, _READ, 1, _NEAR)
    return near[0] if near else None


def _near_misses(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, given in settings.variables.items():
        right = meant(name)
        if right is not None and right not in settings.variables:
            yield f"{name} ({given.source}) is read by nobody", f"Rename {name} to {right}."


def _pair(name: str, settings: Settings) -> str:
    return f"{name} ({settings.variables[name].source}) should be called {meant(name)}."


def _ignored(settings: Settings, version: str | None, stored: Configuration | None) -> Iterator[tuple[str, str]]:
    old = sorted(name for name in settings.variables if name in _NO_LONGER_READ)
    if old:
        what = f"{', '.join(old)}: no longer read since the workflow is given as a whole"
        yield what, f"Take {', '.join(old)} away, and set these inputs in COMFYUI_WORKFLOW."
    numbers = version_of(version)
    if numbers and numbers < NODES_READ_SINCE and NODES in settings.variables:
        if stored is not None and stored.nodes == _document(settings.variables[NODES].value):
            return  # an administrator has put it there by hand
        what = f"{NODES} ({settings.variables[NODES].source}) is ignored by the gateway's version {version}"
        yield (
            what,
            f"Store the mapping by its admin settings (Images), or upgrade to 0.6.43 or later: {NODES} is read then.",
        )


def _document(text: str) -> object:
    from comfysoak_core.comfyui.json_text import document_or_none

    return document_or_none(text.encode())


def _told(complaints: list[str]) -> str:
    more = f"; and {len(complaints) - 4} more" if len(complaints) > 4 else ""
    return "; ".join(complaints[:4]) + more
