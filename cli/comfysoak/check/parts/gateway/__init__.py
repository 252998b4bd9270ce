"""The gateway: does it answer, make pictures, refuse what it must, and hand a request on as it was made?

    layout      what differs between gateways         door        asking one, with this token or that
    generation  one request, with a limit of our own  behind      the ComfyUI behind it
    wishes      what is asked for                     arrival     what of it came into the graph
    pictures    fetching them                         change      changing its configuration, and putting it back
    judging     what answers mean                     visit       all of it in order, and tidying up

Nothing that a platform in use would notice is done unasked: its configuration is changed with --change-config only.
Routes that switch an old gateway off when they fail (its verify, its models) are never asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from comfysoak.check.checking import Checking, failed, ok, skipped, warning
from comfysoak.check.parts.gateway import judging
from comfysoak.check.parts.gateway.arrival import Way
from comfysoak.check.parts.gateway.change import Change, NotPossibleError, changed
from comfysoak.check.parts.gateway.door import Silence, Who, said, status_of
from comfysoak.check.parts.gateway.generation import ending_of
from comfysoak.check.parts.gateway.layout import handed_over, output_nodes
from comfysoak.check.parts.gateway.pictures import fetch, fetched, is_at_gateway, made_by_comfyui
from comfysoak.check.parts.gateway.visit import Visit
from comfysoak.check.parts.gateway.wishes import refusals
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS, Part
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.transport import Answer
from comfysoak_core.gateway.answers import Generated, Inline, Link, place_of
from comfysoak_core.gateway.sighting import Whereabouts

_IDS = tuple(id_ for id_, kind in KINDS.items() if kind.part is Part.GATEWAY)
_ASK_TO_CHANGE = "it takes --change-config: its configuration is changed for a moment, and put back"


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
    config = _config(visit)
    yield config
    door = _door_problem(visit)
    yield _models(visit, door)
    checking.say("asking the gateway for pictures")
    generates = door or _stands_in_the_way(visit, config) or _generates(visit)
    yield generates
    yield from _what_came(visit)
    checking.say("asking the gateway for what it must refuse")
    yield _unauthorised(visit, door)
    yield _forbidden(visit, door)
    yield _invalid(visit, door)
    yield _failure(visit, generates)
    yield _change(visit)
    checking.say("leaving the gateway as it was found")
    yield _left(visit)


def _health(visit: Visit) -> Row:
    route = visit.door.access.api.health
    answer = visit.ask_health()
    if route is None or answer is None:
        return skipped("gateway.health", f"this API ({visit.door.access.api_name}) has no health route")
    return judging.health_row(answer, route, visit.version())


def _config(visit: Visit) -> Row:
    id_ = "gateway.config"
    if visit.layout.config is None:
        return skipped(id_, f"this API ({visit.door.access.api_name}) has no route for it")
    if not visit.door.has(Who.ADMIN):
        return skipped(id_, judging.NAME_AN_ADMIN)
    also = visit.read_config()
    if visit.config is not None:
        return judging.config_problem(visit.config) or judging.config_ok(visit.config, also)
    answer = visit.config_answer
    if isinstance(answer, Answer) and answer.status in {401, 403}:
        return skipped(id_, f"{said(answer)}: it {judging.NAME_AN_ADMIN}.{also}")
    told = said(answer) if isinstance(answer, Answer | Silence) else "nothing"
    what = f"{visit.layout.config} answers {told}"
    if isinstance(answer, Answer) and answer.status >= 500:
        remedy = "COMFYUI_WORKFLOW_NODES must be a JSON list: an object breaks this route. See the gateway's log."
        return failed(id_, what, remedy)
    return failed(id_, what, "Name its shape: --api open-webui (0.5 and newer) or open-webui-old (up to 0.4).")


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
    from comfysoak_core.comfyui.json_text import document_or_none

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
            return ok(id_, f"200: {done.count} picture{'s' if done.count > 1 else ''} in {times}")
        done = second
    ending = ending_of(done, max(done.wish.n, 1), is_well=visit.is_well if done.hangs else None)
    if ending.code is Code.SUBMIT_ERROR and not _comfyui_is_there(visit):
        return skipped(
            id_, f"{said(done.answer) if done.answer else 'no answer'}: ComfyUI does not answer, see url.http"
        )
    failure = judging.failure_of_generation(id_, ending, done.status)
    why = _why_refused(visit) if done.status == 400 and ending.code is Code.SUBMIT_ERROR else ""
    return failed(id_, f"{failure.seen}. {why}", "Correct it where the gateway has it: its settings win over its "
                  "environment (ENABLE_PERSISTENT_CONFIG).", code=failure.code) if why else failure  # fmt: skip


def _why_refused(visit: Visit) -> str:
    """What of the gateway's configuration ComfyUI refuses, where that can be known; empty: nothing is."""
    config, graph, mappings = visit.config, visit.graph, visit.mappings
    sighting = visit.first.sighting if visit.first is not None else None
    if config is None or graph is None or mappings is None:
        return ""
    if sighting is not None and sighting.whereabouts is not Whereabouts.UNKNOWN:
        return ""
    return "; ".join(refusals(config, graph, mappings, visit.model, visit.described))


def _what_came(visit: Visit) -> Iterator[Row]:
    """The rows about the request that was sent, and about its pictures."""
    yield _fields(visit)
    came = visit.first.came if visit.first is not None else None
    if visit.first is None or not isinstance(came, Generated) or not came.pictures:
        for id_ in ("gateway.count", "gateway.download", "gateway.private"):
            yield skipped(id_, "no picture was made: see gateway.generates")
        return
    yield _count(visit)
    yield _download(visit, came)
    yield _private(visit, came)


def _fields(visit: Visit) -> Row:
    id_ = "gateway.fields"
    first = visit.first
    if first is None:
        return skipped(id_, "no request was sent: see gateway.generates")
    if visit.behind is None:
        return skipped(id_, "the ComfyUI behind it cannot be asked: name the one it uses, as http://HOST:8188")
    if first.trace is None:
        return _not_seen(visit, has_pictures=bool(first.count))
    wish = first.wish
    size = f", size {wish.size[0]}x{wish.size[1]}" if wish.size is not None else ""
    ignored = ""
    if visit.layout.ignores_size:
        known = f" ({visit.default_size})" if visit.default_size else ""
        ignored = f". A request's size is ignored by this version, by design: IMAGE_SIZE is used{known}"
    return judging.fields_row(visit.arrived(), f"asked for n {wish.n}{size}", visit.told_elsewhere(), ignored)


def _not_seen(visit: Visit, *, has_pictures: bool) -> Row:
    """ComfyUI shows no prompt with our text."""
    id_, behind = "gateway.fields", visit.behind
    url = behind.url if behind is not None else ""
    if not has_pictures:
        return skipped(id_, "the request did not come to ComfyUI: see gateway.generates")
    if behind is not None and behind.strangers():
        what = f"a prompt came to {url} without the text that was asked for: the prompt is not mapped, or wrongly"
        return failed(
            id_, what, 'Map it: {"type": "prompt", "key": "text", "node_ids": ["6"]}, key and id as in yours.'
        )
    what = f"pictures came, and {url} knows no such prompt: the gateway uses another ComfyUI"
    return failed(id_, what, "Name the ComfyUI that it uses, as it can be reached from here: comfysoak check URL ...")


def _count(visit: Visit) -> Row:
    first = visit.first
    assert first is not None  # noqa: S101  # the caller looked
    trace, graph = first.trace, visit.first_graph
    if trace is None or graph is None or trace.entry is None:
        if first.count % max(first.wish.n, 1) == 0:
            return ok("gateway.count", f"{first.count} came where {first.wish.n} were asked for")
        what = f"{first.count} came where {first.wish.n} were asked for"
        return warning("gateway.count", what, "Is n mapped to what makes the batch?")
    nodes = [file.node_id for file in trace.entry.files if file.kind == "images"]
    made = handed_over(visit.layout, {node_id: str(node["class_type"]) for node_id, node in graph.items()}, nodes)
    n_arrived = first.wish.n == 1 or any(one.field == "n" and one.way is Way.ARRIVED for one in visit.arrived())
    with_output = len(set(nodes)) or len(output_nodes(graph))
    return judging.count_row(first.count, made, first.wish.n, n_arrived, with_output, visit.layout)


def _download(visit: Visit, came: Generated) -> Row:
    id_ = "gateway.download"
    found = [fetched(visit.door, picture) for picture in came.pictures]
    bad = next((one for one in found if one.problem is not None), None)
    if bad is not None:
        remedy = "Look at the gateway's storage and disk, and at the proxy before it: does it pass this path on?"
        code = Code.OUTPUT_MISSING if not bad.data else Code.OUTPUT_CORRUPT
        return failed(id_, f"{bad.place or 'a picture of the answer'}: {bad.problem}", remedy, code=code)
    first, asked = found[0], visit.first.wish.size if visit.first is not None else None
    shown = f"{first.kind} {first.size[0]}x{first.size[1]}" if first.size else first.kind
    how = "in the answer itself" if isinstance(came.pictures[0], Inline) else "with the token"
    trace = visit.first.trace if visit.first is not None else None
    if asked is not None and first.size != asked and visit.behind is not None and trace is not None:
        made = made_by_comfyui(visit.behind, trace)
        if made is not None and made != first.size:
            what = f"{shown}, and ComfyUI made {made[0]}x{made[1]}"
            return failed(id_, what, "Does something between them rewrite pictures?", code=Code.OUTPUT_WRONG)
    return ok(id_, f"{len(found)} of {len(found)} {how}, decoded: {shown}")


def _private(visit: Visit, came: Generated) -> Row:
    id_ = "gateway.private"
    picture = came.pictures[0]
    if isinstance(picture, Inline):
        return skipped(id_, "its pictures come in the answer itself")
    place = place_of(picture, visit.door.url) if isinstance(picture, Link) else None
    if place is None:
        return skipped(id_, "its pictures have no URL: see gateway.download")
    if not is_at_gateway(visit.door, place):
        return skipped(id_, "its pictures lie at another address, which gets no token")
    if not visit.door.has(Who.USER):
        return skipped(id_, "no token was given")
    if visit.door.access.api_name == "openai":
        return skipped(id_, "links of this API are made to be fetched without a token")
    with_token = fetch(visit.door, place, Who.USER)
    if status_of(with_token) != 200:
        return skipped(id_, "they do not download with it either: see gateway.download")
    return judging.private_row(fetch(visit.door, place, Who.NOBODY), place, visit.layout)


def _unauthorised(visit: Visit, door: Row | None) -> Row:
    id_, path = "gateway.unauthorised", visit.door.access.api.path
    if door is not None and not _asks_for_a_token(visit):
        return skipped(id_, "see gateway.generates")
    answers = {
        "without a token": visit.door.ask(Who.NOBODY, "POST", path, {}),
        "with a wrong one": visit.door.ask(Who.WRONG, "POST", path, {}),
    }
    if not visit.door.has(Who.USER) and status_of(answers["without a token"]) not in {401, 403}:
        return skipped(id_, f"no token was given, and none is wanted: {said(answers['without a token'])}")
    return judging.refusal_row(id_, answers, visit.layout.without_token)


def _asks_for_a_token(visit: Visit) -> bool:
    """Whether it was the token that kept us out."""
    return status_of(visit.ask_entry()) in {401, 403}


def _forbidden(visit: Visit, door: Row | None) -> Row:
    id_ = "gateway.forbidden"
    if visit.door.has(Who.FORBIDDEN):
        if door is not None and not _asks_for_a_token(visit):
            return skipped(id_, "see gateway.generates")
        done = visit.generate_forbidden(Who.FORBIDDEN)
        told = "no answer in time" if done.answer is None else said(done.answer)
        return judging.forbidden_row(done.status, told, "with the token of one who may not")
    if door is not None:
        return skipped(id_, "see gateway.generates")
    switch, update, config = visit.layout.switch, visit.layout.update, visit.config
    name_one = "name the token of a user who may not make pictures with --forbidden-token-variable"
    if switch is None or update is None or visit.layout.config is None:
        return skipped(id_, f"{name_one}: this API cannot be switched off for a moment")
    if config is None or config.enabled is not True:
        return skipped(id_, f"{name_one}; or have it switched off for a moment, which {judging.NAME_AN_ADMIN}")
    if not visit.checking.settings.may_change_gateway:
        return skipped(id_, f"{name_one}; or have it switched off for a moment: {_ASK_TO_CHANGE}")
    try:
        with changed(visit.door, visit.layout.config, update, switch, now=False) as change:
            if change.trouble or change.read_back is not False:
                return _refused_change(id_, change)
            done = visit.generate_forbidden(Who.USER)
            told = "no answer in time" if done.answer is None else said(done.answer)
            return judging.forbidden_row(done.status, told, "switched off for a moment")
    except NotPossibleError as error:
        return skipped(id_, error.why)


def _invalid(visit: Visit, door: Row | None) -> Row:
    id_, path, api = "gateway.invalid", visit.door.access.api.path, visit.door.access.api
    if door is not None:
        return skipped(id_, "see gateway.generates")
    answers = {"without a prompt": visit.ask_entry()}
    if api.n is not None:
        answers["n not a number"] = visit.door.ask(Who.USER, "POST", path, {api.n: "many"})
    return judging.refusal_row(id_, answers, visit.layout.invalid)


def _failure(visit: Visit, generates: Row) -> Row:
    id_ = "gateway.failure"
    first = visit.first
    if first is not None and not first.count and first.status in visit.layout.failure and generates.remedy:
        return ok(id_, f"seen at gateway.generates: {said(first.answer) if first.answer else ''}")
    if first is None or not first.count:
        return skipped(id_, "see gateway.generates")
    done = visit.generate_refused()
    if done is None:
        what = (
            "no request is known that ComfyUI would refuse without running it: neither n nor size arrive in an input "
        )
        return skipped(id_, f"{what}with a least value that every output needs")
    asked = f"n {done.wish.n}" if done.wish.size is None else "size 0x0"
    if done.answer is None:
        ending = ending_of(done, 1, is_well=visit.is_well)
        return judging.failure_of_generation(id_, ending, 0)
    row = judging.refusal_row(id_, {asked: done.answer}, visit.layout.failure)
    if row.remedy or done.trace is not None:
        return row
    return ok(id_, f"{asked}, which ComfyUI refuses: {said(done.answer)}; the cause is in the gateway's log only")


def _change(visit: Visit) -> Row:
    id_ = "gateway.change"
    layout, config = visit.layout, visit.config
    if layout.update is None or layout.steps is None:
        return skipped(id_, f"this API ({visit.door.access.api_name}) has no route for it")
    if config is None:
        return skipped(id_, f"its configuration was not read: that {judging.NAME_AN_ADMIN}")
    if not visit.checking.settings.may_change_gateway:
        return skipped(id_, _ASK_TO_CHANGE)
    if config.engine != "comfyui":
        return skipped(id_, "its engine is not ComfyUI: see gateway.config")
    found = visit.door.read(Who.ADMIN, layout.steps)
    steps = found.get("IMAGE_STEPS") if isinstance(found, Mapping) else None
    try:
        now = steps + 1 if type(steps) is int else 1
        with changed(visit.door, layout.steps, layout.update, "IMAGE_STEPS", now) as change:
            pass
    except NotPossibleError as error:
        return failed(id_, error.why, error.remedy) if error.remedy else skipped(id_, error.why)
    return _judged_change(visit, change)


def _judged_change(visit: Visit, change: Change) -> Row:
    id_ = "gateway.change"
    if not change.is_back:
        left = ", ".join(change.differing or (change.key,))
        what = f"{left} could not be put back as it was{f' ({change.left})' if change.left else ''}"
        return failed(id_, what, f"Set {change.key} to {change.was} again {judging.SETTINGS}.")
    if change.trouble or change.read_back != change.now:
        return _refused_change(id_, change)
    if change.also_changed:
        what = f"with {change.key} it changed {', '.join(change.also_changed)}, and all was put back"
        return warning(id_, what, "Does somebody else change it just now?")
    what = f"{change.key} {change.was} -> {change.now}, read back, put back, and all is as it was"
    if visit.layout.stores_what_is_written:
        what += ". This version has stored it: from now on the stored value wins over its environment"
    return ok(id_, what)


def _refused_change(id_: str, change: Change) -> Row:
    what = f"{change.key} could not be set to {change.now}: {change.trouble or f'it reads {change.read_back!r} after'}"
    return failed(id_, what, f"Save the settings once by hand {judging.SETTINGS}: what does it complain about?")


def _left(visit: Visit) -> Row:
    id_ = "gateway.left"
    if visit.first is None and not visit.has_read_config:
        return skipped(id_, "nothing was made or changed there")
    left = visit.tidy()
    if left.problems:
        return failed(
            id_, "; ".join(left.problems), f"Take it away yourself: pictures and settings {judging.SETTINGS}; a request "
            "that hangs ends with a restart of the gateway."
        )  # fmt: skip
    parts = [f"{left.prompts} prompts of ours were taken out of ComfyUI's history"] if left.prompts else []
    if visit.layout.picture is not None and visit.pictures_made:
        parts.append(f"{left.pictures} pictures of ours were deleted")
    elif visit.pictures_made:
        parts.append(f"{visit.pictures_made} pictures of ours stay: there is no route to delete them")
    if visit.has_read_config:
        parts.append("its configuration is as it was")
    if visit.pictures_made:
        parts.append(f"ComfyUI keeps the files of {visit.pictures_made} in its output folder")
    return ok(id_, "; ".join(parts) or "nothing of ours is there")
