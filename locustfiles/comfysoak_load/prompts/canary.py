"""The golden canary: one fixed prompt to each server at intervals, beside the load, whose pictures must stay the same.

One process of the run does it, with one greenlet a server, which sends no canary before the last one has ended: however
slow a server is, they never pile up. Nobody listens for a canary: its end is polled, and its socket cannot break.
"""

from __future__ import annotations

import base64
import functools
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

import gevent
import orjson

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.asking import Patience
from comfysoak_core.comfyui.expected import files_expected, sampled_outputs
from comfysoak_core.comfyui.history import OutputFile
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.comfyui.uncached import uncached
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.outputs.golden import Differs, Golden
from comfysoak_core.outputs.pictures import MAX_PIXELS
from comfysoak_core.rows import Outcome, Prompt, Role
from comfysoak_core.scenario.canary import Canary, folder_of
from comfysoak_core.scenario.golden import BASELINE
from comfysoak_load.process.load_process import LoadProcess
from comfysoak_load.prompts.abort import abort, withdraw
from comfysoak_load.prompts.order import Order
from comfysoak_load.prompts.outputs import Asked, aside
from comfysoak_load.prompts.prompt_run import PromptRun
from comfysoak_load.servers.target import Target
from comfysoak_load.sockets.connection import PromptListener

MOST_KEPT: Final = 20  # pictures that differed, of all servers together
MOST_KEPT_BYTES: Final = 64 * 1024 * 1024
LOOK_EVERY_S: Final = 0.2
STOP_WITHIN_S: Final = 0.5
_COMPARED_PIXELS: Final = MAX_PIXELS // 4  # room taken for a comparison, which holds three pictures
_PATIENCE: Final = Patience(first_look_ns=NS_PER_S // 2, longest_look_ns=2 * NS_PER_S, without_socket_ns=NS_PER_S // 2)


class Canaries:
    """The canaries of a run: one a server, from `start` to `stop`. `may_send` says whether there is load now."""

    def __init__(self, process: LoadProcess, canary: Canary, folder: Path, may_send: Callable[[], bool]) -> None:
        keeper = _Keeper(folder)
        self._process = process
        self._ones = [_OfServer(process, target, canary, keeper, may_send) for target in process.targets]
        self._greenlets: list[gevent.Greenlet] = []

    def start(self) -> None:
        """Send the first ones as soon as there is load: their pictures are what the later ones are compared with."""
        self._greenlets = [gevent.spawn(one.live) for one in self._ones]

    def stop(self) -> None:
        """No more of them; those that are open are taken back and aborted."""
        open_ones = [one.run for one in self._ones if one.run is not None]
        abort(open_ones, self._process.clock)
        gevent.joinall(self._greenlets, timeout=STOP_WITHIN_S if open_ones else 0)
        gevent.killall(self._greenlets, timeout=STOP_WITHIN_S)


class _Keeper:
    """Writes pictures into the run directory, within bounds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = self._bytes = 0

    def baseline(self, server: str, place: str, png: bytes) -> None:
        """What later pictures of this server are compared with."""
        self._write(self._folder / folder_of(server) / f"{BASELINE}{place}.png", png)

    def differing(self, server: str, prompt_id: str, found: Differs) -> None:
        """A picture that is not what it was, for somebody to look at."""
        size = len(found.found_png)
        if not size or self._count >= MOST_KEPT or self._bytes + size > MOST_KEPT_BYTES:
            return
        self._count, self._bytes = self._count + 1, self._bytes + size
        folder = self._folder / folder_of(server)
        self._write(folder / f"{prompt_id}-{found.place}.png", found.found_png)
        baseline = folder / f"{BASELINE}{found.place}.png"
        if not baseline.exists():  # one that the scenario names
            self._write(baseline, found.baseline_png)

    def _write(self, path: Path, data: bytes) -> None:
        """A full disk costs the picture, and nothing else: what was found stands in the row."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError:
            return


class _Unheard:
    """Takes the place of a connection: the prompt's client has no socket, so nobody is sent anything about it."""

    queue_remaining = None

    def __init__(self, target: Target) -> None:
        self.target = target
        self.client_id = uuid.uuid4().hex

    def listen(self, listener: PromptListener) -> None:
        """There is nothing to hear."""

    def unlisten(self, listener: PromptListener) -> None:
        """Nor was there."""


class _OfServer:
    """The canary of one server; `run` is the one that is open."""

    def __init__(
        self, process: LoadProcess, target: Target, canary: Canary, keeper: _Keeper, may_send: Callable[[], bool]
    ) -> None:
        self.run: PromptRun | None = None
        self._process = process
        self._canary = canary
        self._keeper = keeper
        self._may_send = may_send
        self._unheard = _Unheard(target)
        self._workflow = Workflow.from_graph(canary.graph, name=canary.name)
        known = {
            picture.place or "": base64.b64decode(picture.png)
            for picture in canary.baseline
            if picture.server in (None, folder_of(target.url))
        }
        for place, png in known.items():
            if place:  # so that the next run may be compared with this one
                keeper.baseline(target.url, place, png)
        self._golden = Golden(canary.tolerance, canary.differing, known)
        self._noise = sampled_outputs(self._workflow.graph)

    def live(self) -> None:
        """One after the other, at intervals counted from the first; those whose time passed meanwhile are left out."""
        clock, every_ns = self._process.clock, round(self._canary.every_s * NS_PER_S)
        due_ns = clock.now_ns()
        while True:
            while clock.now_ns() < due_ns or not self._may_send():
                gevent.sleep(min(LOOK_EVERY_S, max((due_ns - clock.now_ns()) / NS_PER_S, 0.01)))
            try:
                self._send()
            except Exception as error:  # noqa: BLE001  # a mistake in one canary does not end the others
                self._process.own_error(error)
            due_ns += max(-(-(clock.now_ns() - due_ns) // every_ns), 1) * every_ns

    def _send(self) -> None:
        run = self.run = self._next()
        self._process.begin(run)
        try:
            row = run.run()
        finally:
            self._process.end(run)
            self.run = None
        if row.outcome == Outcome.TIMEOUT:
            withdraw([run], self._process.clock)
        if row.outcome != Outcome.SUCCESS and row.outcome != Outcome.ABORTED:
            self._tell(row)

    def _next(self) -> PromptRun:
        process, target, workflow = self._process, self._unheard.target, self._workflow
        prompt_id, now_ns = str(uuid.uuid4()), process.clock.now_ns()
        prompt = Prompt(
            id=prompt_id,
            server=target.url,
            worker=process.worker,
            client_id=self._unheard.client_id,
            workflow=self._canary.name,
            phase=process.phase,
            scheduled_ns=now_ns,
            deadline_ns=now_ns + round(self._canary.deadline_s * NS_PER_S),
            outputs_expected=files_expected(workflow.expected),
            role=Role.CANARY,
        )
        graph = uncached(workflow.graph, workflow.shape, prompt_id)
        body = orjson.dumps({"prompt_id": prompt_id, "client_id": self._unheard.client_id, "prompt": graph})
        asked = Asked(workflow.expected, self._noise, judge=self._judge_of(prompt_id))
        life = PromptLife(prompt, workflow.shape, socket=False, patience=_PATIENCE, address=target.address)
        return PromptRun(prompt, life, Order(body, asked), self._unheard, process)

    def _judge_of(self, prompt_id: str) -> Callable[[OutputFile, bytes], tuple[str, Code] | None]:
        """Judges the pictures of one prompt: each by its node's position in the graph, and its own in the batch."""
        positions = {node_id: position for position, node_id in enumerate(self._workflow.graph, 1)}
        counts: dict[str, int] = {}
        server = self._unheard.target.url

        def judge(file: OutputFile, data: bytes) -> tuple[str, Code] | None:
            if file.node_id not in positions:
                return None  # of a node that was made while it ran
            counts[file.node_id] = number = counts.get(file.node_id, 0) + 1
            place = f"{positions[file.node_id]}-{number}"
            work = functools.partial(self._golden.compare, place, file.filename, data, self._keep)
            found = aside(_COMPARED_PIXELS, work)
            if found is None:
                return None
            self._keeper.differing(server, prompt_id, found)
            return found.problem, found.code

        return judge

    def _keep(self, place: str, png: bytes) -> None:
        self._keeper.baseline(self._unheard.target.url, place, png)

    def _tell(self, row: Prompt) -> None:
        """Say what became of it, for whoever watches; the report goes by its row."""
        waited_s = ((row.finished_ns or row.scheduled_ns) - row.scheduled_ns) / NS_PER_S
        detail = f"{row.outcome} after {waited_s:.1f} s" + (f": {row.output_problem}" if row.output_problem else "")
        self._process.event("canary", server=row.server, subject=row.id, detail=detail)
