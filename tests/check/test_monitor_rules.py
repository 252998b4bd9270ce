"""The rules of a monitor, which need no server: rhythm, work, history, configuration, readiness, and days of looks."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest

from comfysoak.check.monitor.canary import SENDS, Came, Kind, Result, tiny_graph, without_files
from comfysoak.check.monitor.configured import Configured, configured
from comfysoak.check.monitor.exposition import About, exposition
from comfysoak.check.monitor.generations import Ended
from comfysoak.check.monitor.held_sockets import HELD, SocketsSeen
from comfysoak.check.monitor.looking import GatewaySight, Sight
from comfysoak.check.monitor.readiness import not_ready
from comfysoak.check.monitor.serving import Answers, listener_on
from comfysoak.check.monitor.standing import Standing
from comfysoak.check.settings import Given, Settings
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Device, Queue, SystemStats
from comfysoak_core.comfyui.history import Failure, HistoryEntry
from comfysoak_core.errors import Problem, UsageError
from comfysoak_core.recording.redaction import SECRET_VARIABLES, hide_value_of
from comfysoak_probes.remote.service import Request
from tests.check.stand import sound_workflow
from tests.probes.test_metrics import Exposition

MINUTE_NS = 60 * NS_PER_S
STATS = SystemStats(
    "0.33.0", "3.12", "2.9.1", "linux", 2**34, 2**33, ("main.py", "--listen"),
    (Device('a "GPU"\n\\', "cuda", 0, 24 * 2**30, 20 * 2**30, 2**30, 0),),
)  # fmt: skip
HEALTHY = SocketsSeen(open=HELD, alive=HELD, why_not="", opens=HELD)
ABOUT = About("http://me:hush-hush@gpu-1:8188", "", 0, 0, 30.0, 300.0, "workflow", 0, 0, {}, "")


def queue(running: tuple[str, ...] = (), pending: tuple[str, ...] = (), number: int | None = None) -> Queue:
    return Queue(running, pending, number)


def sight(at_s: float, **said: Any) -> Sight:
    at_ns = round(at_s * NS_PER_S)
    fields: dict[str, Any] = {"queue": queue(), "stats": STATS, "answer_s": 0.01} | said
    return Sight(at_ns - NS_PER_S // 100, at_ns, **fields)


def entry(prompt_id: str, ended_ms: int, failure: Failure | None = None) -> HistoryEntry:
    return HistoryEntry(prompt_id, 1.0, failure is None, failure, ended_ms - 500, ended_ms, (), ())


class TestConfiguration:
    def _settings(self, **changes: Any) -> Settings:
        given = Given("http://gpu-1:8188", "the command line")
        return replace(Settings(base_url=given, workflow=Given("{}", "w.json"), api_key_variable="TEST_KEY"), **changes)

    def test_the_hash_holds_no_secret_and_a_changed_one_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same hash with another key; the variable is named, and its value nowhere."""
        monkeypatch.setenv("TEST_KEY", "first-secret-value")
        before = configured(self._settings(), STATS, None, None)
        monkeypatch.setenv("TEST_KEY", "other-secret-value")
        now = configured(self._settings(), STATS, None, before)
        assert now.hash == before.hash
        assert now.changed_since(before) == ["TEST_KEY"]
        assert not any("secret-value" in text for text in (*now.open.values(), *now.hidden.values()))

    def test_each_part_that_changes_is_named(self) -> None:
        """Of settings, server and gateway."""
        before = configured(self._settings(), STATS, {"IMAGE_STEPS": 20, "COMFYUI_API_KEY": "k"}, None)
        stats = replace(STATS, comfyui_version="0.34.0")
        settings = self._settings(workflow=Given('{"1": 2}', "w.json"))
        now = configured(settings, stats, {"IMAGE_STEPS": 30, "COMFYUI_API_KEY": "k"}, before)
        assert now.changed_since(before) == ["COMFYUI_WORKFLOW", "gateway IMAGE_STEPS", "server version"]
        assert now.hash != before.hash

    def test_who_is_silent_has_not_changed(self) -> None:
        """A server that is down keeps the configuration it had."""
        before = configured(self._settings(), STATS, {"IMAGE_STEPS": 20}, None)
        assert configured(self._settings(), None, None, before) == before

    def test_it_is_the_same_on_every_machine(self) -> None:
        """A hash can be compared with that of yesterday."""
        parts = {"COMFYUI_WORKFLOW": "a", "server version": "b"}
        assert Configured(parts, {}).hash == Configured(dict(reversed(parts.items())), {}).hash == "eabedf6f8ceac037"


class TestReadiness:
    def _standing(self, *sights: Sight) -> Standing:
        standing = Standing(deadline_ns=5 * MINUTE_NS)
        for one in sights:
            standing.saw(one, one.ended_ns)
        return standing

    def _why(self, standing: Standing, sockets: SocketsSeen = HEALTHY, at_s: float = 10) -> str:
        return not_ready(standing, sockets, round(at_s * NS_PER_S), every_s=10)

    def test_ready_by_a_fresh_good_look(self) -> None:
        """And by nothing else: not before the first, and not by an old one."""
        assert self._why(self._standing()) == "no look has ended yet"
        assert self._why(self._standing(sight(10))) == ""
        assert "keeps one waiting" in self._why(self._standing(sight(10)), at_s=100)

    def test_each_reason_is_told(self) -> None:
        """Down, sockets, gateway, canary."""
        down = sight(10, problem=Problem("http://gpu-1 refuses connections", "Start it."), refused=True)
        assert self._why(self._standing(down)) == "http://gpu-1 refuses connections. Start it."
        up = self._standing(sight(10))
        assert "no WebSocket is open: HTTP 403" in self._why(up, SocketsSeen(why_not="HTTP 403 instead of 101"))
        assert "WS_HEAD_OF_LINE" in self._why(up, replace(HEALTHY, head_of_line="2 silent"))
        assert "ping" in self._why(up, replace(HEALTHY, alive=0))
        sick = self._standing(sight(10, gateway=GatewaySight(False, "/health: 502", 0.1)))
        assert "gateway" in self._why(sick)
        up.canary(Result("c", Kind.TINY, Came.FAILURE, "it broke", Code.NODE_ERROR), 0)
        assert self._why(up) == "the last canary failed: NODE_ERROR: it broke"
        up.canary(Result("c", Kind.TINY, Came.SUCCESS, "", None, 1.0), 0)
        assert self._why(up) == ""

    def test_what_is_said_of_it_gives_no_secret_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Words of servers are hostile: one line, no secret, no control characters."""
        monkeypatch.setenv(SECRET_VARIABLES, "")
        monkeypatch.setenv("TEST_TOKEN", "hush-hush-hush")
        hide_value_of("TEST_TOKEN")
        answers = Answers(lambda: b"", lambda: "", lambda: "bad\x1b[2J\n token hush-hush-hush")
        reply = answers(Request("/readyz", "", {}))
        assert (reply.status, reply.body) == (503, b"bad [2J  token [redacted]\n")
        assert answers(Request("/healthz", "", {})).body == b"ok\n"
        assert answers(Request("/else", "", {})).status == 404


class TestListening:
    @pytest.mark.parametrize(
        ("text", "host"), [("127.0.0.1:0", "127.0.0.1"), (":0", "0.0.0.0"), ("[::1]:0", "::1"), ("0", "127.0.0.1")]
    )
    def test_addresses_as_people_write_them(self, text: str, host: str) -> None:
        """HOST:PORT, :PORT for everywhere, [::1]:PORT, and a port alone."""
        listener = listener_on(text)
        assert listener.getsockname()[0] == host
        listener.close()

    @pytest.mark.parametrize("text", ["", "here", "127.0.0.1", "127.0.0.1:99999", "::1:9109", "a:b:c"])
    def test_what_is_no_address_is_told(self, text: str) -> None:
        """A wrong call, with what to write."""
        with pytest.raises(UsageError, match="--metrics"):
            listener_on(text)

    def test_a_port_in_use_is_told(self) -> None:
        """Not a traceback."""
        first = listener_on("127.0.0.1:0")
        with pytest.raises(UsageError, match="Address already in use"):
            listener_on(f"127.0.0.1:{first.getsockname()[1]}")
        first.close()


class TestGraphs:
    def test_pictures_are_sent_in_place_of_saved(self) -> None:
        """Only where nothing hangs on the node that saves; the graph itself stays as it was."""
        graph = sound_workflow()
        sent = without_files(graph)
        saves = [node_id for node_id, node in graph.items() if node["class_type"] == "SaveImage"]
        assert [sent[node_id]["class_type"] for node_id in saves] == [SENDS] * len(saves) != []
        assert {node_id: node for node_id, node in sent.items() if node_id not in saves} == {
            node_id: node for node_id, node in graph.items() if node_id not in saves
        }
        linked = graph | {"99": {"class_type": "PreviewImage", "inputs": {"images": [saves[0], 0]}}}
        assert without_files(linked)[saves[0]]["class_type"] == "SaveImage"

    def test_the_tiny_graph_needs_no_model(self) -> None:
        """Two stock nodes."""
        graph = tiny_graph(SENDS, 7)
        assert [node["class_type"] for node in graph.values()] == ["EmptyImage", SENDS]


def _exposed(standing: Standing, sockets: SocketsSeen = HEALTHY) -> Exposition:
    text = exposition(standing, sockets, ABOUT)
    lines = [line for line in text.split(b"\n") if b"canary_duration_seconds" not in line]
    return Exposition.read(b"\n".join(lines))


def test_days_of_looks_take_no_memory() -> None:
    """A day of looks each 30 s on a fast clock, with prompts, failures, restarts and silences: nothing grows."""
    standing = Standing(deadline_ns=5 * MINUTE_NS)
    ended = Ended()
    told = 0
    sizes: list[int] = []
    for look in range(3_000):
        at_s = 30.0 * look
        new = ended.new_of([entry(f"p{look - 1}", look * 30_000 - 30_000), entry(f"p{look}", look * 30_000)])
        one = sight(at_s, generations=new, queue=queue((f"r{look}",), (f"w{look}",), look))
        if look % 100 == 50:
            one = sight(at_s, problem=Problem("refused"), refused=True, queue=None, stats=None)
        if look % 100 == 51:
            one = replace(one, restarted="it refused connections and then answered again")
        told += len(standing.saw(one, round(at_s * NS_PER_S)))
        told += len(standing.configuration(Settings(), one, round(at_s * NS_PER_S)))
        came = Came.FAILURE if look % 10 == 3 else Came.SUCCESS
        standing.canary(Result(f"c{look}", Kind.TINY, came, "", None, 0.3, 0.2), round(at_s * NS_PER_S))
        if look in {1_000, 2_999}:
            sizes.append(len(pickle.dumps((standing, ended))))
    assert told > 3_000
    assert sizes[1] < sizes[0] + 1024  # ids get longer
    seen = _exposed(standing)
    assert seen.value("comfysoak_monitor_looks_total", result="failed") == 30
    assert seen.value("comfysoak_comfyui_restarts_total") == 30
    assert seen.value("comfysoak_generations_total", result="success") == 2_969
    assert seen.value("comfysoak_canary_results_total", result="failure") == 300


def test_the_text_is_whole_whatever_servers_are_called() -> None:
    """Labels are escaped, secrets are not there, and no series stands there twice."""
    standing = Standing(deadline_ns=5 * MINUTE_NS)
    standing.saw(sight(10), 10 * NS_PER_S)
    standing.configuration(Settings(), sight(10), 10 * NS_PER_S)
    seen = _exposed(standing, replace(HEALTHY, closes={"1006": 3, "other": 1}))
    assert seen.value("comfysoak_device_memory_free_bytes", type="cuda") == 20 * 2**30
    assert seen.value("comfysoak_websocket_closes_total", code="1006") == 3
    assert not any("hush" in value for _, labels in seen.values for _, value in labels)


def test_before_the_first_look_nothing_is_claimed() -> None:
    """No `up`, no queue, no memory: a series that is not there is not 0."""
    names = set(_exposed(Standing(deadline_ns=1), SocketsSeen()).kinds)
    assert names.isdisjoint({"comfysoak_comfyui_up", "comfysoak_queue_running", "comfysoak_canary_success"})
    assert "comfysoak_websocket_healthy" in names


def test_a_server_that_is_down_has_no_queue() -> None:
    """What was true before is not told on."""
    standing = Standing(deadline_ns=1)
    standing.saw(sight(10, queue=queue(("a",))), 10 * NS_PER_S)
    standing.saw(sight(20, problem=Problem("gone"), refused=True, queue=None, stats=None), 20 * NS_PER_S)
    seen = _exposed(standing)
    assert seen.value("comfysoak_comfyui_up") == 0
    assert seen.value("comfysoak_fault", code="SERVER_DOWN") == 1
    assert "comfysoak_queue_running" not in seen.kinds


def test_a_server_that_stands_still_is_blocked_after_two_looks() -> None:
    """One answer that does not come in time may be a model that is loaded; a look that is answered ends it."""
    standing = Standing(deadline_ns=1)
    silent = sight(10, problem=Problem("no answer within 10 s"), timed_out=True, queue=None, stats=None)
    standing.saw(silent, 10 * NS_PER_S)
    assert _exposed(standing).value("comfysoak_fault", code="LOOP_BLOCKED") == 0
    standing.saw(silent, 20 * NS_PER_S)
    assert _exposed(standing).value("comfysoak_fault", code="LOOP_BLOCKED") == 1
    standing.saw(sight(30), 30 * NS_PER_S)
    assert _exposed(standing).value("comfysoak_fault", code="LOOP_BLOCKED") == 0


def test_a_canary_that_waited_is_no_failure() -> None:
    """Others were before it: it says nothing of the server, and slows nothing down."""
    standing = Standing(deadline_ns=1)
    standing.canary(Result("c", Kind.TINY, Came.WAITED, "it waited", None, 300.0), 0)
    seen = _exposed(standing)
    assert seen.value("comfysoak_canary_results_total", result="waited") == 1
    assert "comfysoak_canary_success" not in seen.kinds
    assert standing.canaries.failures == 0


def test_the_histogram_counts_each_success_once() -> None:
    """Its buckets are cumulative and end in the count."""
    standing = Standing(deadline_ns=1)
    for took_s in (0.05, 0.2, 3.0, 3.0, 10_000.0):
        standing.canary(Result("c", Kind.TINY, Came.SUCCESS, "", None, took_s), 0)
    text = exposition(standing, HEALTHY, ABOUT).decode()
    assert 'comfysoak_canary_duration_seconds_bucket{le="5"} 4\n' in text
    assert 'comfysoak_canary_duration_seconds_bucket{le="640"} 4\n' in text
    assert 'comfysoak_canary_duration_seconds_bucket{le="+Inf"} 5\n' in text
    assert "comfysoak_canary_duration_seconds_count 5\n" in text
