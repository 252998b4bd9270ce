"""What a server says of itself, and what is made of one that lies, breaks, stops or starts again."""

from __future__ import annotations

import orjson
import pytest

from comfysoak_core.clock import ManualClock
from comfysoak_core.comfyui.answers import Queue
from comfysoak_core.rows import Event, Row, Server
from comfysoak_probes.fetch import Fetcher
from comfysoak_probes.server import RestartWatch, ServerSource
from comfysoak_probes.source import Tick
from tests.probes.answering import answering, free_port, http

STATS = {
    "system": {"ram_total": 1000, "ram_free": 400, "comfyui_version": "0.3.64", "argv": []},
    "devices": [{"name": "cuda:0", "type": "cuda", "index": 0, "vram_total": 100, "vram_free": 60,
                 "torch_vram_total": 30, "torch_vram_free": 5}],
}  # fmt: skip


def item(number: float, prompt_id: str) -> list[object]:
    return [number, prompt_id, {}, {}, []]


class Comfy:
    """The two routes of a server, as the test sets them."""

    def __init__(self) -> None:
        self.queue: bytes = http(orjson.dumps({"queue_running": [], "queue_pending": []}))
        self.stats: bytes = http(orjson.dumps(STATS))
        self.clock = ManualClock()

    def answer(self, method: str, path: str) -> bytes:
        return self.queue if path == "/queue" else self.stats

    def read(self, source: ServerSource) -> list[Row]:
        now_ns = self.clock.advance(1.0)
        return source.read(Tick(now_ns, now_ns))


def source_of(comfy: Comfy, url: str, **options: float) -> ServerSource:
    fetcher = Fetcher(url, timeout_s=options.get("timeout_s", 5.0), bytes_most=1 << 23)
    return ServerSource(url, every_s=options.get("every_s", 1.0), clock=comfy.clock, fetcher=fetcher)


def events(rows: list[Row]) -> list[tuple[str, str | None]]:
    return [(row.kind, row.code) for row in rows if isinstance(row, Event)]


def server_row(rows: list[Row]) -> Server:
    (row,) = [row for row in rows if isinstance(row, Server)]
    return row


def test_queue_and_memory_are_one_row() -> None:
    """Running, pending, the highest number and the memory of the main device, with the time both answers took."""
    comfy = Comfy()
    comfy.queue = http(orjson.dumps({"queue_running": [item(4, "r")], "queue_pending": [item(9, "b"), item(7, "a")]}))
    with answering(comfy.answer) as served:
        source = source_of(comfy, served.url)
        row = server_row(comfy.read(source))
        source.close()
    assert (row.queue_running, row.queue_pending, row.running_prompt_id, row.highest_number) == (1, 2, "r", 9)
    assert (row.vram_total_bytes, row.vram_free_bytes) == (100, 60)
    assert (row.torch_vram_total_bytes, row.torch_vram_free_bytes) == (30, 5)
    assert (row.ram_total_bytes, row.ram_free_bytes) == (1000, 400)
    assert row.queue_answer_ns is not None
    assert row.missing is None


def test_system_stats_are_asked_for_at_most_once_a_second() -> None:
    """At ten looks a second the server's driver is asked once: the rows between say so."""
    comfy = Comfy()
    with answering(comfy.answer) as served:
        source = source_of(comfy, served.url, every_s=0.1)
        rows = []
        for _ in range(20):
            now_ns = comfy.clock.advance(0.1)
            rows.append(server_row(source.read(Tick(now_ns, now_ns))))
        source.close()
    assert served.asked.count("GET /queue") == 20
    assert served.asked.count("GET /system_stats") == 2
    assert rows[1].missing == "system_stats: read once a second"
    assert rows[1].vram_free_bytes is None


def test_a_refused_connection_is_an_outage_told_once() -> None:
    """Down: a row that says so at each look, one event with the code, one when it is back; and it was restarted."""
    comfy = Comfy()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    source = source_of(comfy, url)
    with answering(comfy.answer, port):
        assert events(comfy.read(source)) == []
    seen = [comfy.read(source) for _ in range(3)]
    assert [events(rows) for rows in seen] == [[("server_down", "SERVER_DOWN")], [], []]
    assert all(server_row(rows).missing == "all: connection refused" for rows in seen)
    with answering(comfy.answer, port):
        assert events(comfy.read(source)) == [("source_found", None), ("server_restarted", "SERVER_RESTARTED")]
        assert events(comfy.read(source)) == []
    source.close()


def test_a_server_that_starts_after_us_was_not_restarted() -> None:
    """Refused from the beginning, then there: it is found, and that is all."""
    comfy = Comfy()
    port = free_port()
    source = source_of(comfy, f"http://127.0.0.1:{port}")
    comfy.read(source)
    with answering(comfy.answer, port):
        assert events(comfy.read(source)) == [("source_found", None)]
    source.close()


@pytest.mark.parametrize(
    ("queue", "words"),
    [
        (http("<html>Sign in</html>"), "<html>Sign in"),
        (http("{broken"), "{broken"),
        (http("[]"), "expected 200 with an object"),
        (http('{"queue_running": 5, "queue_pending": {}}'), "expected the lists"),
        (http("", 500), "status 500"),
        (http("null", 401), "status 401"),
    ],
)
def test_another_answer_than_a_queue_is_told_once(queue: bytes, words: str) -> None:
    """HTML, broken JSON, wrong types, errors: a row with the reason, one event BAD_MESSAGE, and on it goes."""
    comfy = Comfy()
    good, comfy.queue = comfy.queue, queue
    with answering(comfy.answer) as served:
        source = source_of(comfy, served.url)
        first, second = comfy.read(source), comfy.read(source)
        assert events(first) == [("bad_answer", "BAD_MESSAGE")]
        assert any(words in row.detail for row in first if isinstance(row, Event))
        assert events(second) == []
        row = server_row(second)
        assert row.queue_running is None
        assert str(row.missing).startswith("queue: ")
        assert row.vram_free_bytes == 60
        comfy.queue = good
        assert events(comfy.read(source)) == [("source_found", None)]
        source.close()


def test_a_queue_of_wrong_things_is_read_as_far_as_it_goes() -> None:
    """Items of wrong types are left out; numbers that are none do no harm."""
    comfy = Comfy()
    odd = [5, None, [], ["x", "id"], [1, 2, 3], [float("1e400"), "inf"], [3, "good"]]
    comfy.queue = http('{"queue_running": [[NaN, "nan"]], "queue_pending": ' + str(odd).replace("None", "null")
                       .replace("'", '"').replace("inf,", "1e400,") + "}")  # fmt: skip
    with answering(comfy.answer) as served:
        source = source_of(comfy, served.url)
        row = server_row(comfy.read(source))
        source.close()
    assert (row.queue_pending, row.highest_number) == (1, 3)


def test_a_server_that_stands_still_is_silent_not_down() -> None:
    """It accepts and never answers (SIGSTOP): rows with the reason, an event of another kind, no restart after it."""
    comfy = Comfy()
    silent = True

    def answer(method: str, path: str) -> list[bytes]:
        return [] if silent else [comfy.answer(method, path)]

    with answering(answer) as served:
        source = source_of(comfy, served.url, timeout_s=0.1)
        rows = comfy.read(source)
        assert events(rows) == [("server_silent", None)]
        assert "no whole answer within" in str(server_row(rows).missing)
        silent = False
        assert events(comfy.read(source)) == [("source_found", None)]
        source.close()


def test_a_long_queue_is_asked_for_more_rarely() -> None:
    """Three megabytes of waiting prompts are asked for every three seconds, and every second when they are gone."""
    comfy = Comfy()
    short = comfy.queue
    comfy.queue = http(orjson.dumps({"queue_running": [], "queue_pending": [item(1, "a" * 3_000_000)]}))
    with answering(comfy.answer) as served:
        source = source_of(comfy, served.url)
        comfy.read(source)
        assert source.every_s == pytest.approx(3_000_000 / (1 << 20), rel=0.01)
        comfy.queue = short
        comfy.read(source)
        assert source.every_s == 1.0
        source.close()


def queue(*items: tuple[float, str]) -> Queue:
    ids = tuple(name for _, name in items)
    return Queue(ids[:1], ids[1:], max((number for number, _ in items), default=None))


class TestRestartWatch:
    """Restarts by the counter of queue numbers."""

    def test_numbers_that_begin_again_are_a_restart(self) -> None:
        """New prompts only, with numbers far below those before."""
        watch = RestartWatch()
        assert watch.saw(queue((40, "a"), (41, "b"))) is None
        assert watch.saw(queue()) is None
        assert watch.saw(queue((0, "c"))) == "queue numbers fell from 41 to 0"
        assert watch.saw(queue((1, "d"))) is None

    def test_a_deleted_prompt_is_no_restart(self) -> None:
        """The highest prompt was deleted: what is left was there before."""
        watch = RestartWatch()
        watch.saw(queue((1, "a"), (90, "b")))
        assert watch.saw(queue((1, "a"))) is None

    def test_two_servers_behind_one_address_are_no_restart(self) -> None:
        """A prompt seen before that is still known somewhere there: after that numbers say nothing any more."""
        asked: list[str] = []

        def known(prompt_id: str) -> bool:
            asked.append(prompt_id)
            return True

        watch = RestartWatch(known)
        assert watch.saw(queue((40, "a"), (41, "b"))) is None
        assert watch.saw(queue((3, "c"))) is None
        assert watch.saw(queue((42, "d"))) is None
        assert watch.saw(queue((4, "e"))) is None
        assert asked == ["a"]
        gone = RestartWatch(lambda _: False)
        gone.saw(queue((40, "a")))
        assert gone.saw(queue((0, "b"))) == "queue numbers fell from 40 to 0"

    def test_a_number_of_a_client_is_no_counter(self) -> None:
        """A prompt sent with a number of its own (told as a float) or to the front says nothing of the counter."""
        watch = RestartWatch()
        watch.saw(queue((1000.0, "a")))
        assert watch.saw(queue((5, "b"))) is None
        assert watch.saw(queue((-6, "c"))) is None
        assert watch.saw(queue((6, "d"))) is None

    def test_prompts_that_overtook_each_other_are_no_restart(self) -> None:
        """Of prompts sent at once the one with the lower number may come into the queue later."""
        watch = RestartWatch()
        watch.saw(queue((100, "a")))
        assert watch.saw(queue((97, "b"))) is None
