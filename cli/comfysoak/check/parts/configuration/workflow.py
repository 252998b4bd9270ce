"""The workflow: JSON, in API format, and of classes, inputs, links and values that the server takes. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from comfysoak.check.checking import failed, ok, skipped, warning
from comfysoak.check.row import Row
from comfysoak.check.settings import THE_ENVIRONMENT, Given
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.json_text import excerpt
from comfysoak_core.comfyui.judgement import Fault, FaultKind, Judgement, label
from comfysoak_core.comfyui.known_classes import Classes
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.comfyui.workflow import EXPORT_REMEDY, Workflow, is_editor_format
from comfysoak_core.errors import ScenarioError

Json = Any
_ONE_LINE: Final = "Write it as one line of JSON, or in single quotes over several lines."


@dataclass(frozen=True, slots=True)
class Read:
    """What a text was read as, and the row that says so. `document` None: it is no JSON."""

    row: Row
    document: Json = None


def read_json(id_: str, given: Given, what: str, remedy: str) -> Read:
    """A value that has to be JSON; its row says where it breaks."""
    text = given.value.removeprefix("\ufeff")
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return Read(failed(id_, *_broken(text, given, what, remedy, error)))
    except (ValueError, RecursionError) as error:
        return Read(failed(id_, f"{given.source}: {what} cannot be read: {excerpt(str(error))}", remedy))
    if isinstance(document, str):
        seen = f"{given.source}: {what} is a JSON string that holds {excerpt(document, 40)!r}: it was encoded twice"
        return Read(failed(id_, seen, "Take the outer quotes and the backslashes away: encode it once."))
    return Read(ok(id_, f"{given.source}: {len(text)} characters of JSON"), document)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"it holds {word}, which is no JSON")


def _broken(text: str, given: Given, what: str, remedy: str, error: json.JSONDecodeError) -> tuple[str, str]:
    begin = excerpt(text, 40)
    seen = f"{given.source}: {what} is no JSON at line {error.lineno}, column {error.colno}: {error.msg}"
    if text.strip()[:1] in ("'", '"') and text.strip()[-1:] == text.strip()[:1]:
        return f"{seen} ({begin!r})", "Take the quotes around it away: `docker run --env-file` passes them on."
    if "{" not in text and "[" not in text and ("/" in text or text.strip().endswith(".json")):
        path = excerpt(text.strip(), 80)
        how = (
            f'"$(cat {path})"' if given.source == THE_ENVIRONMENT else f"what `jq -c . {path}` prints, in single quotes"
        )
        return f"{seen}: it looks like a path ({begin!r})", f"Give the content of the file and not its path: {how}"
    if text.lstrip()[:1] in ("{", "[") and text.rstrip()[-1:] not in ("}", "]"):
        why = f"{seen}: it ends too early, after {len(text)} characters ({excerpt(text[-40:], 40)!r})"
        return why, f"{_ONE_LINE} In an env file without quotes a value ends at the end of its line, or before ` #`."
    around = excerpt(text[max(error.pos - 20, 0) : error.pos + 20], 50)
    return f"{seen}, near {around!r}", remedy


def read_workflow(given: Given, document: Json) -> tuple[Row, Workflow | None]:
    """workflow.format, and the workflow; None: it is none."""
    id_, where = "workflow.format", given.source
    if isinstance(document, dict) and is_editor_format(document):
        seen = f"{where}: this is the editor's own format ({len(document['nodes'])} nodes), which no server runs"
        return failed(id_, seen, EXPORT_REMEDY), None
    if isinstance(document, dict) and not document:
        return failed(id_, f"{where}: it has no nodes", EXPORT_REMEDY), None
    try:
        workflow = Workflow.from_graph(document, where=where, wrong=True)
    except ScenarioError as error:
        problems = error.problems
        seen = "; ".join(f"{problem.where}: {problem.what}" for problem in problems[:4])
        remedy, code = problems[0].remedy, None
        if "no class_type" in problems[0].what:
            remedy = f"Each node needs its class_type. {EXPORT_REMEDY}"
        if "no `inputs`" in problems[0].what:
            remedy, code = f"{problems[0].where.rpartition(': ')[2]}: {remedy}", Code.WORKER_DEAD
        elif "object with class_type" in problems[0].what:
            remedy = f"Take {problems[0].where.rpartition(': ')[2]} out. {EXPORT_REMEDY}"
        return failed(id_, seen, remedy, code=code), None
    if workflow.graph is not document:
        seen = (
            f"{where}: the graph lies under `prompt`: this is a whole request body, which a gateway takes for a graph"
        )
        return failed(id_, seen, "Keep what stands under `prompt`, and nothing around it."), workflow
    return ok(id_, f"{len(workflow.graph)} nodes of {len(set(workflow.classes.values()))} classes"), workflow


def classes_row(graph: Graph, classes: Classes) -> Row:
    """workflow.classes."""
    id_ = "workflow.classes"
    if classes.lost:
        told = [label(graph, node_id) for node_id, node in graph.items() if node["class_type"] in classes.lost]
        more = f" and {len(told) - 6} more" if len(told) > 6 else ""
        return failed(
            id_,
            f"the server does not know: {', '.join(told[:6])}{more}",
            f"{classes.nearest_told()}Install the custom node it belongs to (ComfyUI-Manager > Install Missing Custom "
            "Nodes), and restart ComfyUI; one that is there may have failed to load: its log says IMPORT FAILED.",
            code=Code.VALIDATION_REJECTED,
        )
    if classes.missing:
        old = ", ".join(f"{name} is {new} now" for name, new in classes.successors.items())
        bare = [key for key, node in graph.items() if node["class_type"] in classes.missing and "_meta" not in node]
        if bare:
            seen = f"{old}; of nodes without `_meta` ({', '.join(bare[:5])}) this server makes a 500"
            return failed(id_, seen, f"Write the new class into the workflow, or export it again. {EXPORT_REMEDY}")
        return warning(id_, f"{old}; the server exchanges it each time", f"Export the workflow again. {EXPORT_REMEDY}")
    return ok(id_, f"all {len({node['class_type'] for node in graph.values()})} classes are known to the server")


_ROWS: Final = {
    "workflow.inputs": (FaultKind.MISSING, "every required input is there"),
    "workflow.links": (FaultKind.LINK, "every link leads to an output of the right type"),
    "workflow.values": (FaultKind.VALUE, "every value is one the server takes"),
}


def fault_rows(graph: Graph, judgement: Judgement) -> list[Row]:
    """workflow.inputs, workflow.links, workflow.values."""
    return [_fault_row(graph, judgement, id_, kind, good) for id_, (kind, good) in _ROWS.items()]


def _fault_row(graph: Graph, judgement: Judgement, id_: str, kind: FaultKind, good: str) -> Row:
    faults = [fault for fault in judgement.faults if fault.kind is kind]
    if not judgement.outputs:
        return skipped(id_, "nothing runs without an output node, so the server looks at no input")
    if not faults:
        models = [fault for fault in judgement.faults if fault.kind is FaultKind.MODEL]
        note = f"; {len(models)} model file(s) apart: see models.listed" if models and kind is FaultKind.VALUE else ""
        return ok(id_, f"{good} ({len(graph)} nodes){note}")
    hard = [fault for fault in faults if fault.refused and fault.certain]
    seen, remedy = _told(hard or faults)
    if not hard:
        why = "this server does not check it, and the node is given a value it does not know"
        if not all(fault.certain for fault in faults):
            why = "a custom node may check its values by itself; if it does not, the server refuses the prompt"
        return warning(id_, f"{seen}; {why}", remedy)
    if judgement.good_outputs:
        dropped = [label(graph, output) for output in judgement.outputs if output not in judgement.good_outputs]
        seen = f"{seen}; the server takes the prompt, and leaves out {', '.join(dropped[:3])} without a word"
        return warning(id_, seen, remedy, code=Code.OUTPUT_DROPPED)
    return failed(id_, seen, remedy, code=Code.VALIDATION_REJECTED)


def _told(faults: list[Fault]) -> tuple[str, str]:
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    remedies = dict.fromkeys(fault.remedy for fault in faults[:3])
    return "; ".join(fault.what for fault in faults[:3]) + more, " ".join(remedies)


TAKEN: Final = frozenset({"SaveImage", "SaveImageAdvanced", "PreviewImage"})  # by gateways of today
_GIVE_PICTURES: Final = TAKEN | {"SaveAnimatedWEBP", "SaveAnimatedPNG", "MaskPreview"}


def output_row(graph: Graph, judgement: Judgement, *, for_gateway: bool, old_gateway: bool) -> Row:
    """workflow.output. An old gateway takes the pictures of every node; one of today those of three classes."""
    id_ = "workflow.output"
    if not judgement.outputs:
        ends = _ends(graph)
        seen = f"no node is an output node, so the server refuses it (prompt_no_outputs); it ends in {', '.join(ends)}"
        return failed(id_, seen, "Add a Save Image node (SaveImage) at its end.", code=Code.VALIDATION_REJECTED)
    taken = _GIVE_PICTURES if old_gateway else TAKEN
    saving = [output for output in judgement.outputs if graph[output]["class_type"] in taken]
    told = ", ".join(label(graph, output) for output in judgement.outputs[:4])
    if not saving:
        seen = f"its output nodes are {told}: {_whose(graph, judgement.outputs)}"
        remedy = "Add a Save Image node (SaveImage) after the picture."
        if for_gateway:
            return failed(id_, seen, remedy, code=Code.GATEWAY_EMPTY)
        return skipped(id_, f"it ends in {told}, and no gateway was named that would want a SaveImage")
    if old_gateway and len(saving) > 1:
        seen = f"{told}: an old gateway hands over each picture {len(saving)} times, once for every output node"
        return warning(id_, seen, "Keep one node that saves a picture.")
    temporary = [output for output in saving if graph[output]["class_type"] == "PreviewImage"]
    note = ""
    if len(temporary) == len(saving):
        note = "; previews lie in the temp folder, which ComfyUI empties when it starts"
    elif len(saving) > 1:
        note = f"; the gateway hands over the pictures of all {len(saving)}"
    return ok(id_, f"{told}{note}")


def _whose(graph: Graph, outputs: Collection[str]) -> str:
    if any(graph[output]["class_type"] == "SaveImageWebsocket" for output in outputs):
        return "SaveImageWebsocket sends its pictures by the socket, where a gateway does not look"
    return (
        "a gateway of today takes pictures from SaveImage, SaveImageAdvanced and PreviewImage only, so its answer is []"
    )


def _ends(graph: Graph) -> list[str]:
    used = {
        value[0]
        for node in graph.values()
        for value in node["inputs"].values()
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
    }
    return [label(graph, node_id) for node_id in graph if node_id not in used][:3] or ["a circle"]
