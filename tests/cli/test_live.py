"""What people see while a run goes on, from the rows of the journal."""

from __future__ import annotations

from dataclasses import fields
from io import StringIO

from rich.console import Console
from rich.text import Text

from comfysoak.live import LiveState, line, panel
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Event, Generator, Gpu, Prompt, Row, Server, Session

START_NS = 1_764_000_000 * NS_PER_S


def take(state: LiveState, *rows: Row) -> None:
    for row in rows:
        names = tuple(field.name for field in fields(row))
        state.take(row.TABLE, names, [[getattr(row, name) for name in names]])


def prompt(number: int, outcome: str | None, **more: object) -> Prompt:
    values: dict[str, object] = {
        "id": str(number), "server": "s", "worker": "w", "client_id": "c", "workflow": "sdxl", "scheduled_ns": START_NS,
        "outcome": outcome, "finished_ns": START_NS + NS_PER_S,
    }  # fmt: skip
    return Prompt(**{**values, **more})  # type: ignore[arg-type]  # values of many types


def shown(state: LiveState, seconds: float) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123  # rich closes nothing
    console.print(panel(state, START_NS + round(seconds * NS_PER_S)))
    console.file.close()
    return console.export_text()


def test_cached_work_is_no_throughput() -> None:
    """Prompts that came from the cache are told, and not counted."""
    state = LiveState(START_NS, 60)
    take(state, prompt(1, None), prompt(1, "success"), prompt(2, "cached", code="CACHE_HIT"))
    assert state.prompts_per_minute(START_NS + 60 * NS_PER_S) == 1
    assert "1 from the cache, not counted" in shown(state, 60)
    assert "no failures" in line(state, START_NS + 60 * NS_PER_S)


def test_a_failure_that_was_expected_is_none() -> None:
    """A prompt that was meant to be rejected is not among the failures; one that was not, is."""
    state = LiveState(START_NS, 60)
    take(
        state,
        prompt(1, "rejected", expected="rejected", code="VALIDATION_REJECTED"),
        prompt(2, "oom", code="OOM"),
        prompt(3, "aborted"),
    )
    assert dict(state.codes) == {"OOM": 1, "aborted": 1}


def test_the_rate_forgets_what_is_older_than_a_minute() -> None:
    """Prompts per minute are those of the last minute."""
    state = LiveState(START_NS, 600)
    take(state, *(prompt(number, "success") for number in range(30)))
    assert state.prompts_per_minute(START_NS + 30 * NS_PER_S) == 60
    assert state.prompts_per_minute(START_NS + 300 * NS_PER_S) == 0
    assert not state.finished_ns


def test_a_run_in_one_line() -> None:
    """Users of all workers, queue of all servers, sockets, VRAM, phase, progress."""
    state = LiveState(START_NS, 60)
    for worker in ("a", "b"):
        take(state, Generator(at_ns=START_NS, worker=worker, pid=1, users=3, sockets=4, in_flight=2))
    take(
        state,
        Server(at_ns=START_NS, server="s", queue_running=1, queue_pending=2),
        Gpu(
            at_ns=START_NS, read_cost_ns=1, host="h", source="nvml", uuid="u", memory_used_bytes=3, memory_total_bytes=4
        ),
        Event(at_ns=START_NS, source="load", kind="phase", subject="rising"),
    )
    assert line(state, START_NS + 30 * NS_PER_S) == (
        "[rising] 30 s of 60 s · 6 users · 0 prompts/min · queue 3 · 8 sockets · VRAM 75% · no failures"
    )
    take(state, Event(at_ns=START_NS + 60 * NS_PER_S, source="load", kind="draining", subject="rising"))
    assert "all stages done, 0 prompts left to end" in line(state, START_NS + 61 * NS_PER_S)


def test_a_settle_is_no_progress() -> None:
    """The load clock stands while servers settle, and words say so."""
    state = LiveState(START_NS, 60)
    for at_s, phase, detail in ((0, "load", "stage 1 of 1: 2 users for 60 s"), (20, "settle", "stage 1 of 1 settles")):
        take(state, Event(at_ns=START_NS + at_s * NS_PER_S, source="l", kind="phase", subject=phase, detail=detail))
    assert line(state, START_NS + 50 * NS_PER_S).startswith("[settle] 20 s of 60 s, settling, no load · ")
    assert "stage 1 of 1 settles" in shown(state, 50)
    take(state, Event(at_ns=START_NS + 55 * NS_PER_S, source="l", kind="phase", subject="load", detail="it goes on"))
    assert line(state, START_NS + 65 * NS_PER_S).startswith("[load] 30 s of 60 s · ")


def test_the_steps_of_a_cold_start_are_told() -> None:
    """From process start to the first picture, each server's."""
    state = LiveState(START_NS, 60)
    take(state, Event(at_ns=START_NS, source="l", kind="phase", subject="cold start", detail="stage 1 of 2"))
    for step, detail in (("start", ""), ("answers", "ComfyUI 0.33.0"), ("picture", "sdxl")):
        take(
            state, Event(at_ns=START_NS, source="l", kind="cold_start", server="http://a", subject=step, detail=detail)
        )
    assert list(state.notes) == [
        "http://a starts",
        "http://a answers: ComfyUI 0.33.0",
        "http://a has made its first picture: sdxl",
    ]
    assert line(state, START_NS + 9 * NS_PER_S).startswith("[cold start] 0 s of 60 s, cold start, no load · ")


def test_a_server_that_does_not_answer_has_no_queue() -> None:
    """An unknown queue is a question mark and never zero."""
    state = LiveState(START_NS, 60)
    take(state, Server(at_ns=START_NS, server="s", missing="refused"))
    assert "queue ?" in line(state, START_NS + NS_PER_S)
    assert "no answer" in shown(state, 1)


def test_drops_and_notes_are_shown_as_text() -> None:
    """Dropped sockets count; what a server says cannot style the terminal."""
    state = LiveState(START_NS, 60)
    take(
        state,
        Session(
            id="1", server="s", worker="w", role="user", client_id="c", opening_ns=1, closed_ns=2, code="WS_ABNORMAL"
        ),
        Event(at_ns=START_NS, source="x", kind="restart", code="SERVER_RESTARTED", detail="[red]boo[/red]"),
        Event(at_ns=START_NS, source="simulator", kind="fault", code="OOM", detail="a secret of the scenario"),
    )
    text = shown(state, 1)
    assert "1 dropped" in text
    assert "[red]boo[/red]" in text
    assert "secret of the scenario" not in text


def test_rows_of_other_tables_are_passed_over() -> None:
    """A table that is not shown does not disturb."""
    state = LiveState(START_NS, 60)
    state.take("nodes", ("id",), [["x"]])
    assert state.outcomes.total() == 0


def test_a_server_s_words_do_not_steer_the_terminal() -> None:
    """Escape sequences in an event do not reach the panel."""
    state = LiveState(START_NS, 60)
    take(state, Event(at_ns=START_NS, source="x", kind="bad_answer", detail="got \x1b]0;owned\x07\x9b2J"))
    console = Console(width=100, force_terminal=True, color_system=None, file=StringIO())
    console.print(Text(state.notes[0]))
    assert isinstance(console.file, StringIO)
    assert "owned" in console.file.getvalue()
    assert not set(console.file.getvalue()) & set("\x1b\x07\x9b")


def test_nothing_grows_while_nobody_looks() -> None:
    """A quiet run of days keeps the prompts of the last minute, as one that is shown does."""
    state = LiveState(START_NS, 86_400)
    for second in range(10_000):
        take(state, prompt(second, "success", finished_ns=START_NS + second * NS_PER_S))
    assert len(state.finished_ns) == 61
    assert state.prompts_per_minute(START_NS + 9_999 * NS_PER_S) == 61
