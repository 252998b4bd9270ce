"""The monitor against the simulator: what each fault does to metrics, readiness and log.

Steps are taken by the test, one after the other, on a clock that it can move.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from comfysoak.check.monitor.happening import Happening
from comfysoak.check.monitor.held_sockets import HELD
from comfysoak.check.monitor.monitor import Monitor
from comfysoak.check.monitor.rhythm import Clocks, Rhythm
from comfysoak.check.settings import Given, Settings
from comfysoak_core.clock import NS_PER_S, steady_ns
from comfysoak_core.comfyui.client import ComfyClient
from tests.check.stand import Stand, served, sound_workflow
from tests.cli.runs import eventually
from tests.probes.test_metrics import Exposition

_SMALL = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


class Stepped:
    """A monitor whose steps the test takes, on a clock that runs and can be moved on."""

    def __init__(self, settings: Settings, every_s: float = 1.0) -> None:
        self.ahead_ns = 0
        self.settings = settings
        self.told: list[Happening] = []
        clocks = Clocks(steady_ns=lambda: steady_ns() + self.ahead_ns)
        self.monitor = Monitor(lambda: self.settings, Rhythm(every_s, every_s), self.told.append, clocks)

    def step(self, canary: bool = False, seconds: float = 0.0) -> None:
        """Some time passes; then the sockets are minded, a look is taken, and a canary may be sent."""
        self.ahead_ns += round(seconds * NS_PER_S)
        self.monitor.sockets.tick()
        self.monitor.look()
        if canary:
            self.monitor.mind_canary()

    def seen(self) -> Exposition:
        """What Prometheus is told; the histogram is another test's."""
        lines = [line for line in self.monitor.metrics().split(b"\n") if b"canary_duration_seconds" not in line]
        return Exposition.read(b"\n".join(lines))

    def value(self, name: str, **labels: str) -> float:
        """One of them."""
        return self.seen().value(f"comfysoak_{name}", **labels)

    def events(self, kind: str) -> list[str]:
        """The words of what was told of a kind."""
        return [one.words for one in self.told if one.event == kind]


@contextmanager
def stepped(stand: Stand, **changes: Any) -> Iterator[Stepped]:
    """A monitor of a stand, after its first look."""
    one = Stepped(stand.settings(**changes))
    one.monitor.learn()
    one.step()
    try:
        yield one
    finally:
        one.monitor.sockets.close()
        one.monitor.stop_looking()


def others(stand: Stand, graph: dict[str, Any] | None = None, *, ends: bool = True) -> str:
    """A prompt of somebody else; waited for."""
    with ComfyClient(stand.url) as client:
        before = len(client.history_page(100))
        answer = client.post_prompt(json.dumps({"prompt": graph or _SMALL, "client_id": "another"}).encode())
        if ends:
            eventually(lambda: len(client.history_page(100)) > before, "a prompt of another has ended")
        return str(getattr(answer, "prompt_id", None))


def alive(stand: Stand) -> tuple[int, int]:
    """Prompts in the queue and in history."""
    with ComfyClient(stand.url) as client:
        return client.queue_remaining(), len(client.history_page(100))


def test_a_sound_server_is_ready_and_nothing_is_left(stand: Stand) -> None:
    """Both versions: up, healthy, a canary of the workflow that leaves no file and no entry; the log has it all."""
    with stepped(stand) as one:
        one.step(canary=True)
        one.step()
        assert one.monitor.not_ready() == ""
        assert (one.value("comfyui_up"), one.value("websocket_healthy"), one.value("websocket_open")) == (1, 1, HELD)
        assert one.value("canary_results_total", result="success") == one.value("canary_success") == 1
        assert one.value("generations_total", result="success") == 0
        assert one.value("device_memory_free_bytes") > 2**30
        assert {one.value("fault", code=code) for code in ("WORKER_DEAD", "WS_HEAD_OF_LINE", "SERVER_DOWN")} == {0}
        assert one.seen().value("comfysoak_canary_info", graph="workflow") == 1
        assert [one.event for one in one.told if one.event in {"alarm", "anomaly", "mistake"}] == []
        assert len(one.events("socket_open")) == HELD
        assert "success" in one.events("generation")[0]
        assert any(f"hash {_hash(one)}" in words for words in one.events("configuration"))
    assert alive(stand) == (0, 0)


def _hash(one: Stepped) -> str:
    (labels,) = [dict(labels) for name, labels in one.seen().values if name == "comfysoak_configuration_info"]
    return labels["hash"]


def test_without_a_workflow_a_tiny_graph_is_the_canary(stand: Stand) -> None:
    """It needs no model, and proves that prompts are worked on."""
    with stepped(stand, workflow=None, nodes=None, variables={}) as one:
        one.step(canary=True)
        assert one.value("canary_info", graph="tiny") == 1
        assert one.value("canary_results_total", result="success") == 1
    assert alive(stand) == (0, 0)


def test_generations_of_others_are_counted_and_told() -> None:
    """Successes and failures apart, by code; each with its id on a line; canaries are not among them."""
    with served() as stand, stepped(stand) as one:
        good = others(stand)
        bad = others(stand, {**_SMALL, "1": {"class_type": "HarnessFail", "inputs": {"message": "on purpose"}}})
        one.step(canary=True)
        one.step()
        assert one.value("generations_total", result="success") == 1
        assert one.value("generations_total", result="failure", code="NODE_ERROR") == 1
        told = one.events("generation")
        assert sum(good in words for words in told) == 1
        assert [words for words in told if bad in words and "NODE_ERROR" in words]


def test_a_dead_worker_is_an_alarm_after_looks_and_not_before() -> None:
    """HTTP is green, its log tells; no canary is sent into it; a restart ends the alarm."""
    with served(faults=[{"kind": "worker-dead", "times": 1}]) as stand, stepped(stand) as one:
        others(stand, ends=False)
        one.step()
        assert one.value("fault", code="WORKER_DEAD") == 0
        one.step()
        one.step()
        assert one.value("fault", code="WORKER_DEAD") == 1
        assert one.value("comfyui_up") == 1
        assert one.monitor.not_ready().startswith("WORKER_DEAD: ")
        one.step(canary=True, seconds=5)
        assert (alive(stand)[0], one.events("generation")) == (1, [])
        assert one.value("queue_oldest_prompt_age_seconds") >= 5
        stand.do(stand.server.kill())
        one.step()
        stand.do(stand.server.begin())
        one.step(canary=True, seconds=40)
        assert one.value("fault", code="WORKER_DEAD") == 0
        assert one.value("comfyui_restarts_total") == 1
        assert one.value("canary_success") == 1
        assert len([words for words in one.events("alarm") if "WORKER_DEAD" in words]) == 1
        assert one.events("recovered") == ["WORKER_DEAD is over"]


def test_a_canary_finds_the_worker_dead_where_nobody_else_works() -> None:
    """It kills it here; what it was told is the alarm, and what can be taken back is."""
    with served(faults=[{"kind": "worker-dead", "times": 1}]) as stand, stepped(stand, deadline_s=3.0) as one:
        one.step(canary=True)
        assert one.value("canary_results_total", result="failure", code="WORKER_DEAD") == 1
        assert one.value("fault", code="WORKER_DEAD") == 1
        assert "WORKER_DEAD" in one.monitor.not_ready()


def test_a_send_loop_that_waits_is_told_after_two_rounds() -> None:
    """HTTP and history go on while no socket is told anything; a new one is told nothing either."""
    with served() as stand, stepped(stand) as one:
        one.step()
        stand.loop.call_soon_threadsafe(stand.server.sockets.silence, 3.0)
        _nobody_hears(stand, one)
        assert one.value("fault", code="WS_HEAD_OF_LINE") == 0
        _nobody_hears(stand, one)
        assert one.value("fault", code="WS_HEAD_OF_LINE") == 1
        assert one.value("websocket_healthy") == 0
        assert "WS_HEAD_OF_LINE" in one.monitor.not_ready()
        heard = one.value("websocket_messages_total")

        def hears() -> bool:
            one.monitor.sockets.tick()
            return one.value("websocket_messages_total") > heard

        eventually(hears, "the sockets are told again")
        _nobody_hears(stand, one)
        assert one.value("fault", code="WS_HEAD_OF_LINE") == 0
        assert [words for words in one.events("recovered") if "WS_HEAD_OF_LINE" in words]


def _nobody_hears(stand: Stand, one: Stepped) -> None:
    """Somebody's prompt ends; then there is time for all to be told of it."""
    one.step(seconds=2)
    others(stand)
    one.step()
    for _ in range(3):
        one.step(seconds=4)


def test_a_socket_that_the_server_forgot_is_opened_anew() -> None:
    """The other one hears, so that one alone is at fault."""
    with served() as stand, stepped(stand) as one:
        one.step(seconds=2)
        oldest = min(stand.server.sockets.open, key=lambda connection: connection.serial)
        stand.loop.call_soon_threadsafe(stand.server.sockets.forget, [oldest])
        _nobody_hears(stand, one)
        one.step(seconds=4)
        assert one.value("websocket_zombies_total") == 1
        assert one.value("fault", code="WS_HEAD_OF_LINE") == 0
        one.step()
        assert one.value("websocket_open") == HELD


def test_down_for_hours_and_back_as_another_version() -> None:
    """It goes on asking, tells each change once, counts one restart, and learns anew what it can send."""
    with served("0.3.64") as stand, stepped(stand) as one:
        port = stand.server.port
        stand.do(stand.server.kill())
        for _ in range(50):
            one.step(canary=True, seconds=300)
        assert one.value("comfyui_up") == 0
        assert one.value("monitor_looks_total", result="failed") == 50
        assert len([words for words in one.events("service") if words.startswith("down")]) == 1
        assert len(one.events("socket_closed")) == HELD
        assert "refuses connections" in one.monitor.not_ready()
        with served("0.33.0") as newer:
            one.settings = replace(one.settings, base_url=Given(newer.url, "a test"))
            one.step(canary=True, seconds=300)
            one.step(canary=True, seconds=300)
            one.step(canary=True, seconds=40)
            assert port != newer.server.port
            assert (one.value("comfyui_up"), one.value("canary_success")) == (1, 1)
            assert one.value("comfyui_info", version="0.33.0") == 1
            assert one.value("websocket_healthy") == 1
            assert one.monitor.not_ready() == ""
            assert any("COMFYUI_BASE_URL" in words for words in one.events("configuration"))


def test_a_restart_closes_the_sockets_and_opens_them_again() -> None:
    """1006 without a close frame, counted; one restart; new ids; ready again."""
    with served() as stand, stepped(stand) as one:
        stand.do(stand.server.kill())
        eventually(lambda: _ticked(one).value("websocket_closes_total", code="1006") == HELD, "both are closed")
        one.step()
        stand.do(stand.server.begin())
        one.monitor.look()
        one.monitor.sockets.tick()  # at once: that it is back is a reason not to wait
        assert one.value("comfyui_restarts_total") == 1
        assert (one.value("websocket_open"), one.value("websocket_opens_total")) == (HELD, 2 * HELD)
        assert "code 1006" in one.events("socket_closed")[0]
        assert one.monitor.not_ready() == ""


def _ticked(one: Stepped) -> Stepped:
    one.monitor.sockets.tick()
    return one


def test_what_changes_in_a_file_is_named() -> None:
    """Hash and time move, the part is told by name and its content is not; the canary is of the new workflow."""
    with served() as stand, stepped(stand) as one:
        before = _hash(one)
        graph = sound_workflow()
        graph["3"]["inputs"]["steps"] = 3
        one.settings = replace(one.settings, workflow=Given(json.dumps(graph), "w.json"))
        one.step(canary=True)
        assert _hash(one) != before
        assert one.value("configuration_changes_total") == 1
        (words,) = [words for words in one.events("configuration") if "changed" in words]
        assert words == f"configuration changed to {_hash(one)}: COMFYUI_WORKFLOW"


def test_a_gateway_is_watched_too() -> None:
    """Its health route, in metrics and in readiness."""
    with served(gateway="open-webui") as stand, stepped(stand) as one:
        assert one.value("gateway_up") == 1
        assert stand.gateway is not None
        stand.do(stand.gateway.stop())
        one.step()
        assert one.value("gateway_up") == 0
        assert "gateway" in one.monitor.not_ready()
        stand.gateway = None
