"""One prompt being run: a generator that does what ComfyUI's worker does and yields whenever that takes time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from comfysoak_core.clock import NS_PER_MS
from comfysoak_core.scenario.faults import Hang, Misfire, NodeError, Oom
from comfysoak_simulator import messages, pictures
from comfysoak_simulator.behaviour import as_text
from comfysoak_simulator.cache import Result, Signatures
from comfysoak_simulator.graph import Dissolve, Graph, Node
from comfysoak_simulator.labour import Labour, Pause, ShortageError
from comfysoak_simulator.messages import Binary, ImageFormat
from comfysoak_simulator.progress import Progress
from comfysoak_simulator.prompt_queue import Item
from comfysoak_simulator.tasks import Gift, NodeRaisedError, Task
from comfysoak_simulator.values import Images, Latent, Value
from comfysoak_simulator.worker import Worker

Json = Any
_TIP = (
    "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might have "
    "accidentally set the batch_size to a large number."
)
_SAMPLERS = frozenset({"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"})


class NodeFailedError(Exception):
    """A node raised; `type_name` is the full name of what it raised."""

    def __init__(self, message: str, type_name: str, *, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.type_name = type_name
        self.out_of_memory = out_of_memory


class InterruptedPromptError(Exception):
    """Somebody asked for the end of the prompt."""


@dataclass
class Report:
    """What history will say."""

    outputs: dict[str, Json] = field(default_factory=dict)
    meta: dict[str, Json] = field(default_factory=dict)
    messages: list[list[Json]] = field(default_factory=list)
    succeeded: bool = True

    def as_entry(self) -> dict[str, Json]:
        """As an entry of history."""
        status = {
            "status_str": "success" if self.succeeded else "error",
            "completed": self.succeeded,
            "messages": self.messages,
        }
        return {"outputs": self.outputs, "status": status, "meta": self.meta}


class Run:
    """The run of one prompt by a worker; `report` is what history will say of it."""

    def __init__(self, worker: Worker, item: Item) -> None:
        self.report = Report()
        self._worker = worker
        self._item = item
        self._id = item.prompt_id
        self._client = item.client_id
        self._progress = Progress(item.prompt_id, self._client, worker)
        self._labour = Labour(worker)
        self._results: dict[str, Result] = {}
        self._executed: list[str] = []
        self._expanded: dict[str, tuple[list[Json], ...]] = {}
        self._coroutines: dict[str, int] = {}  # node id -> when it ends

    def steps(self) -> Iterator[Pause]:
        """Run it; each pause is time that has to pass. KeyError or AttributeError: what ComfyUI's thread dies of."""
        self._note("execution_start", {"prompt_id": self._id})
        self._graph = Graph(self._item.prompt, self._worker.catalogue)
        changed, strange = self._worker.behaviour.changed, self._graph.has_unknown_inputs
        self._signatures = Signatures(self._graph, changed)
        self._doings = Signatures(self._graph, changed, only_declared=True) if strange else self._signatures
        self._find_cached()
        self._dissolve = Dissolve(self._graph, self._results.__contains__)
        for output in self._item.outputs:
            self._dissolve.need(output)
        while self._dissolve.pending:
            node_id = self._dissolve.next()
            if node_id is None:
                yield from self._wait_for_coroutine()
                continue
            node = self._graph.nodes[node_id]
            try:
                yield from self._execute(node)
            except InterruptedPromptError:
                self._interrupted(node)
                return
            except NodeFailedError as failure:
                self._failed(node, failure)
                return
            finally:
                self._labour.put_down()
        self._tell_intermediate()
        self._note("execution_success", {"prompt_id": self._id})

    def _find_cached(self) -> None:
        cache, signatures = self._worker.cache, self._signatures
        cache.begin([signatures.of(node_id) for node_id in self._graph.nodes])
        for node_id in self._graph.nodes:
            result = cache.get(signatures.of(node_id))
            if result is not None:
                self._results[node_id] = result
        self._cached = frozenset(self._results)
        self._note("execution_cached", {"nodes": list(self._results), "prompt_id": self._id})

    def _execute(self, node: Node) -> Iterator[Pause]:
        known = self._results.get(node.id) or self._worker.cache.get(self._signatures.of(node.id))
        if known is not None:
            self._finish(node, known, tell=True)
            return
        if node.id in self._expanded:
            self._finish(node, Result(self._from_links(self._expanded[node.id]), None))
            return
        inputs = self._inputs(node)
        if node.id not in self._coroutines:
            self._start(node)
            work = self._labour.take_up(node, inputs)
            self._faults_before(node, work.is_work)
            if node.node_class.is_async:
                self._coroutines[node.id] = self._worker.clock.now_ns() + self._labour.lasts_ns(work.work.seconds)
                self._dissolve.held.add(node.id)
                return
            yield from self._work(node, inputs)
        gift = self._gift(node, inputs)
        if gift.expansion is not None:
            self._expand(node, gift)
            return
        if gift.websocket_images is not None:
            yield from self._send_images(node, gift.websocket_images)
        if gift.text is not None:
            self._worker.send(Binary.TEXT, messages.progress_text(node.id, gift.text), None)
        for model, kind in gift.read_models:
            self._worker.log.loader_read(model, kind, on_gpu=self._worker.gpu is not None)
        self._executed.append(node.id)
        self._finish(node, gift.result, tell=True)

    def _start(self, node: Node) -> None:
        self._progress.start(node)
        self._worker.last_node_id = node.id
        self._tell("executing", {"node": node.id, "display_node": node.display_id, "prompt_id": self._id})
        self._check_interrupt()

    def _work(self, node: Node, inputs: dict[str, Value]) -> Iterator[Pause]:
        try:
            yield from self._interruptible(self._labour.load_models())
        except ShortageError as error:
            raise NodeFailedError(str(error), "torch.OutOfMemoryError", out_of_memory=True) from None
        yield from self._interruptible(self._labour.begin())
        steps = self._labour.steps
        sampler = node.node_class.name in _SAMPLERS
        for step in range(1, steps + 1):
            yield from self._interruptible(self._labour.step())
            self._check_interrupt()
            preview = self._preview(node, inputs, step / steps) if sampler else None
            self._progress.update(node, step, steps, preview, ImageFormat.JPEG)

    def _interruptible(self, pauses: Iterator[Pause]) -> Iterator[Pause]:
        """In 0.33 each layer of a model looks at the flag; elsewhere only a new step or node does."""
        for pause in pauses:
            yield pause
            if pause.interruptible:
                self._check_interrupt()

    def _check_interrupt(self) -> None:
        if self._worker.interrupt_wanted:
            self._worker.interrupt_wanted = False
            raise InterruptedPromptError

    def _faults_before(self, node: Node, is_work: bool) -> None:  # noqa: FBT001  # one caller
        worker = self._worker
        if not worker.machine.faults.any:
            return
        now_ns = worker.clock.now_ns()
        name = node.node_class.name
        worker.strike_gpu_faults(now_ns, name, is_work=is_work)
        if worker.broken is not None and is_work:
            raise NodeFailedError(worker.broken, "torch.AcceleratorError" if worker.newer else "RuntimeError")
        failure = worker.node_fault(NodeError, now_ns, name, is_work=is_work, subject=self._id)
        if failure is not None:
            raise NodeFailedError(failure.message, failure.type)
        shortage = worker.node_fault(Oom, now_ns, name, is_work=is_work, subject=self._id)
        if shortage is not None:
            if worker.gpu is not None:
                worker.gpu.leaked_bytes += shortage.keeps
            raise NodeFailedError(self._labour.shortage_text(), "torch.OutOfMemoryError", out_of_memory=True)
        if worker.node_fault(Misfire, now_ns, name, is_work=is_work, subject=self._id) is not None:
            raise InterruptedPromptError
        hang = worker.node_fault(Hang, now_ns, name, is_work=is_work, subject=self._id)
        if hang is not None:
            self._labour.hang(hang.lasting)

    def _gift(self, node: Node, inputs: dict[str, Value]) -> Gift:
        if node.node_class.name == "HarnessFail":
            raise NodeFailedError(str(inputs.get("message", "harness failure")), "RuntimeError")
        if node.node_class.name == "HarnessOOM":
            wanted = inputs.get("gib", 2.0)
            text = (
                "Allocation on device 0 would exceed allowed memory. (out of memory)\n"
                "Currently allocated     : 0 bytes\n"
                f"Requested               : {wanted if isinstance(wanted, float) else 2.0:.2f} GiB"
            )
            raise NodeFailedError(text, "torch.OutOfMemoryError", out_of_memory=True)
        task = Task(node, inputs, self._doings.of(node.id), self._item.prompt, self._item.extra_data)
        try:
            return self._worker.do(task)
        except NodeRaisedError as error:
            raise NodeFailedError(str(error), error.type_name) from error
        except (FileNotFoundError, TypeError, ValueError, OSError, MemoryError) as error:
            raise NodeFailedError(str(error), type(error).__name__) from error

    def _inputs(self, node: Node) -> dict[str, Value]:
        inputs: dict[str, Value] = {
            name: value for name, value in node.inputs.items() if isinstance(value, int | float | str)
        }
        for name, source, slot in node.links():
            result = self._results.get(source)
            inputs[name] = result.outputs[slot] if result is not None and slot < len(result.outputs) else None
        return inputs

    def _from_links(self, links: tuple[list[Json], ...]) -> tuple[Value, ...]:
        return tuple(self._results[source].outputs[slot] for source, slot in links)

    def _expand(self, node: Node, gift: Gift) -> None:
        expansion = gift.expansion
        if expansion is None:
            return
        for node_id, (class_name, inputs) in expansion.nodes.items():
            self._graph.add(node_id, class_name, inputs, node)
        self._expanded[node.id] = expansion.outputs
        for source, _ in expansion.outputs:
            self._dissolve.link(source, node.id)

    def _wait_for_coroutine(self) -> Iterator[Pause]:
        end_ns = min(self._coroutines[node_id] for node_id in self._dissolve.held)
        yield Pause(end_ns, interruptible=False)
        for node_id in [held for held in self._dissolve.held if self._coroutines[held] <= end_ns]:
            self._dissolve.held.discard(node_id)

    def _send_images(self, node: Node, images: Images) -> Iterator[Pause]:
        total = len(images.pictures)
        for index, picture in enumerate(images.pictures):
            self._check_interrupt()
            file = pictures.png(picture, images.width, images.height)
            self._progress.update(node, index, total, file, ImageFormat.PNG)
            yield Pause(0, interruptible=False)  # others get a turn while many big images are drawn

    def _preview(self, node: Node, inputs: dict[str, Value], share: float) -> bytes | None:
        if not self._worker.shows_previews(self._item.extra_data):
            return None
        latent = next((value for value in inputs.values() if isinstance(value, Latent)), None)
        width, height = (latent.width, latent.height) if latent is not None else (512, 512)
        digest = self._doings.of(node.id)
        return pictures.preview(digest, width, height, self._worker.preview_size, share)

    def _finish(self, node: Node, result: Result, *, tell: bool = False) -> None:
        self._results[node.id] = result
        self._worker.cache.put(self._signatures.of(node.id), result)
        if tell and result.ui is not None:
            self._tell_executed(node, result.ui)
        self._progress.finish(node)
        self._dissolve.done(node.id)

    def _tell_executed(self, node: Node, ui: dict[str, Json]) -> None:
        self.report.outputs[node.id] = ui
        self.report.meta[node.id] = {
            "node_id": node.id,
            "display_node": node.display_id,
            "parent_node": node.parent,
            "real_node_id": node.display_id,
        }
        data = {"node": node.id, "display_node": node.display_id, "output": ui, "prompt_id": self._id}
        self._tell("executed", data)

    def _tell_intermediate(self) -> None:
        """Cached results with something to show, of nodes that are no output nodes (0.33)."""
        for node_id in self._graph.nodes:
            node, result = self._graph.nodes[node_id], self._results.get(node_id)
            if node_id in self._cached and node.node_class.has_intermediate_output and result and result.ui is not None:
                self._tell_executed(node, result.ui)

    def _interrupted(self, node: Node) -> None:
        self._worker.log.write("Processing interrupted")
        data = {"prompt_id": self._id, "node_id": node.display_id, "node_type": node.node_class.name}
        self._end("execution_interrupted", {**data, "executed": self._executed}, to_all=self._client is None)

    def _failed(self, node: Node, failure: NodeFailedError) -> None:
        message = failure.message + "\n" + (_TIP if failure.out_of_memory else "")
        self._worker.log.raised(failure.message, failure.type_name, out_of_memory=failure.out_of_memory)
        if failure.out_of_memory:
            self._worker.unload_models()
        shown = {name: [_shown(value)] for name, value in self._inputs(node).items()}
        data = {
            "prompt_id": self._id,
            "node_id": node.display_id,
            "node_type": node.node_class.name,
            "executed": self._executed,
            "exception_message": message,
            "exception_type": failure.type_name,
            "traceback": ['  File "/comfyui/execution.py", line 1, in execute\n'],
            "current_inputs": shown,
            "current_outputs": list(self._graph.nodes),
        }
        self._end("execution_error", data)

    def _end(self, event: str, data: dict[str, Json], *, to_all: bool = False) -> None:
        self.report.succeeded = False
        self._note(event, data, to_all=to_all)

    def _note(self, event: str, data: dict[str, Json], *, to_all: bool = False) -> None:
        """Tell the owner, and history."""
        told = {**data, "timestamp": self._worker.machine.wall.now_ns() // NS_PER_MS}
        self.report.messages.append([event, told])
        if to_all:
            self._worker.send(event, told, None)
        else:
            self._tell(event, told)

    def _tell(self, event: str, data: dict[str, Json]) -> None:
        if self._client is not None:
            self._worker.send(event, data, self._client)


def _shown(value: Value) -> Json:
    return value if value is None or isinstance(value, int | float | str) else as_text(value)
