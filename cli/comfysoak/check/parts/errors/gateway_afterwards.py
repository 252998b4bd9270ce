"""After the failures, of the gateway: its words, what is left, and whether it serves."""

from __future__ import annotations

from collections.abc import Iterator

from comfysoak.check.checking import failed, ok, skipped
from comfysoak.check.conversation.figures import counted, seconds
from comfysoak.check.parts.errors.between import BASE_URL
from comfysoak.check.parts.errors.gateway_trial import BUSY, UserTrial, await_ends, waited
from comfysoak.check.parts.errors.judging import shown_of
from comfysoak.check.parts.errors.words import words_row
from comfysoak.check.parts.gateway import judging
from comfysoak.check.parts.gateway.generation import Generation
from comfysoak.check.parts.gateway.visit import Visit
from comfysoak.check.row import Row
from comfysoak_core.codes import CATALOGUE, Code
from comfysoak_core.recording.redaction import known_secrets, redact


def afterwards(trial: UserTrial) -> Iterator[Row]:
    """The rows after all failures; what is ours is taken away."""
    visit, checking = trial.visit, trial.visit.checking
    yield words_row(trial.answers, _secrets(visit), trial.hosts)
    checking.say("asking for a picture after all this")
    last = trial.ask()
    checking.say("leaving gateway and server as they were found")
    yield _clean(trial)
    yield _serves(trial, last)


def _clean(trial: UserTrial) -> Row:
    id_, visit = "errors.clean", trial.visit
    behind = visit.behind
    await_ends(visit, lambda: behind is None or all(trace.entry is not None for trace in behind.ours.values()))
    left = visit.tidy()
    problems = list(left.problems)
    if trial.open_sockets:
        where = ", ".join(f"{number} after {id_}" for id_, number in trial.open_sockets.items())
        problems.append(f"sockets to ComfyUI stayed open when the answer had been given: {where}")
    if problems:
        seen = "; ".join(problems)
        remedy = f"What is named there: close it, delete it, or put it right {judging.SETTINGS}; restart the gateway."
        if BASE_URL in seen and visit.config is not None:
            remedy = f"Set {BASE_URL} to {redact(visit.config.base_url)} again {judging.SETTINGS}."
        return failed(id_, seen, remedy)
    told = [
        f"{counted(left.prompts, 'prompt')} of ours were taken out of ComfyUI's history, none is in its queue",
        "the gateway closed the sockets of what it had answered",
        "its configuration is as it was",
    ]
    if not trial.is_marked:
        told.append("its prompt is not mapped, so some of ours may stay in ComfyUI's history: see gateway.fields")
    if left.pictures:
        told.append(f"{counted(left.pictures, 'picture')} of ours were deleted there")
    if trial.kept_pictures:
        told.append(
            f"{counted(trial.kept_pictures, 'picture')} of clients that had gone stay there: nobody is told the id"
        )
    return ok(id_, f"{'; '.join(told)}; ComfyUI keeps the files of what it ran")


def _serves(trial: UserTrial, last: Generation) -> Row:
    id_ = "errors.serves"
    if waited(last):
        return skipped(id_, BUSY)
    shown = shown_of(last, trial.visit.checking.settings.deadline_s)
    before = f" (before: {seconds(trial.before.took_s)})" if trial.before is not None else ""
    if shown.pictures:
        return ok(id_, f"users {shown}{before}")
    code = Code.GATEWAY_HANG if shown.hangs else None
    remedy = CATALOGUE[code].remedy if code else "Restart the gateway; its log says what it is still at."
    return failed(id_, f"after all these failures users {shown}{before}", remedy, code=code)


def _secrets(visit: Visit) -> list[str]:
    document = visit.config.document if visit.config is not None else {}
    key = document.get("COMFYUI_API_KEY")
    return [*known_secrets(), *([key] if isinstance(key, str) else [])]
