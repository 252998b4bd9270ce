"""One light look at server and gateway: four or five small questions, none of which has anything run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from comfysoak.check.conversation.access import Access
from comfysoak.check.conversation.server_log import read_log, worker_died
from comfysoak.check.monitor.generations import Ended, Generation
from comfysoak.check.parts.gateway.door import Door, Who, said, status_of
from comfysoak.check.parts.gateway.layout import layout_of
from comfysoak.check.settings import GatewayAccess, Settings
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.answers import Queue, SystemStats
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.history import HistoryEntry
from comfysoak_core.errors import Problem, TargetError
from comfysoak_probes.server.restarts import RestartWatch

ANSWER_WITHIN_S: Final = 10.0
ENTRIES_LEAST: Final = 16  # each has a whole workflow in it
ENTRIES_MOST: Final = 256
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class GatewaySight:
    """Its health route, and its configuration where an administrator's token was named."""

    is_well: bool
    words: str
    took_s: float
    stored: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look saw. Times are ns of the steady clock. `problem`: why the server's part of it is not whole."""

    began_ns: int
    ended_ns: int
    problem: Problem | None = None
    refused: bool = False
    timed_out: bool = False
    stats: SystemStats | None = None
    queue: Queue | None = None
    answer_s: float | None = None  # of GET /queue
    generations: tuple[Generation, ...] = ()
    gap: bool = False  # more had ended than were looked at
    restarted: str = ""  # how that showed
    log_is_readable: bool | None = None  # None: there was no reason to read it
    died: str | None = None
    gateway: GatewaySight | None = None


class Looker:
    """Looks at one server, one look after the other; keeps one connection, and what tells old from new."""

    def __init__(self, access: Access, steady_ns: Callable[[], int]) -> None:
        self._steady_ns = steady_ns
        self._client = ComfyClient(access.base_url, timeout_s=ANSWER_WITHIN_S, headers=access.headers)
        self._ended = Ended()
        self._restarts = RestartWatch(self._in_history)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def refused(self) -> None:
        """Somebody else was refused a connection since the last look."""
        self._restarts.refused()

    def look(self, settings: Settings, *, read_log_too: bool) -> Sight:
        """Look at everything once; nothing is raised for what a server does."""
        began_ns = self._steady_ns()
        told: dict[str, Any] = {}
        problem, refused, timed_out = None, False, False
        try:
            self._ask(told, read_log_too=read_log_too)
        except TargetError as error:
            problem, refused = error.problems[0], isinstance(error.__cause__, ConnectionRefusedError)
            timed_out = isinstance(error.__cause__, TimeoutError)
            if refused:
                self._restarts.refused()
        gateway = None if settings.gateway is None else self._gateway(settings.gateway)
        told |= {"problem": problem, "refused": refused, "timed_out": timed_out, "gateway": gateway}
        return Sight(began_ns, self._steady_ns(), **told)

    def _ask(self, told: dict[str, Any], *, read_log_too: bool) -> None:
        began_ns = self._steady_ns()
        queue = told["queue"] = self._client.queue()
        told["answer_s"] = (self._steady_ns() - began_ns) / NS_PER_S
        stats = told["stats"] = self._client.system_stats()
        restarted = self._restarts.saw(queue) or self._restarts.saw_stats(stats)
        if restarted:
            told["restarted"] = restarted
            self._ended.restarted()
        told["generations"], told["gap"] = self._generations()
        if read_log_too:
            log = read_log(self._client)
            line = worker_died(log)
            told["log_is_readable"], told["died"] = log is not None, None if line is None else line.text

    def _generations(self) -> tuple[tuple[Generation, ...], bool]:
        """What has ended since the last look; True: there may have been more."""
        wanted = ENTRIES_LEAST
        page = self._page(wanted)
        while len(page) >= wanted and wanted < ENTRIES_MOST and self._ended.needs_more(page):
            wanted = min(wanted * 4, ENTRIES_MOST)
            page = self._page(wanted)
        gap = len(page) >= wanted and self._ended.needs_more(page)
        return self._ended.new_of(page), gap

    def _page(self, wanted: int) -> tuple[HistoryEntry, ...]:
        return self._client.history_page(wanted)

    def _in_history(self, prompt_id: str) -> bool:
        try:
            return isinstance(self._client.history(prompt_id), HistoryEntry)
        except TargetError:
            return False

    def _gateway(self, access: GatewayAccess) -> GatewaySight:
        door, layout = Door(access), layout_of(access.api_name)
        began_ns = self._steady_ns()
        route = access.api.health
        answer = door.ask(Who.NOBODY, "GET", route or "/")
        took_s = (self._steady_ns() - began_ns) / NS_PER_S
        status = status_of(answer)
        is_well = status == _OK if route is not None else 0 < status < 500
        stored = None
        if is_well and layout.config is not None and door.has(Who.ADMIN):
            document = door.read(Who.ADMIN, layout.config)
            stored = document if isinstance(document, Mapping) else None
        return GatewaySight(is_well, f"{route or '/'}: {said(answer)}", took_s, stored)
