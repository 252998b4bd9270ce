"""What each answer of a gateway means, as rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak.check.checking import failed, ok, skipped, warning
from comfysoak.check.parts.gateway.arrival import Arrival, Way
from comfysoak.check.parts.gateway.door import Silence, said
from comfysoak.check.parts.gateway.layout import Configuration, Layout
from comfysoak.check.row import Row
from comfysoak_core.codes import CATALOGUE, Code
from comfysoak_core.comfyui.ending import Ending
from comfysoak_core.comfyui.json_text import document_or_none
from comfysoak_core.comfyui.transport import Answer
from comfysoak_core.recording.redaction import redact

SETTINGS = "in its admin settings under Images"
NAME_A_TOKEN = "export COMFYSOAK_GATEWAY_TOKEN=..., or name another variable with --token-variable."  # noqa: S105  # words
NAME_AN_ADMIN = (
    "needs an administrator's token: export COMFYSOAK_GATEWAY_ADMIN_TOKEN=..., or name another variable with "
    "--admin-token-variable"
)
_REMEDIES = {  # of answers whose cause ComfyUI does not know
    400: (
        "The log of the gateway says why. Usual causes: it cannot reach COMFYUI_BASE_URL; ComfyUI refuses its "
        "workflow, its mapping, or the model in IMAGE_GENERATION_MODEL."
    ),
    403: "Switch image generation on (ENABLE_IMAGE_GENERATION=true), and allow it for this user.",
    502: "The proxy before the gateway gets no answer of it: look at its upstream.",
    504: "A proxy before the gateway gives up too early: raise its read timeout beyond what a picture takes.",
}
_NAME_THE_API = "Name its shape: --api open-webui (0.5 and newer), open-webui-old (up to 0.4) or openai."


def health_row(answer: Answer | Silence, route: str, version: str) -> Row:
    """Its health route."""
    if isinstance(answer, Silence):
        return failed("gateway.health", answer.why, answer.remedy or "Start the gateway, or check --gateway.")
    document = document_or_none(answer.body)
    if answer.status == 200 and "html" not in answer.content_type:
        is_well = not (isinstance(document, dict) and document.get("status") is False)
        if is_well:
            known = f"; it is version {version}" if version else ""
            return ok("gateway.health", f"{route} answers 200{known}. It says nothing of the ComfyUI behind it")
    what = f"{route} answers {said(answer)}"
    return failed("gateway.health", what, f"Is this address the gateway? {_NAME_THE_API}")


def entry_problem(answer: Answer | Silence, path: str, *, has_token: bool) -> Row | None:
    """What is wrong with asking for pictures at all, from the answer to a request without a prompt; None: nothing."""
    id_ = "gateway.generates"
    if isinstance(answer, Silence):
        return failed(id_, answer.why, answer.remedy)
    if answer.status == 401 or (answer.status == 403 and not has_token):
        known = "does not know the token" if has_token else "wants a token"
        return failed(id_, f"The gateway {known}: {said(answer)}", NAME_A_TOKEN)
    if answer.status >= 500:
        remedy = (
            f"Look into the log of the gateway, and at the proxy before it: its timeout, its upstream. {_NAME_THE_API}"
        )
        return failed(id_, f"A request without a prompt brings {said(answer)}, where 422 was expected", remedy)
    if answer.status == 403:
        return failed(id_, f"This token may not make pictures: {said(answer)}", "Allow it for this user or group.")
    if answer.status in {404, 405} or "html" in answer.content_type:
        return failed(id_, f"The gateway has no {path}: {said(answer)}", _NAME_THE_API)
    return None


def config_problem(found: Configuration) -> Row | None:
    """What keeps it from asking ComfyUI at all; None: nothing."""
    id_ = "gateway.config"
    if found.engine != "comfyui":
        what = f"its engine is {found.engine or 'not set'!r}: pictures are not made by ComfyUI"
        return failed(id_, what, f"Set IMAGE_GENERATION_ENGINE=comfyui, or choose ComfyUI {SETTINGS}.")
    if found.enabled is False:
        what = "image generation is switched off"
        return failed(id_, what, f"Set ENABLE_IMAGE_GENERATION=true, or switch it on {SETTINGS}.")
    return None


def stored_problem(found: Configuration) -> Row | None:
    """What in its configuration makes every request fail; None: nothing."""
    id_, url = "gateway.generates", redact(found.base_url)
    if not found.base_url.startswith(("http://", "https://")):
        what = f"its COMFYUI_BASE_URL is {url!r}, which is no http(s) address: every request fails"
        return failed(id_, what, "Set COMFYUI_BASE_URL=http://HOST:8188")
    if found.base_url.endswith("/"):
        what = f"its COMFYUI_BASE_URL is {url!r}: it asks //prompt, which ComfyUI answers with 405"
        return failed(id_, what, f"Take the slash at its end away: COMFYUI_BASE_URL={url.rstrip('/')}")
    if found.graph is None:
        what = "its COMFYUI_WORKFLOW is no workflow in API format: every request fails"
        return failed(id_, what, f"Export it with File > Export (API), and put that {SETTINGS}.")
    if found.mappings is None:
        what = "its COMFYUI_WORKFLOW_NODES cannot be read: every request fails"
        return failed(id_, what, 'Each entry is {"type": "...", "key": "...", "node_ids": ["5"]}, ids as strings.')
    missing = [node for mapping in found.mappings for node in mapping.node_ids if node not in found.graph]
    if missing:
        what = f"its mapping names node {missing[0]}, which its workflow does not have: every request fails"
        return failed(id_, what, f"Nodes of its workflow are: {', '.join(list(found.graph)[:20])}.")
    return None


def config_ok(found: Configuration, also: str) -> Row:
    """It can be read, and is for ComfyUI."""
    graph, mappings = found.graph or {}, found.mappings or ()
    types = ", ".join(dict.fromkeys(mapping.type or "a fixed value" for mapping in mappings if mapping.node_ids))
    what = f"read: ComfyUI at {redact(found.base_url)}, a workflow of {len(graph)} nodes, mapped: {types or 'nothing'}"
    return ok("gateway.config", f"{what}.{also}" if also else what)


def models_row(answer: Answer | Silence, route: str) -> Row:
    """The list of models."""
    id_ = "gateway.models"
    if isinstance(answer, Silence):
        return failed(id_, answer.why, answer.remedy)
    document = document_or_none(answer.body)
    if answer.status == 200 and (isinstance(document, list) or document is None):
        names = [str(item.get("name")) for item in document or () if isinstance(item, dict)]
        shown = f": {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else ""
        return ok(id_, f"{route} answers 200 with {len(names)} models{shown}")
    if answer.status == 400:
        remedy = (
            "Does it reach its ComfyUI (see service.from_gateway)? Is the node of type `model` in the workflow, and "
            "has every entry of COMFYUI_WORKFLOW_NODES a `type`?"
        )
        return failed(id_, f"{route} answers {said(answer)}", remedy)
    return failed(id_, f"{route} answers {said(answer)}", _NAME_THE_API)


def failure_of_generation(id_: str, ending: Ending, status: int, *, was_made: bool = False) -> Row:
    """A request that brought no pictures: in the words of ComfyUI where it knows the cause.

    `was_made`: ComfyUI ran it to a good end.
    """
    code = ending.code or Code.SUBMIT_ERROR
    where = f" in node {ending.node_id} ({ending.node_class})" if ending.node_id else ""
    told = f"The gateway answered {status}" if status else "The gateway gave no answer"
    kind = f"{ending.error_type}: " if ending.error_type and not ending.error_type.startswith("HTTP ") else ""
    what = f"{told}: {kind}{ending.error_message or code}{where}"
    remedy = _REMEDIES.get(status, CATALOGUE[code].remedy) if code is Code.SUBMIT_ERROR else CATALOGUE[code].remedy
    if code is Code.GATEWAY_EMPTY and was_made:
        remedy = "Have the workflow end in SaveImage or PreviewImage: what other nodes put out it does not hand over."
    return failed(id_, what, remedy, code=code)


def fields_row(found: Iterable[Arrival], wished: str, told: frozenset[str], ignored: str) -> Row:
    """Whether each field arrived. `told`: fields whose mapping another row has complained about."""
    id_ = "gateway.fields"
    arrivals = list(found)
    bad = [one for one in arrivals if _is_bad(one) and one.field not in told]
    if bad:
        return failed(id_, "; ".join(_complaint(one) for one in bad), _remedy(bad[0]))
    unmapped = [one for one in arrivals if one.way is Way.NOT_MAPPED and one.place and one.field not in told]
    if unmapped:
        names = " and ".join(one.field for one in unmapped)
        what = f"{names} {'are' if len(unmapped) > 1 else 'is'} not mapped: what is asked for is ignored"
        return warning(id_, what, " ".join(_entry(one) for one in unmapped))
    arrived = [one for one in arrivals if one.way is Way.ARRIVED]
    if not arrived:
        return skipped(id_, "nothing that was asked for is mapped: see nodes.keys")
    shown = ", ".join(f"{one.field} at {one.place}" if one.place else one.field for one in arrived)
    rest = [one.field for one in arrivals if one.way is not Way.ARRIVED]
    apart = f". Not mapped: {', '.join(rest)}" if rest else ""
    return ok(id_, f"{wished}; the graph that ComfyUI got has {shown}{apart}{ignored}")


def count_row(came: int, made: int | None, asked: int, n_arrived: bool, nodes: int, layout: Layout) -> Row:  # noqa: FBT001  # a fact among facts
    """How many pictures came. `made`: that ComfyUI put out and this gateway hands over; None: it cannot be asked."""
    id_ = "gateway.count"
    wanted = asked * max(nodes, 1)
    if not n_arrived:
        return skipped(id_, f"{came} came; n did not arrive in the graph: see gateway.fields")
    if made is not None and came < made:
        what = f"ComfyUI made {made} pictures, the gateway handed {came} over"
        return failed(id_, what, "Look into the log of the gateway.", code=Code.GATEWAY_EMPTY)
    if layout.repeats_pictures and nodes > 1 and came == wanted * nodes:
        what = f"{came} came for {asked} from {nodes} output nodes: this version gives each {nodes} times"
        return warning(id_, what, "Leave one output node in the workflow, or update the gateway.")
    if came == wanted:
        return ok(id_, f"{came} came: {asked} x {nodes} output node{'s' if nodes != 1 else ''}")
    if came < wanted:
        what = f"{came} came where {asked} were asked for from {nodes} output node{'s' if nodes != 1 else ''}"
        remedy = (
            "The gateway hands over what SaveImage, SaveImageAdvanced and PreviewImage put out, and the workflow must "
            "keep every picture of a batch."
        )
        return warning(id_, what, remedy)
    return warning(id_, f"{came} came where {wanted} were asked for", "Are there output nodes nobody wants?")


def refusal_row(id_: str, answers: dict[str, Answer | Silence], wanted: tuple[int, ...]) -> Row:
    """Requests that had to be refused with one of these statuses, by what was sent."""
    shown = "; ".join(f"{name}: {said(answer)}" for name, answer in answers.items())
    wrong = [answer for answer in answers.values() if not isinstance(answer, Answer) or answer.status not in wanted]
    if not wrong:
        return ok(id_, shown)
    statuses = " or ".join(str(status) for status in wanted)
    first = wrong[0]
    if id_ == "gateway.unauthorised" and isinstance(first, Answer) and first.status not in {401, 403}:
        remedy = "It lets anybody in: switch authentication on (WEBUI_AUTH=true), or put a proxy before it that asks."
        return failed(id_, shown, remedy)
    if isinstance(first, Answer) and first.status >= 500:
        return failed(id_, f"{shown}, where {statuses} was expected", "Look into the log of the gateway.")
    return failed(id_, f"{shown}, where {statuses} was expected", f"Does a proxy rewrite its answers? {_NAME_THE_API}")


def forbidden_row(status: int, told: str, how: str) -> Row:
    """What was said to one who may not."""
    id_ = "gateway.forbidden"
    if status == 403:
        return ok(id_, f"{how}: {told}")
    if status == 401:
        return failed(id_, f"{how}: {told}", "The gateway does not know this token: name one that is valid.")
    remedy = (
        "It makes pictures for those who may not: look at the permissions of its groups (Features > Image Generation)."
    )
    return failed(id_, f"{how}: {told}, where 403 was expected", remedy)


def private_row(answer: Answer | Silence, place: str, layout: Layout) -> Row:
    """A picture without the token."""
    id_ = "gateway.private"
    if isinstance(answer, Answer) and answer.status in {401, 403, 404}:
        return ok(id_, f"without a token: {said(answer)}")
    if isinstance(answer, Answer) and answer.status == 200 and "html" in answer.content_type:
        return ok(id_, "without a token a web page comes, and no picture")
    if isinstance(answer, Answer) and answer.status == 200:
        if layout.pictures_are_public:
            what = "by design of this version whoever knows a picture's URL gets it: it came without a token"
            remedy = "Update the gateway to 0.5 or newer, or have the proxy before it ask for a token at these paths."
            return warning(id_, what, remedy)
        remedy = f"Have {place.partition('?')[0]} ask for a token: update the gateway, or look at the proxy before it."
        return failed(id_, "without a token the picture comes all the same", remedy)
    return failed(id_, f"without a token: {said(answer)}", "Expected 401: look into the log of the gateway.")


def _is_bad(one: Arrival) -> bool:
    """A prompt that is not mapped makes the same picture for everybody; a size or a number may be meant so."""
    return one.way in {Way.NO_INPUT, Way.DIFFERENT, Way.CROSSED} or (one.way, one.field) == (Way.NOT_MAPPED, "prompt")


def _complaint(one: Arrival) -> str:
    if one.way is Way.NOT_MAPPED:
        return f"the {one.field} is not mapped: what users write is in no picture"
    if one.way is Way.NO_INPUT:
        name = one.place.rpartition(".")[2]
        return f"{one.field} was written to {one.place}, and {one.node_class} has no input {name}: ComfyUI ignores it"
    if one.way is Way.CROSSED:
        where = "the negative prompt" if one.field == "prompt" else one.place.rpartition(".")[2]
        return f"{one.field} was written to {one.place}, which is {where}"
    if one.field == "seed":
        return f"the seed did not change: {one.place} is {one.found!r} each time"
    return f"{one.field} did not arrive: {one.place} is {_shown(one.found)}"


def _remedy(one: Arrival) -> str:
    if one.way is Way.NOT_MAPPED:
        return 'Map it: {"type": "prompt", "key": "text", "node_ids": ["6"]}, with the key and the id of your workflow.'
    if one.way is Way.CROSSED and one.field == "prompt":
        return "Map the type prompt to the node whose text leads to `positive`, in COMFYUI_WORKFLOW_NODES."
    if one.way is Way.NO_INPUT:
        return f"Correct the key of type {one.field} in COMFYUI_WORKFLOW_NODES: an input of {one.node_class}."
    return f"Look at the mapping of type {one.field} in COMFYUI_WORKFLOW_NODES: right node, right key?"


def _entry(one: Arrival) -> str:
    node, _, key = one.place.rpartition(".")
    return f'Add {{"type": "{one.field}", "key": "{key}", "node_ids": ["{node}"]}} to COMFYUI_WORKFLOW_NODES.'


def _shown(value: object) -> str:
    return repr(value)[:80]
