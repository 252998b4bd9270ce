"""The gateway: it answers, makes pictures, refuses what it must, and hands a request on as it was made.

    layout      what differs between gateways         door        asking one, with this token or that
    generation  one request, with a limit of our own  behind      the ComfyUI behind it
    wishes      what is asked for                     arrival     what of it came into the graph
    pictures    fetching them                         change      changing its configuration, and putting it back
    judging     what answers mean                     visit       what is done there, and tidying up
    handed_over, refused, configured                  rows

Nothing that a platform in use would notice is done unasked: its configuration is changed with --change-config only.
Routes that switch an old gateway off when they fail (its verify, its models) are never asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from comfysoak.check.checking import Checking, failed, ok, skipped
from comfysoak.check.conversation.figures import counted
from comfysoak.check.parts.gateway import judging
from comfysoak.check.parts.gateway.configured import change_row, config_row
from comfysoak.check.parts.gateway.door import Silence, Who, said
from comfysoak.check.parts.gateway.generation import ending_of
from comfysoak.check.parts.gateway.handed_over import rows_of_request
from comfysoak.check.parts.gateway.refused import failure_row, forbidden_row, invalid_row, unauthorised_row
from comfysoak.check.parts.gateway.visit import Visit
from comfysoak.check.parts.gateway.wishes import refusals
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS, Part
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.json_text import document_or_none
from comfysoak_core.gateway.sighting import Whereabouts
from comfysoak_core.recording.redaction import redact

_IDS = tuple(id_ for id_, kind in KINDS.items() if kind.part is Part.GATEWAY)


def look(checking: Checking) -> Iterator[Row]:
    """The rows of Part.GATEWAY, in order."""
    access = checking.settings.gateway
    if access is None:
        yield from (skipped(id_, "no gateway was named: --gateway http://HOST:PORT") for id_ in _IDS)
        return
    with Visit(checking, access) as visit:
        yield from _rows(visit)


def _rows(visit: Visit) -> Iterator[Row]:
    checking = visit.checking
    checking.say("asking the gateway how it is")
    health = _health(visit)
    yield health
    if isinstance(visit.well, Silence):
        yield from (skipped(id_, "the gateway does not answer") for id_ in _IDS[1:])
        return
    config = config_row(visit)
    yield config
    door = _door_problem(visit)
    yield _models(visit, door)
    checking.say("asking the gateway for pictures")
    generates = door or _stands_in_the_way(visit, config) or _generates(visit)
    yield generates
    yield from rows_of_request(visit)
    checking.say("asking the gateway for what it must refuse")
    yield unauthorised_row(visit, door)
    yield forbidden_row(visit, door)
    yield invalid_row(visit, door)
    yield failure_row(visit, generates)
    yield change_row(visit)
    checking.say("leaving the gateway as it was found")
    yield _left(visit)


def _health(visit: Visit) -> Row:
    route = visit.door.access.api.health
    answer = visit.ask_health()
    if route is None or answer is None:
        return skipped("gateway.health", f"this API ({visit.door.access.api_name}) has no health route")
    return judging.health_row(answer, route, visit.version())


def _door_problem(visit: Visit) -> Row | None:
    """Why no picture can be asked for at all; None: one can."""
    answer = visit.ask_entry()
    return judging.entry_problem(answer, visit.door.access.api.path, has_token=visit.door.has(Who.USER))


def _models(visit: Visit, door: Row | None) -> Row:
    id_ = "gateway.models"
    route = visit.layout.models
    if visit.door.access.api_name == "open-webui-old":
        return skipped(id_, "not asked, on purpose: where that fails, this version switches image generation off")
    if route is None:
        return skipped(id_, f"this API ({visit.door.access.api_name}) has no route for it")
    if door is not None:
        return skipped(id_, "the gateway does not let us in: see gateway.generates")
    found = judging.models_row(visit.door.ask(Who.USER, "GET", route), route)
    if found.remedy and visit.config is not None and judging.stored_problem(visit.config) is not None:
        return skipped(id_, f"{found.seen}: see gateway.generates")
    if found.remedy and not _comfyui_is_there(visit):
        return skipped(id_, f"{found.seen}: ComfyUI does not answer, see url.http")
    return found


def _comfyui_is_there(visit: Visit) -> bool:
    """False only where a ComfyUI was named and does not answer: what fails then is told there."""
    known = visit.checking.known
    return known.answers or known.base_url is None


def _stands_in_the_way(visit: Visit, config: Row) -> Row | None:
    """Why a request would fail for sure, so that none is sent; None: nothing is known to."""
    id_ = "gateway.generates"
    if visit.config is None:
        return _unsendable(visit)
    if config.remedy:
        return skipped(id_, "see gateway.config")
    problem = judging.stored_problem(visit.config)
    if problem is None or "COMFYUI_BASE_URL" in problem.seen:
        return problem or _unsendable(visit)
    settings = visit.checking.settings
    if settings.workflow is not None and not visit.checking.known.is_sendable and _is_as_given(visit):
        return skipped(id_, "its workflow or its mapping is broken: see the rows workflow and nodes")
    return problem


def _unsendable(visit: Visit) -> Row | None:
    """The workflow that was named is broken, and as far as is known the gateway has the same."""
    known = visit.checking.known
    if visit.checking.settings.workflow is None or known.is_sendable or not known.answers:
        return None
    if visit.config is not None and not _is_as_given(visit):
        return None
    return skipped("gateway.generates", "ComfyUI would refuse the workflow: see the rows of it")


def _is_as_given(visit: Visit) -> bool:
    """Whether the gateway has the workflow that the environment says."""
    given = visit.checking.settings.workflow
    if given is None or visit.config is None:
        return False
    return bool(document_or_none(given.value.encode()) == document_or_none(visit.config.workflow.encode()))


def _generates(visit: Visit) -> Row:
    id_ = "gateway.generates"
    done = visit.generate_twice()
    second = visit.second
    if done.count:
        if second is None or second.count:
            times = f"{done.took_s:.1f} s" + (f", then one in {second.took_s:.1f} s" if second is not None else "")
            return ok(id_, f"200: {counted(done.count, 'picture')} in {times}")
        done = second
    ending = ending_of(done, max(done.wish.n, 1), is_well=visit.is_well if done.hangs else None)
    if ending.code is Code.SUBMIT_ERROR and not _comfyui_is_there(visit):
        return skipped(
            id_, f"{said(done.answer) if done.answer else 'no answer'}: ComfyUI does not answer, see url.http"
        )
    entry = done.trace.entry if done.trace is not None else None
    was_made = entry is not None and entry.succeeded is True
    failure = judging.failure_of_generation(id_, ending, done.status, was_made=was_made)
    why = _why_refused(visit) if done.status == 400 and ending.code is Code.SUBMIT_ERROR else ""
    if not why:
        return failure
    remedy = "Correct it where the gateway has it: its settings win over its environment (ENABLE_PERSISTENT_CONFIG)."
    return failed(id_, f"{failure.seen}. {why}", remedy, code=failure.code)


def _why_refused(visit: Visit) -> str:
    """What of the gateway's configuration ComfyUI refuses, where that can be known; empty: nothing is."""
    config, graph, mappings = visit.config, visit.graph, visit.mappings
    sighting = visit.first.sighting if visit.first is not None else None
    if config is None or graph is None or mappings is None:
        return ""
    if sighting is not None and sighting.whereabouts is not Whereabouts.UNKNOWN:
        return ""
    why = list(refusals(config, graph, mappings, visit.model, visit.described))
    ours = visit.checking.known.base_url
    if not why and ours is not None and config.base_url != ours:
        why = [f"The gateway asks {redact(config.base_url)}, this check {redact(ours)}"]
    return "; ".join(why)


def _left(visit: Visit) -> Row:
    id_ = "gateway.left"
    if visit.first is None and not visit.has_read_config:
        return skipped(id_, "nothing was made or changed there")
    left = visit.tidy()
    if left.problems:
        remedy = f"Put it right {judging.SETTINGS}; a request that hangs ends with a restart of the gateway."
        return failed(id_, "; ".join(left.problems), remedy)
    parts = [f"{counted(left.prompts, 'prompt')} of ours taken out of ComfyUI's history"] if left.prompts else []
    if visit.layout.picture is not None and visit.pictures_made:
        parts.append(f"{counted(left.pictures, 'picture')} of ours deleted")
    elif visit.pictures_made:
        kept = "stay in its cache" if visit.layout.pictures_are_public else "stay, if it keeps any"
        parts.append(f"{visit.pictures_made} pictures of ours {kept}: there is no route to delete them")
    if visit.unknown:
        parts.append(
            f"{counted(visit.unknown, 'prompt')} of ours, not to be told from others, in ComfyUI's history still"
        )
    if visit.has_read_config:
        parts.append("its configuration is as it was")
    if visit.pictures_made:
        parts.append(f"ComfyUI keeps the files of {visit.pictures_made} in its output folder")
    return ok(id_, "; ".join(parts) or "nothing of ours is there")
