"""The rows about what a gateway must refuse, each in its own way."""

from __future__ import annotations

from comfysoak.check.checking import ok, skipped
from comfysoak.check.parts.gateway import judging
from comfysoak.check.parts.gateway.change import NotPossibleError, changed
from comfysoak.check.parts.gateway.configured import ASK_TO_CHANGE, refused_change
from comfysoak.check.parts.gateway.door import Who, said, status_of
from comfysoak.check.parts.gateway.generation import ending_of
from comfysoak.check.parts.gateway.visit import Visit
from comfysoak.check.row import Row


def unauthorised_row(visit: Visit, door: Row | None) -> Row:
    """Nobody, and somebody with a token that is none."""
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


def forbidden_row(visit: Visit, door: Row | None) -> Row:
    """Somebody who may not, or everybody while it is switched off."""
    id_ = "gateway.forbidden"
    if visit.door.has(Who.FORBIDDEN):
        if door is not None and not _asks_for_a_token(visit):
            return skipped(id_, "see gateway.generates")
        done = visit.generate_forbidden(Who.FORBIDDEN)
        told = "no answer in time" if done.answer is None else said(done.answer)
        return judging.forbidden_row(done.status, told, "with the token of one who may not")
    if door is not None:
        return skipped(id_, "see gateway.generates")
    if visit.layout.forbids_nobody:
        return skipped(id_, "by design this version makes pictures for every user, and even while it is switched off")
    switch, update, config = visit.layout.switch, visit.layout.update, visit.config
    name_one = "name the token of a user who may not make pictures with --forbidden-token-variable"
    if switch is None or update is None or visit.layout.config is None:
        return skipped(id_, f"{name_one}: this API cannot be switched off for a moment")
    if config is None or config.enabled is not True:
        return skipped(id_, f"{name_one}; or have it switched off for a moment, which {judging.NAME_AN_ADMIN}")
    if not visit.checking.settings.may_change_gateway:
        return skipped(id_, f"{name_one}; or have it switched off for a moment: {ASK_TO_CHANGE}")
    try:
        with changed(visit.door, visit.layout.config, update, switch, now=False) as change:
            if change.trouble or change.read_back is not False:
                return refused_change(id_, change)
            done = visit.generate_forbidden(Who.USER)
            told = "no answer in time" if done.answer is None else said(done.answer)
            return judging.forbidden_row(done.status, told, "switched off for a moment")
    except NotPossibleError as error:
        return skipped(id_, error.why)


def invalid_row(visit: Visit, door: Row | None) -> Row:
    """Requests that are none: no picture comes of them."""
    id_, path, api = "gateway.invalid", visit.door.access.api.path, visit.door.access.api
    if door is not None:
        return skipped(id_, "see gateway.generates")
    answers = {"without a prompt": visit.ask_entry()}
    if api.n is not None:
        answers["n not a number"] = visit.door.ask(Who.USER, "POST", path, {api.n: "many"})
    return judging.refusal_row(id_, answers, visit.layout.invalid)


def failure_row(visit: Visit, generates: Row) -> Row:
    """A request that ComfyUI refuses, so that nothing runs."""
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
