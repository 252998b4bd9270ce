"""Workflow processing: it runs, node by node, again with another seed, and leaves what it should and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from comfysoak.check.checking import Checking, failed, ok, skipped, warning
from comfysoak.check.conversation.access import Access
from comfysoak.check.conversation.figures import counted, memory_free, node, seconds, size, some
from comfysoak.check.conversation.graphs import graph_as_sent
from comfysoak.check.conversation.run import Fetched, Run
from comfysoak.check.conversation.runs import Runs
from comfysoak.check.conversation.trouble import Trouble, trouble_of
from comfysoak.check.model_files import model_files
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS, Part
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import CATALOGUE, Code
from comfysoak_core.comfyui.answers import Queue
from comfysoak_core.errors import TargetError
from comfysoak_core.outputs.expected import Expected
from comfysoak_core.rows import NodeRun, Outcome

SUCCEEDS, NODES, REPEAT, PICTURES = "run.succeeds", "run.nodes", "run.repeat", "run.pictures"
FOLDERS, QUEUE, LEFT = "run.folders", "run.queue", "run.left"
_DROPPED: Final = "the server leaves out what is broken in it: see what was said of the workflow"
_OF_DROPPED: Final = frozenset({Code.OUTPUT_DROPPED, Code.CACHE_HIT})  # what a run shows of it; other failures are told
_NODES_NAMED: Final = 5
_FILES_NAMED: Final = 6


def look(checking: Checking) -> Iterator[Row]:
    """The rows of processing."""
    runs = Runs.of(checking)
    first = runs.first()
    if first is None:
        why = runs.obstacle or "nothing was run"
        due = [id_ for id_, kind in KINDS.items() if kind.part is Part.PROCESSING]
        yield from (skipped(id_, why) for id_ in (due if not runs.made else due[:-2]))
        if not runs.made:
            return
    else:
        yield from _of_run(checking, runs, first)
    if checking.known.answers:
        yield _queue(checking, runs)
        yield _left(checking, runs)
    else:
        yield from (skipped(id_, "the server does not answer any more") for id_ in (QUEUE, LEFT))


def _of_run(checking: Checking, runs: Runs, first: Run) -> Iterator[Row]:
    graph = graph_as_sent(checking.known, checking.settings.variables) or {}
    loaders = frozenset(model.node_id for model in model_files(graph, checking.known.object_info))
    trouble = trouble_of(first, loaders)
    second = runs.second()
    drops = checking.known.drops_outputs
    yield _unless_dropped(succeeds(first, second, trouble), drops=drops)
    warm = runs.warm()
    yield nodes(warm if warm is not None and warm.went_well else first, trouble)
    yield _unless_dropped(repeat(second, trouble), drops=drops)
    fetched = [run for run in runs.workflow_runs if run.outputs]
    yield pictures(fetched, trouble, drops=drops)
    yield folders(fetched, trouble)


def _unless_dropped(row: Row, *, drops: bool) -> Row:
    """Servers of 0.3.64 leave out an output with a circle of links without a word: its work and files are missed."""
    return skipped(row.kind.id, _DROPPED) if drops and row.code in _OF_DROPPED else row


def succeeds(first: Run, second: Run | None, trouble: Trouble | None) -> Row:
    """It runs to its end."""
    if trouble is not None:
        return trouble.row if trouble.row_id == SUCCEEDS else skipped(SUCCEEDS, trouble.why)
    times = [
        f"{run.asked.name} {seconds(run.executed_s)}" for run in (first, second) if run and run.executed_s is not None
    ]
    shape = first.asked.shape
    waited = first.queue_before.remaining if first.queue_before is not None else 0
    behind = f"; it waited behind {counted(waited, 'prompt')} of others" if waited else ""
    return ok(
        SUCCEEDS, f"{counted(len(shape.classes), 'node')}; on the server: {', '.join(times) or 'not told'}{behind}"
    )


def nodes(run: Run, trouble: Trouble | None) -> Row:
    """Time per node, slowest first."""
    if trouble is not None:
        return skipped(NODES, trouble.why)
    if run.no_socket is not None:
        return skipped(NODES, f"only the WebSocket tells when nodes run: {run.no_socket}")
    took = sorted(((_took_s(one), one) for one in run.nodes if one.ended_ns is not None), key=lambda pair: -pair[0])
    if not took:
        return skipped(NODES, "no node was told to run: see socket.order")
    told = [
        f"{node(run.asked.shape, one.node_id, one.node_class)} {seconds(took_s)}{_steps(one)}" for took_s, one in took
    ]
    return ok(NODES, f"slowest first, of {counted(len(took), 'node')} that ran: {some(told, _NODES_NAMED)}")


def _took_s(one: NodeRun) -> float:
    return ((one.ended_ns or one.started_ns) - one.started_ns) / NS_PER_S


def _steps(one: NodeRun) -> str:
    return f" in {one.steps:g} steps" if one.steps else ""


def repeat(second: Run | None, trouble: Trouble | None) -> Row:
    """With other seeds it does its work again."""
    if trouble is not None or second is None:
        return skipped(REPEAT, trouble.why if trouble is not None else "it was not repeated")
    again = trouble_of(second)
    if again is not None:
        return failed(REPEAT, again.row.seen, again.row.remedy or "Run the check again.", code=again.row.code)
    varied = some([f"{path} = {value}" for path, value in (second.asked.seeds or {}).items()])
    if second.row.outcome != Outcome.CACHED:
        ran = len(second.nodes) or second.row.nodes_executed or 0
        with_what = f"with {varied}" if varied else "unchanged (nothing in it is a seed)"
        return ok(
            REPEAT, f"sent again {with_what}: {counted(ran, 'node')} ran, {len(second.cached)} came from the cache"
        )
    if varied:
        seen = f"with {varied} all the work still came from the cache, so users get the same picture again"
        remedy = "Map the seed onto the input that the sampler takes it from: the node named does not reach the work."
        return warning(REPEAT, seen, remedy, code=Code.CACHE_HIT)
    return skipped(
        REPEAT, "nothing in the workflow is a seed: sent again, all the work came from the cache, as it should"
    )


def pictures(runs: Sequence[Run], trouble: Trouble | None, *, drops: bool) -> Row:
    """Format, size and number, and that there is something in them. `drops`: too few is told already."""
    if trouble is not None:
        return skipped(PICTURES, trouble.why)
    came = [one for run in runs for one in run.outputs if one.missing is None]
    wrong = [one.wrong for one in came if one.wrong is not None]
    counts = [run.count_problem for run in runs if run.count_problem is not None]
    if any(one.missing is not None for run in runs for one in run.outputs) and not wrong:
        return skipped(PICTURES, "not all of them could be fetched: see socket.images")
    if counts and drops and not wrong:
        return skipped(PICTURES, _DROPPED)
    if wrong or counts:
        told = f"{len(wrong)} of {counted(len(came), 'output')} wrong: {some(wrong)}" if wrong else some(counts)
        return failed(PICTURES, told, _wrong_remedy(wrong), code=Code.OUTPUT_WRONG)
    if not came:
        return skipped(PICTURES, "it puts out no file: see socket.images")
    expected = [f"{each.width}x{each.height}" for each in _sizes_expected(runs[0])]
    told = f"{counted(len(came), 'output')} of {counted(len(runs), 'run')}, each decoded whole"
    return ok(
        PICTURES, f"{told}; {'size ' + some(expected) if expected else 'their size cannot be told from the graph'}"
    )


def _wrong_remedy(wrong: Sequence[str]) -> str:
    flat = any("one colour" in what or "black" in what or "single" in what for what in wrong)
    if flat:
        return (
            "Check precision, VAE and driver: a VAE in half precision gives black (--fp32-vae), so does a broken model."
        )
    if any("a web page" in what for what in wrong):
        return "A proxy answers GET /view with a page of its own, such as a login: have it pass /view on to ComfyUI."
    if any("under the name of" in what for what in wrong):
        return (
            "Something before ComfyUI rewrites pictures, such as a CDN that makes them smaller: exempt /view from it."
        )
    return f"{CATALOGUE[Code.OUTPUT_WRONG].remedy} Look also at what rewrites files between ComfyUI and here."


def _sizes_expected(run: Run) -> list[Expected]:
    each = [files.each for files in run.asked.expected.values()]
    return [one for one in each if one.width is not None and one.height is not None]


def folders(runs: Sequence[Run], trouble: Trouble | None) -> Row:
    """What its files take, by folder."""
    if trouble is not None:
        return skipped(FOLDERS, trouble.why)
    files = [one for run in runs for one in run.outputs if one.file is not None and one.missing is None]
    if not files:
        return ok(FOLDERS, "no file is left by a run: its pictures come as messages, or there are none")
    by_folder: dict[str, list[Fetched]] = defaultdict(list)
    for one in files:
        by_folder[one.name.rpartition("/")[0]].append(one)
    told = [_folder(name, found, len(runs)) for name, found in sorted(by_folder.items())]
    kept = "; temp is emptied only when ComfyUI starts" if any(name.startswith("temp") for name in by_folder) else ""
    return ok(FOLDERS, f"{'; '.join(told)}{kept}; ComfyUI never deletes from output by itself")


def _folder(name: str, files: Sequence[Fetched], runs: int) -> str:
    each = sum(one.size_bytes for one in files) / runs
    number = counted(round(len(files) / runs), "file")
    return f"{name}/ grows by {size(each)} ({number}) with each prompt, {size(each * 1000)} with 1000"


def _queue(checking: Checking, runs: Runs) -> Row:
    now = _queue_now(checking)
    if now is None:
        return skipped(QUEUE, "the queue cannot be read now")
    return queue_back(runs.queue, now, [run.row.id for run in runs.made])


def _queue_now(checking: Checking) -> Queue | None:
    with Access.of(checking).client() as client:
        try:
            return client.queue()
        except TargetError:
            return None


def queue_back(before: Queue | None, now: Queue, ours: Sequence[str]) -> Row:
    """None of ours is in it; others' come and go."""
    left = [prompt_id for prompt_id in ours if prompt_id in now]
    was = f"{before.remaining} before" if before is not None else "not read before"
    if left:
        seen = f"{counted(len(left), 'prompt')} of ours still there and not to be taken back: {some(left)}"
        return failed(QUEUE, seen, "Restart the server: nothing that is queued runs before it.")
    others = f", {now.remaining} of others" if now.remaining else ""
    return ok(QUEUE, f"{counted(now.remaining, 'prompt')} now, {was}; none of ours{others}")


def _left(checking: Checking, runs: Runs) -> Row:
    with Access.of(checking).client() as client:
        try:
            now = client.system_stats()
        except TargetError:
            now = None
    return left(runs.made, memory_free(runs.stats, now))


def left(runs: Sequence[Run], free: str | None) -> Row:
    """History without ours; what stays is told."""
    remembered = [run.row.id for run in runs if not run.is_forgotten]
    files = [one.name for run in runs for one in run.outputs if one.file is not None and one.missing is None]
    files = list(dict.fromkeys(files))
    verb = "stays" if len(files) == 1 else "stay"
    kept = f"{counted(len(files), 'file')} {verb}, as ComfyUI cannot delete them: {some(files, _FILES_NAMED)}"
    stay = f"; {kept}" if files else ""
    memory = f"; {free} (loaded models stay)" if free else ""
    if remembered:
        seen = f"{len(remembered)} of our {len(runs)} entries stay in history: they could not be deleted{stay}{memory}"
        remedy = f'POST /history {{"delete": ["{remembered[0]}"]}}; look whether something between refuses that route.'
        return warning(LEFT, seen, remedy)
    return ok(LEFT, f"{counted(len(runs), 'prompt')} sent, none left in queue or history{stay}{memory}")
