"""The rows about a gateway's configuration: read, changed, and put back."""

from __future__ import annotations

from collections.abc import Mapping

from comfysoak.check.checking import failed, ok, skipped, warning
from comfysoak.check.parts.gateway import judging
from comfysoak.check.parts.gateway.change import Change, NotPossibleError, changed
from comfysoak.check.parts.gateway.door import Silence, Who, said
from comfysoak.check.parts.gateway.visit import Visit
from comfysoak.check.row import Row
from comfysoak_core.comfyui.transport import Answer

ASK_TO_CHANGE = "it takes --change-config: its configuration is changed for a moment, and put back"


def config_row(visit: Visit) -> Row:
    """Whether it can be read, and is for ComfyUI."""
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


def change_row(visit: Visit) -> Row:
    """One harmless value, changed and put back, where the person allowed it."""
    id_ = "gateway.change"
    layout, config = visit.layout, visit.config
    if layout.update is None or layout.steps is None:
        return skipped(id_, f"this API ({visit.door.access.api_name}) has no route for it")
    if config is None:
        return skipped(id_, f"its configuration was not read: that {judging.NAME_AN_ADMIN}")
    if not visit.checking.settings.may_change_gateway:
        return skipped(id_, ASK_TO_CHANGE)
    if config.engine != "comfyui":
        return skipped(id_, "its engine is not ComfyUI: see gateway.config")
    found = visit.door.read(Who.ADMIN, layout.steps)
    steps = found.get("IMAGE_STEPS") if isinstance(found, Mapping) else None
    try:
        now = steps + 1 if type(steps) is int else 1
        with changed(visit.door, layout.steps, layout.update, "IMAGE_STEPS", now) as change:
            pass
    except NotPossibleError as error:
        return skipped(id_, f"{error.why}. {error.remedy}" if error.remedy else error.why)
    return _judged_change(visit, change)


def _judged_change(visit: Visit, change: Change) -> Row:
    id_ = "gateway.change"
    if not change.is_back:
        left = ", ".join(change.differing or (change.key,))
        what = f"{left} could not be put back as it was{f' ({change.left})' if change.left else ''}"
        return failed(id_, what, f"Set {change.key} to {change.was} again {judging.SETTINGS}.")
    if change.trouble or change.read_back != change.now:
        return refused_change(id_, change)
    if change.also_changed:
        what = f"with {change.key} it changed {', '.join(change.also_changed)}, and all was put back"
        return warning(id_, what, "Does somebody else change it just now?")
    what = f"{change.key} {change.was} -> {change.now}, read back, put back, and all is as it was"
    if visit.layout.stores_what_is_written:
        what += ". This version has stored it: from now on the stored value wins over its environment"
    return ok(id_, what)


def refused_change(id_: str, change: Change) -> Row:
    """The change itself did not come about."""
    what = f"{change.key} could not be set to {change.now}: {change.trouble or f'it reads {change.read_back!r} after'}"
    return failed(id_, what, f"Save the settings once by hand {judging.SETTINGS}: what does it complain about?")
