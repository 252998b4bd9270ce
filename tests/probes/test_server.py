"""What a server says of itself, and what is made of one that lies, breaks, stops or starts again."""

from __future__ import annotations

import itertools
from random import Random

import orjson
import pytest

from comfysoak_core.clock import ManualClock
from comfysoak_core.rows import Event, Row, Server
from comfysoak_probes.server.source import ServerSource
from comfysoak_probes.source import Tick
from tests.probes.answering import answering, free_port, http

STATS = {
    "system": {"ram_total": 1000, "ram_free": 400, "comfyui_version": "0.3.64", "argv": []},
    "devices": [{"name": "cuda:0", "type": "cuda", "index": 0, "vram_total": 100, "vram_free": 60,
                 "torch_vram_total": 30, "torch_vram_free": 5}],
}  # fmt: skip


def item(number: float, prompt_id: str) -> list[object]:
    return [number, prompt_id, {}, {}, []]


IDLE = {"exec_info": {"queue_remaining": 0}}


class Comfy:
    """The routes of a server that are watched, as the test sets them."""

    def __init__(self) -> None:
        self.queue: bytes = http(orjson.dumps({"queue_running": [], "queue_pending": []}))
        self.canary: bytes = http(orjson.dumps(IDLE))
        self.stats: bytes = http(orjson.dumps(STATS))
        self.history: list[bytes] = []  # entries
        self.reads_parameters = True
        self.clock = ManualClock()

    def answer(self, method: str, path: str) -> bytes:
        route, _, query = path.partition("?")
        if route == "/history":
            return http(self.page(query))
        if route.startswith("/history/"):
            return http("{}")
        return {"/queue": self.queue, "/prompt": self.canary, "/system_stats": self.stats}[route]

    def page(self, query: str) -> bytes:
        first = int(query.partition("offset=")[2]) if self.reads_parameters else 0
        last = first + 1 if self.reads_parameters else len(self.history)
        entries = self.history[first:last]
        return b"{" + b",".join(b'"%d": %b' % (first + i, entry) for i, entry in enumerate(entries)) + b"}"

    def read(self, source: ServerSource) -> list[Row]:
        now_ns = self.clock.advance(1.0)
        return source.read(Tick(now_ns, now_ns))


def source_of(comfy: Comfy, url: str, **options: float) -> ServerSource:
    timeout_s, every_s = options.get("timeout_s", 5.0), options.get("every_s", 1.0)
    return ServerSource(url, every_s=every_s, clock=comfy.clock, timeout_s=timeout_s)


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
    assert (row.queue_answer_ns, row.canary_answer_ns, row.stats_answer_ns) == (0, 0, 0)
    assert row.history_length == 0
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
    assert rows[1].missing == "system_stats: read once a second; history_length: read every 10 s"
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
    """Three megabytes of waiting prompts are asked for every four seconds, and every second when they are gone."""
    comfy = Comfy()
    short = comfy.queue
    comfy.queue = http(orjson.dumps({"queue_running": [], "queue_pending": [item(1, "a" * 3_000_000)]}))
    with answering(comfy.answer) as served:
        source = source_of(comfy, served.url)
        comfy.read(source)
        assert source.every_s == 4.0
        comfy.queue = short
        comfy.read(source)
        assert source.every_s == 1.0
        source.close()


def many(count: int) -> list[bytes]:
    return [b'{"prompt": []}'] * count


class TestCanary:
    """GET /prompt, timed apart from GET /queue."""

    def test_a_canary_that_does_not_answer_hides_no_queue(self) -> None:
        """The queue is told all the same; the reason stands in the row, and one event says so."""
        comfy = Comfy()
        comfy.queue = http(orjson.dumps({"queue_running": [item(1, "a")], "queue_pending": []}))
        mute = True

        def answer(method: str, path: str) -> list[bytes]:
            return [] if mute and path == "/prompt" else [comfy.answer(method, path)]

        with answering(answer) as served:
            source = source_of(comfy, served.url, timeout_s=0.1)
            rows = comfy.read(source)
            assert events(rows) == [("canary_silent", None)]
            row = server_row(rows)
            assert (row.queue_running, row.queue_answer_ns, row.canary_answer_ns) == (1, 0, None)
            assert str(row.missing).startswith("canary_answer_ns: no whole answer within")
            mute = False
            rows = comfy.read(source)
            assert events(rows) == [("source_found", None)]
            assert server_row(rows).canary_answer_ns == 0
            source.close()

    def test_a_queue_that_does_not_answer_hides_no_canary(self) -> None:
        """The server is silent in its queue only: the canary's time is told, and that it answers."""
        comfy = Comfy()

        def answer(method: str, path: str) -> list[bytes]:
            return [] if path == "/queue" else [comfy.answer(method, path)]

        with answering(answer) as served:
            source = source_of(comfy, served.url, timeout_s=0.1)
            rows = comfy.read(source)
            source.close()
        assert events(rows) == [("server_silent", None)]
        assert any("while GET /prompt answers" in row.detail for row in rows if isinstance(row, Event))
        row = server_row(rows)
        assert (row.canary_answer_ns, row.queue_answer_ns, row.vram_free_bytes) == (0, None, 60)
        assert str(row.missing).startswith("queue: no whole answer within")

    def test_the_time_of_the_canary_is_that_of_the_loop(self) -> None:
        """A loop that is blocked for two seconds shows in the canary, and the queue asked after it is fast."""
        comfy = Comfy()

        def answer(method: str, path: str) -> bytes:
            if path == "/prompt":
                comfy.clock.advance(2.0)
            return comfy.answer(method, path)

        with answering(answer) as served:
            source = source_of(comfy, served.url)
            row = server_row(comfy.read(source))
            source.close()
        assert (row.canary_answer_ns, row.queue_answer_ns) == (2_000_000_000, 0)

    def test_somebody_elses_answer_is_no_canary(self) -> None:
        """A gateway that knows no /prompt answers 404 fast: that is not how fast the server is."""
        comfy = Comfy()
        comfy.canary = http("", 404)
        with answering(comfy.answer) as served:
            source = source_of(comfy, served.url)
            rows = comfy.read(source)
            source.close()
        assert server_row(rows).canary_answer_ns is None
        assert "canary_answer_ns: expected 200" in str(server_row(rows).missing)
        assert events(rows) == []


class TestAges:
    """For how long prompts have run and waited, by their first sight."""

    def test_ages_count_from_first_sight(self) -> None:
        """A prompt that waited and then runs begins anew; of those that wait the oldest is told, not the next one."""
        comfy = Comfy()

        def say(running: list[str], pending: list[str]) -> None:
            runs, waits = [item(0, name) for name in running], [item(i, name) for i, name in enumerate(pending)]
            comfy.queue = http(orjson.dumps({"queue_running": runs, "queue_pending": waits}))

        seen = []
        with answering(comfy.answer) as served:
            source = source_of(comfy, served.url)
            for running, pending in ((["a"], ["b"]), (["a"], ["c", "b"]), (["b"], ["c"]), ([], [])):
                say(running, pending)
                row = server_row(comfy.read(source))
                seen.append((row.running_age_ns, row.oldest_pending_age_ns))
            source.close()
        second = 1_000_000_000
        assert seen == [(0, 0), (second, second), (0, second), (None, None)]

    def test_a_restart_forgets_ages(self) -> None:
        """Refused and back with a prompt of the same id: it has only just begun."""
        comfy = Comfy()
        comfy.queue = http(orjson.dumps({"queue_running": [item(0, "a")], "queue_pending": []}))
        port = free_port()
        source = source_of(comfy, f"http://127.0.0.1:{port}")
        with answering(comfy.answer, port):
            comfy.read(source)
            assert server_row(comfy.read(source)).running_age_ns == 1_000_000_000
        comfy.read(source)
        with answering(comfy.answer, port):
            assert server_row(comfy.read(source)).running_age_ns == 0
        source.close()


class TestHistoryLength:
    """Entries in history, counted without fetching them."""

    def test_it_is_followed_with_few_requests(self) -> None:
        """Found in steps of at most eight requests a reading, then every ten seconds with two or three."""
        comfy = Comfy()
        comfy.history = many(5000)
        with answering(comfy.answer) as served:
            source = source_of(comfy, served.url)
            lengths = [server_row(comfy.read(source)).history_length for _ in range(10)]
            assert [length for length in lengths if length is not None] == [5000]
            before = asked_of_history(served.asked)
            assert before <= 4 * 8 + 1
            comfy.history = many(5001)
            later = [server_row(comfy.read(source)).history_length for _ in range(10)]
            assert [length for length in later if length is not None] == [5001]
            assert asked_of_history(served.asked) - before <= 3
            source.close()

    def test_a_cleared_history_is_found_again(self) -> None:
        """POST /history clear: the next length is the new one."""
        comfy = Comfy()
        comfy.history = many(40)
        with answering(comfy.answer) as served:
            source = source_of(comfy, served.url)
            rows = [server_row(comfy.read(source)) for _ in range(10)]
            assert 40 in [row.history_length for row in rows]
            comfy.history = many(2)
            rows = [server_row(comfy.read(source)) for _ in range(11)]
            assert 2 in [row.history_length for row in rows]
            source.close()

    def test_a_large_entry_is_not_read(self) -> None:
        """An entry of megabytes counts as one, and most of it stays where it is."""
        comfy = Comfy()
        comfy.history = [b'"' + b"x" * 2_000_000 + b'"'] * 3
        with answering(comfy.answer) as served:
            source = source_of(comfy, served.url)
            row = server_row(comfy.read(source))
            source.close()
        assert row.history_length == 3

    def test_a_server_that_does_not_read_the_parameters_is_asked_no_more(self) -> None:
        """It answers with all it has: noticed by asking far beyond the end, and then left alone, with the reason."""
        comfy = Comfy()
        comfy.history, comfy.reads_parameters = many(20), False
        with answering(comfy.answer) as served:
            source = source_of(comfy, served.url)
            rows = [server_row(comfy.read(source)) for _ in range(25)]
            asked = asked_of_history(served.asked)
            source.close()
        assert asked == 2
        assert {row.history_length for row in rows} == {None}
        assert {row.missing for row in rows} == {"history_length: this server does not read max_items and offset"}

    def test_an_answer_that_is_no_history_is_asked_for_again(self) -> None:
        """A proxy's 502 is a reason in the row; ten seconds later it may be another answer."""
        comfy = Comfy()
        comfy.history = many(1)
        broken = True

        def answer(method: str, path: str) -> bytes:
            return http("<html>", 502) if broken and path.startswith("/history") else comfy.answer(method, path)

        with answering(answer) as served:
            source = source_of(comfy, served.url)
            row = server_row(comfy.read(source))
            assert "history_length: expected 200 with an object, got status 502" in str(row.missing)
            broken = False
            assert 1 in [server_row(comfy.read(source)).history_length for _ in range(11)]
            source.close()


def asked_of_history(asked: list[str]) -> int:
    return sum(request.startswith("GET /history") for request in asked)


def test_another_version_is_a_restart() -> None:
    """A server that comes back as another version between two readings, with an empty queue."""
    comfy = Comfy()
    with answering(comfy.answer) as served:
        source = source_of(comfy, served.url)
        comfy.read(source)
        newer = {**STATS, "system": {**STATS["system"], "comfyui_version": "0.33.0"}}  # type: ignore[dict-item]  # an object
        comfy.stats = http(orjson.dumps(newer))
        said = [events(comfy.read(source)) for _ in range(4)]
        source.close()
    assert said == [[], [], [("server_restarted", "SERVER_RESTARTED")], []]


class TestProxied:
    """Two servers behind one address that answer in turn."""

    @pytest.mark.parametrize("others", [0, 1], ids=["every other request", "with a client's requests between"])
    def test_two_servers_in_turn_were_not_restarted(self, others: int) -> None:
        """Their numbers, options and histories have nothing to do with each other: no restart, no length, no ages."""
        one, two = Comfy(), Comfy()
        one.clock = two.clock
        one.queue = http(orjson.dumps({"queue_running": [item(140, "a")], "queue_pending": []}))
        two.queue = http(orjson.dumps({"queue_running": [item(3, "b")], "queue_pending": []}))
        one.history, two.history = many(90), many(4)
        two.stats = http(orjson.dumps({**STATS, "system": {"argv": ["main.py", "--lowvram"]}}))
        turns = itertools.count()

        def answer(method: str, path: str) -> bytes:
            if others and path == "/prompt":
                next(turns)
            return (one, two)[next(turns) % 2].answer(method, path)

        with answering(answer) as served:
            source = source_of(one, served.url)
            rows = [one.read(source) for _ in range(60)]
            source.close()
        assert [kind for seen in rows for kind, _ in events(seen) if kind == "server_restarted"] == []
        last = server_row(rows[-1])
        assert (last.history_length, last.running_age_ns, last.oldest_pending_age_ns) == (None, None, None)
        assert "several servers answer here in turn" in str(last.missing)

    def test_answers_at_random_are_no_restarts_for_ever(self) -> None:
        """An idle pair of servers with other options: three answers in a row come by chance, again and again."""
        one, two = Comfy(), Comfy()
        two.stats = http(orjson.dumps({**STATS, "system": {"argv": ["main.py", "--lowvram"]}}))
        dice = Random(4)
        with answering(lambda method, path: dice.choice((one, two)).answer(method, path)) as served:
            source = source_of(one, served.url)
            said = [kind for _ in range(200) for kind, _ in events(one.read(source)) if kind == "server_restarted"]
            source.close()
        assert len(said) <= 1


def test_refused_by_what_stands_between_is_no_restart() -> None:
    """A tunnel that was away for a while: the prompt that ran before is in history, or runs on with its number."""
    comfy = Comfy()
    comfy.queue = http(orjson.dumps({"queue_running": [item(40, "a")], "queue_pending": []}))

    def answer(method: str, path: str) -> bytes:
        return http('{"a": {}}' if ended else "{}") if path == "/history/a" else comfy.answer(method, path)

    port = free_port()
    source = source_of(comfy, f"http://127.0.0.1:{port}")
    for ended in (False, True):
        with answering(answer, port):
            comfy.read(source)
        comfy.read(source)
        if ended:
            comfy.queue = http(orjson.dumps({"queue_running": [], "queue_pending": []}))
        with answering(answer, port):
            assert events(comfy.read(source)) == [("source_found", None)]
    source.close()


def test_a_queue_too_large_to_be_read_is_asked_for_rarely() -> None:
    """To tell it blocks the server's loop for a second, whoever reads it or not."""
    comfy = Comfy()
    comfy.queue = b"HTTP/1.1 200 OK\r\nContent-Length: 99000000\r\n\r\n"
    with answering(comfy.answer) as served:
        source = source_of(comfy, served.url)
        rows = comfy.read(source)
        assert "larger than" in str(server_row(rows).missing)
        assert source.every_s == 64.0
        source.close()


def test_large_entries_of_history_are_asked_for_rarely() -> None:
    """An entry of megabytes is told whole by the server's loop although we stop reading: once a minute is enough."""
    comfy = Comfy()
    comfy.history = [b'"' + b"x" * 2_000_000 + b'"'] * 3
    with answering(comfy.answer) as served:
        source = source_of(comfy, served.url)
        comfy.read(source)
        before = asked_of_history(served.asked)
        for _ in range(59):
            comfy.read(source)
        assert asked_of_history(served.asked) == before
        comfy.history = many(4)
        assert 4 in [server_row(comfy.read(source)).history_length for _ in range(2)]
        source.close()
