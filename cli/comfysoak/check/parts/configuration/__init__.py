"""Configuration: variables, the way to the server, the workflow, the node mapping, and what the gateway made of them.

variables   which are set, which cannot be read, which nobody reads
address     the base URL: its form, name, port, HTTP and WebSocket, each apart
workflow    JSON, format, classes, inputs, links, values, outputs
mapping     the form of the node mapping, and its ids
mapped      what the mapping does to the workflow: keys, prompt, seed, model
stored      what the gateway uses, against its environment
asking      what is asked of server and gateway for all this; nothing is sent that runs
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from comfysoak.check.checking import Checking, failed, skipped
from comfysoak.check.conversation.graphs import graph_as_sent
from comfysoak.check.parts.configuration import address, asking, mapped, mapping, variables, workflow
from comfysoak.check.parts.configuration.stored import Asked, ask_gateway, stored_row
from comfysoak.check.row import Row, State
from comfysoak.check.settings import Given
from comfysoak_core.comfyui.json_text import document_or_none
from comfysoak_core.comfyui.judgement import checks_newer_choices, judge
from comfysoak_core.comfyui.node_classes import NodeClass
from comfysoak_core.comfyui.workflow import EXPORT_REMEDY
from comfysoak_core.errors import TargetError

_OF_THE_GATEWAY: Final = "the gateway's configuration"
_JUDGED: Final = ("workflow.classes", "workflow.inputs", "workflow.links", "workflow.values", "workflow.output")


def look(checking: Checking) -> Iterator[Row]:
    """The rows of configuration."""
    settings, known = checking.settings, checking.known
    asked = ask_gateway(checking)
    known.gateway_config = asked.stored.document if asked.stored is not None else None
    yield variables.is_set(settings, asked.stored)
    yield variables.are_readable(settings)
    yield variables.are_known(settings, asked.version, asked.stored)
    of_gateway = asked.stored.base_url if asked.stored is not None else ""
    base_url = settings.base_url or (Given(of_gateway, _OF_THE_GATEWAY) if of_gateway else None)
    yield from address.rows(checking, base_url, is_foreign=settings.base_url is None)
    subject = _Subject(checking, asked)
    yield from subject.workflow_rows()
    yield from subject.mapping_rows()
    yield stored_row(settings, asked)


@dataclass
class _Subject:
    """Workflow and mapping of one check, as far as they could be read."""

    checking: Checking
    asked: Asked

    @property
    def is_old(self) -> bool:
        gateway = self.checking.settings.gateway
        return gateway is not None and gateway.api_name == "open-webui-old"

    def workflow_rows(self) -> Iterator[Row]:
        known, stored = self.checking.known, self.asked.stored
        given = self.checking.settings.workflow
        if given is None and stored is not None and stored.workflow:
            given = Given(stored.workflow, _OF_THE_GATEWAY)
        if given is None:
            yield from (skipped(id_, "no workflow is set") for id_ in ("workflow.json", "workflow.format", *_JUDGED))
            return
        read = workflow.read_json("workflow.json", given, "the workflow", EXPORT_REMEDY)
        yield read.row
        if read.document is None:
            yield from (skipped(id_, "the workflow is no JSON") for id_ in ("workflow.format", *_JUDGED))
            return
        row, known.workflow = workflow.read_workflow(given, read.document)
        yield row
        self.read_mappings()
        if known.workflow is None:
            yield from (skipped(id_, "the workflow is not in API format") for id_ in _JUDGED)
        elif not known.answers:
            yield from (
                skipped(id_, "the server does not answer, so its node classes are not known") for id_ in _JUDGED
            )
        else:
            yield from self._judged()
            known.is_sendable = known.is_sendable and row.state is State.OK

    def _judged(self) -> Iterator[Row]:
        checking, known = self.checking, self.checking.known
        graph = graph_as_sent(known, checking.settings.variables)
        assert graph is not None  # noqa: S101  # the caller looked
        checking.say(f"asking for the classes of {len(graph)} nodes")
        try:
            classes = asking.ask_classes(checking, graph)
        except TargetError as error:
            problem = error.problems[0]
            yield failed("workflow.classes", f"asked for its node classes: {problem.what}", problem.remedy)
            yield from (skipped(id_, "the node classes could not be asked for") for id_ in _JUDGED[1:])
            return
        known.object_info = classes.found
        yield workflow.classes_row(graph, classes)
        node_classes = {name: NodeClass(name, info) for name, info in classes.found.items()}
        judgement = judge(
            graph,
            node_classes,
            checks_newer_choices=checks_newer_choices(known.version),
            absent_files=asking.absent_files(checking, graph, node_classes),
        )
        yield from workflow.fault_rows(graph, judgement)
        if classes.missing and not judgement.outputs:
            yield skipped("workflow.output", "its output nodes may be among those that the server does not know")
        else:
            for_gateway = checking.settings.gateway is not None or checking.settings.nodes is not None
            yield workflow.output_row(graph, judgement, for_gateway=for_gateway, old_gateway=self.is_old)
        known.is_sendable = bool(judgement.good_outputs) and not classes.lost
        known.drops_outputs = 0 < len(judgement.good_outputs) < len(judgement.outputs)

    # The mapping

    def given_nodes(self) -> Given | None:
        return self.checking.settings.nodes

    def read_mappings(self) -> None:
        """What of the mapping can be read, before the workflow is judged as it is sent."""
        document = self._document()
        if isinstance(document, list):
            _, self.checking.known.mappings = mapping.form_row(document, old_gateway=self.is_old)

    def _document(self) -> Any:
        given, stored = self.given_nodes(), self.asked.stored
        if given is not None:
            return document_or_none(given.value.removeprefix("\ufeff").encode())
        return stored.nodes if stored is not None else None

    def mapping_rows(self) -> Iterator[Row]:
        ids = ("nodes.ids", "nodes.keys", "nodes.prompt", "nodes.seed", "nodes.model")
        given, document = self.given_nodes(), self._document()
        if given is None and document is None:
            yield from (skipped(id_, "no mapping is set") for id_ in ("nodes.form", *ids))
            return
        if given is not None:
            read = workflow.read_json("nodes.form", given, "the mapping", mapping.NOT_JSON)
            if read.row.state is not State.OK:
                yield read.row
                yield from (skipped(id_, "the mapping is no JSON") for id_ in ids)
                return
        row, mappings = mapping.form_row(document, old_gateway=self.is_old)
        yield row
        if not isinstance(document, list):
            yield from (skipped(id_, "the mapping is no list") for id_ in ids)
            return
        known = self.checking.known
        graph = known.workflow.graph if known.workflow is not None else None
        yield mapping.ids_row(document, graph)
        if graph is None or mappings is None:
            why = "there is no workflow to map onto" if graph is None else "the mapping cannot be read"
            yield from (skipped(id_, why) for id_ in ids[1:])
            return
        targets = mapping.targets_of(document, mappings)
        classes = {name: NodeClass(name, info) for name, info in known.object_info.items()}
        why = "" if known.answers else "the server does not answer, so the inputs of its classes are not known"
        yield skipped("nodes.keys", why) if why else mapped.keys_row(targets, graph, classes)
        yield mapped.prompt_row(document, targets, graph, classes)
        yield mapped.seed_row(document, targets, graph, classes, old_gateway=self.is_old)
        model = self._model()
        value, source = (model.value, model.source) if model is not None else (None, "")
        yield skipped("nodes.model", why) if why else mapped.model_row(targets, graph, classes, value, source)

    def _model(self) -> Given | None:
        """The model that the gateway puts in: what it has stored, else what its environment says."""
        stored = self.asked.stored
        held = stored.document.get("IMAGE_GENERATION_MODEL") if stored is not None else None
        if isinstance(held, str):
            return Given(held, _OF_THE_GATEWAY)
        return self.checking.settings.variables.get("IMAGE_GENERATION_MODEL")
