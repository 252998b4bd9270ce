"""Each row exactly once, whatever a part does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from comfysoak.check import runner
from comfysoak.check.checking import PROMPTS_MOST, Checking, failed, ok
from comfysoak.check.row import Row, State
from comfysoak.check.rows import KINDS, Part
from comfysoak.check.settings import Settings
from comfysoak_core.clock import steady_ns
from comfysoak_core.recording.redaction import HIDDEN
from tests.check import gateways
from tests.check.gateways import tokens
from tests.check.stand import Stand

__all__ = ["tokens"]

Look = Callable[[Checking], Iterator[Row]]
_MODELS = [id_ for id_, kind in KINDS.items() if kind.part is Part.MODELS]


def _checking() -> Checking:
    ticks = iter(range(0, 10**12, 1_000_000_000))
    return Checking(Settings(), say=lambda _: None, steady_ns=lambda: next(ticks))


def _all_well(part: Part) -> Look:
    return lambda _: (ok(id_, "seen") for id_, kind in KINDS.items() if kind.part is part)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[Part, Look]:
    """What stands in the place of the real parts."""
    chosen = {part: _all_well(part) for part in Part}

    def module(part: Part) -> ModuleType:
        made = ModuleType(part.name)
        made.look = chosen[part]  # type: ignore[attr-defined]  # a module made here
        return made

    monkeypatch.setattr(runner, "_module", module)
    return chosen


def test_every_row_comes_once_and_in_order(parts: dict[Part, Look]) -> None:
    """The table is the order; each row has how long it took."""
    rows = list(runner.check(_checking()))
    assert [row.kind.id for row in rows] == list(KINDS)
    assert {row.took_s for row in rows} == {1.0}


def test_a_part_that_breaks_fails_one_row_and_stops_no_other(parts: dict[Part, Look]) -> None:
    """The row that was due says that the mistake is ours and where; those after it in its part are skipped."""

    def breaks(_: Checking) -> Iterator[Row]:
        yield ok("models.listed", "seen")
        raise ZeroDivisionError("by nought")

    parts[Part.MODELS] = breaks
    rows = {row.kind.id: row for row in runner.check(_checking())}
    assert list(rows) == list(KINDS)
    assert {id_: rows[id_].state for id_ in _MODELS} == {
        "models.listed": State.OK,
        "models.load": State.FAILED,
        "models.memory": State.SKIPPED,
    }
    assert "A mistake of ours" in rows["models.load"].seen
    assert "ZeroDivisionError: by nought (test_runner.py:" in rows["models.load"].seen
    assert {row.state for row in rows.values() if row.kind.part is not Part.MODELS} == {State.OK}


def test_a_part_that_forgets_a_row_or_tells_one_twice_is_a_mistake_of_ours(parts: dict[Part, Look]) -> None:
    """No row is missing from the outcome, and none is in it twice."""
    parts[Part.MODELS] = lambda _: iter([ok("models.listed", "seen")])
    parts[Part.SOCKET] = lambda _: iter([ok("socket.connects", "seen"), failed("socket.connects", "again", "do")])
    rows = list(runner.check(_checking()))
    assert [row.kind.id for row in rows] == list(KINDS)
    mistakes = [row.kind.id for row in rows if row.state is State.FAILED]
    assert mistakes == ["models.load", "socket.order"]


def test_a_part_at_work_tidies_up_when_the_check_is_closed(parts: dict[Part, Look]) -> None:
    """Closing reaches its `finally`, as a signal does."""
    tidied = []

    def busy(_: Checking) -> Iterator[Row]:
        try:
            yield ok("variables.set", "seen")
            yield ok("variables.known", "seen")
        finally:
            tidied.append(True)

    parts[Part.CONFIGURATION] = busy
    rows = runner.check(_checking())
    next(rows)
    rows.close()
    assert tidied == [True]


def test_what_a_part_lets_slip_is_hidden(parts: dict[Part, Look], monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that stands in a row all the same does not come out; a remedy may still say how one is set."""
    monkeypatch.setenv("COMFYSOAK_TOKEN", "Zq7xVw9Kt3Lm5Np8")
    seen, remedy = "it said Zq7xVw9Kt3Lm5Np8 at http://me:pw@host", "export A_TOKEN=... for Zq7xVw9Kt3Lm5Np8"
    parts[Part.MODELS] = lambda _: iter([failed(id_, seen, remedy) for id_ in _MODELS])
    row = next(row for row in runner.check(_checking()) if row.kind.part is Part.MODELS)
    assert row.seen == f"it said {HIDDEN} at http://{HIDDEN}@host"
    assert row.remedy == f"export A_TOKEN=... for {HIDDEN}"


def test_what_a_server_says_is_one_line_that_every_output_can_hold(parts: dict[Part, Look]) -> None:
    """No line break, nothing that steers a terminal, no half of a character."""
    parts[Part.MODELS] = lambda _: iter([failed(id_, "a\nb\x1b[2J\ud800\u202ec", "do\nit") for id_ in _MODELS])
    row = next(row for row in runner.check(_checking()) if row.kind.part is Part.MODELS)
    assert (row.seen, row.remedy) == ("a b [2J c", "do it")


def test_the_parts_there_are_tell_all_rows_of_a_sound_server(stand: Stand) -> None:
    """The real parts, against a server of either version: each row once, in order, none failed."""
    checking = Checking(stand.settings(), say=lambda _: None, steady_ns=steady_ns)
    rows = list(runner.check(checking))
    assert [row.kind.id for row in rows] == list(KINDS)
    assert [(row.kind.id, row.seen) for row in rows if row.state in {State.FAILED, State.WARNING}] == []


@pytest.mark.usefixtures("tokens")
def test_a_sound_platform_is_sound_from_its_first_row_to_its_last() -> None:
    """All parts one after the other, gateway included: nothing complains, within the prompts a check may send."""
    with gateways.platform() as whole:
        settings = gateways.settings_of(whole, may_change_gateway=True)
        checking = Checking(settings, say=lambda _: None, steady_ns=steady_ns)
        rows = list(runner.check(checking))
    assert [(row.kind.id, row.seen) for row in rows if row.state in {State.FAILED, State.WARNING}] == []
    assert 0 < checking.prompts_sent <= PROMPTS_MOST
    looked_at = {row.kind.part for row in rows if row.state is State.OK}
    assert looked_at >= {Part.CONFIGURATION, Part.CONNECTIVITY, Part.MODELS, Part.SOCKET, Part.PROCESSING, Part.GATEWAY}


def test_looking_loads_neither_data_frames_nor_locust(platform: Stand, tmp_path: Path) -> None:
    """A check starts fast: what only reports and load need stays out."""
    code = (
        "import sys; from comfysoak.check.telling import Telling, check_and_tell;"
        "from comfysoak.check.settings import Given, Settings; from pathlib import Path;"
        f"check_and_tell(Settings(base_url=Given({platform.url!r}, 'here'), idle_s=0.0),"
        "Telling(Path('a.xml'), Path('a.html'), Path('a.md'), quiet=True));"
        "heavy = {'pandas', 'pyarrow', 'plotly', 'scipy', 'gevent', 'locust', 'aiohttp'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
