"""Models: each that the workflow names is listed, really loads, and finds room."""

from __future__ import annotations

from collections.abc import Iterator

from comfysoak.check.checking import Checking, failed, ok, skipped, warning
from comfysoak.check.conversation.access import Access
from comfysoak.check.conversation.figures import counted, memory_free, seconds, some
from comfysoak.check.conversation.graphs import graph_as_sent, mapped_models
from comfysoak.check.conversation.run import Run
from comfysoak.check.conversation.runs import Runs
from comfysoak.check.conversation.trouble import LOAD, MEMORY, Trouble, trouble_of
from comfysoak.check.model_files import ModelFile, embedding_is_listed, embeddings, model_files
from comfysoak.check.row import Row, State
from comfysoak_core.codes import CATALOGUE, Code
from comfysoak_core.errors import TargetError
from comfysoak_probes.log.lines import LogKind

LISTED = "models.listed"


def look(checking: Checking) -> Iterator[Row]:
    """The rows of models."""
    graph = graph_as_sent(checking.known, checking.settings.variables)
    models = () if graph is None else model_files(graph, checking.known.object_info)
    listed = _listed(checking)
    checking.known.is_sendable = checking.known.is_sendable and listed.state is not State.FAILED
    yield listed
    runs = Runs.of(checking)
    if runs.obstacle is not None:
        yield skipped(LOAD, runs.obstacle)
        yield skipped(MEMORY, runs.obstacle)
        return
    first = runs.first()
    trouble = None if first is None else trouble_of(first, frozenset(model.node_id for model in models))
    warm = runs.warm()
    yield _load(runs, first, warm, trouble, models)
    yield _memory(runs, first, warm, trouble)


def _listed(checking: Checking) -> Row:
    """Models that the platform's settings choose are looked at where its mapping is (nodes.model)."""
    known = checking.known
    if not known.answers:
        return skipped(LISTED, "the server does not answer")
    graph = graph_as_sent(known, checking.settings.variables)
    if graph is None:
        return skipped(LISTED, "there is no workflow that can be read")
    mapped = mapped_models(known, checking.settings.variables)
    models = model_files(graph, known.object_info, mapped)
    unlisted = [model for model in models if not model.is_listed]
    if unlisted:
        return _unlisted(unlisted)
    named = embeddings(graph)
    listed = _embeddings_of(checking, named)
    absent = [name for name in named if not embedding_is_listed(name, listed)]
    if absent:
        seen = f"the server has no embedding {some(absent)}; it leaves them out, and says so in its log only"
        return warning(LISTED, seen, "Put them into models/embeddings of ComfyUI, or take them out of the prompt.")
    if not models:
        chosen = "the one model is chosen by the mapping: see nodes.model" if mapped else "the workflow names no model"
        return ok(LISTED, chosen)
    return ok(LISTED, f"{counted(len(models), 'model file')}: {some([model.name for model in models], 6)}")


def _unlisted(models: list[ModelFile]) -> Row:
    first = models[0]
    told = [
        f"{model.place}: {model.name} is none of the {counted(len(model.choices), 'file')} listed" for model in models
    ]
    near = f", or write one of {some(first.nearest, 5)}" if first.nearest else ""
    remedy = (
        f"Put the file into the folder of models that {first.node_class} reads, and reload the list (GET /object_info)"
        f"{near}."
    )
    return failed(LISTED, "; ".join(told[:5]), remedy, code=Code.VALIDATION_REJECTED)


def _embeddings_of(checking: Checking, named: tuple[str, ...]) -> list[str]:
    """What GET /embeddings lists; where it cannot be asked, those that are named."""
    if not named:
        return []
    with Access.of(checking).client() as client:
        try:
            found = client.get_json("/embeddings")
        except TargetError:
            return list(named)
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else list(named)


def _load(
    runs: Runs, first: Run | None, second: Run | None, trouble: Trouble | None, models: tuple[ModelFile, ...]
) -> Row:
    if trouble is not None and trouble.row_id == LOAD:
        return trouble.row
    if not models:
        return skipped(LOAD, "the workflow names no model file")
    if first is None or trouble is not None:
        return skipped(LOAD, trouble.why if trouble is not None else "nothing was run")
    return ok(LOAD, told_of_load(first, second, runs.was_unloaded))


def told_of_load(first: Run, second: Run | None, was_unloaded: str | None) -> str:
    """Cold and warm time, and whether cold was cold."""
    first_s, second_s = first.executed_s or 0.0, None if second is None else second.executed_s
    loads = [line for line in first.log or () if line.kind in {LogKind.MODEL_REQUESTED, LogKind.MODEL_READ}]
    unloaded = {None: "", "": "; models were unloaded before it"}.get(was_unloaded, f"; not unloaded: {was_unloaded}")
    if second is None or second_s is None:
        return f"the first run took {seconds(first_s)}{unloaded}; a second one was not made"
    times = f"first run {seconds(first_s)}, then {seconds(second_s)}"
    if first.log is None:
        difference = f"{seconds(max(first_s - second_s, 0.0))} between them"
        return (
            f"{times}; whether the first was cold the server does not tell (no /internal/logs): {difference}{unloaded}"
        )
    if not loads:
        return f"{times}; the models were loaded already, so the time of loading is not known (--free makes it so)"
    return f"{times}{unloaded}; {_loading(first, second, first_s - second_s)}"


def _loading(first: Run, second: Run, difference_s: float) -> str:
    names = list(dict.fromkeys(name for name in first.models_requested if name))
    which = f"the first one loaded {some(names)}" if names else "the first one read its models"
    spared = sorted((second.cached - first.cached) - {""})
    besides = f" (with {counted(len(spared), 'node')} that the second had from the cache)" if spared else ""
    again = second.models_requested
    thrash = f"; the second loaded {some(again)} again" if again else ""
    if difference_s <= 0:
        return f"{which}, in no time that shows{thrash}"
    return f"{which}: loading cost about {seconds(difference_s)}{besides}{thrash}"


def _memory(runs: Runs, first: Run | None, second: Run | None, trouble: Trouble | None) -> Row:
    last = second or first
    told = memory_free(runs.stats, None if last is None else last.after)
    free = told or "the server tells no figures of memory"
    if trouble is not None and trouble.row_id == MEMORY:
        return failed(MEMORY, f"{trouble.row.seen}; {free}", trouble.row.remedy, code=trouble.row.code)
    if first is None or trouble is not None:
        return skipped(MEMORY, trouble.why if trouble is not None else "nothing was run")
    degraded = list(dict.fromkeys([*first.degraded, *(second.degraded if second else [])]))
    if degraded:
        seen = f"not all of it fits, which is slower: {some(degraded, 2)}; {free}"
        return warning(MEMORY, seen, CATALOGUE[Code.SILENT_DEGRADE].remedy, code=Code.SILENT_DEGRADE)
    return ok(MEMORY, free)
