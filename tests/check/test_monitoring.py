"""The rows on monitoring: what a monitor would see and log, without a prompt."""

from __future__ import annotations

from typing import Any

import pytest

from comfysoak.check.monitor.looking import Sight
from comfysoak.check.parts.monitoring import processing_row, service_row, socket_row
from comfysoak.check.row import State
from comfysoak.check.rows import Part
from comfysoak.check.settings import Given
from comfysoak_core.comfyui.answers import Queue
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.errors import Problem
from tests.check.stand import Stand, look, served


def _sight(**said: Any) -> Sight:
    fields: dict[str, Any] = {"queue": Queue((), ("a",), 1)} | said
    return Sight(0, 12_000_000, **fields)


def test_a_sound_server_can_be_monitored(stand: Stand) -> None:
    """Every row is ok, no prompt is sent, no socket is left; the first says how to start the monitor."""
    looked = look(stand.settings(), Part.CONFIGURATION, Part.MONITORING)
    rows = {id_: row for id_, row in looked.rows.items() if id_.startswith("monitor.")}
    assert {row.state for row in rows.values()} == {State.OK}
    assert f"comfysoak check {stand.url} --watch 30s --metrics 127.0.0.1:9109" in rows["monitor.service"].seen
    assert "secrets are in no hash" in rows["monitor.configuration"].seen
    assert "--log-json" in rows["monitor.log"].seen
    assert looked.checking.prompts_sent == 0
    with ComfyClient(stand.url) as client:
        assert client.queue_remaining() == 0


def test_the_log_row_shows_a_line_of_this_check() -> None:
    """After runs of the workflow, the last of them as the monitor would log it."""
    with served() as stand:
        looked = look(stand.settings(), Part.CONFIGURATION, Part.MODELS, Part.MONITORING)
        assert "success in " in looked.rows["monitor.log"].seen


def test_what_is_not_there_cannot_be_monitored() -> None:
    """Skipped, for the rows before tell what is wrong; the hash of the configuration is told all the same."""
    with served() as stand:
        settings = stand.settings(base_url=Given("http://127.0.0.1:9", "a test"))
        looked = look(settings, Part.CONFIGURATION, Part.MONITORING)
        states = {id_: state for id_, state in looked.states().items() if id_.startswith("monitor.")}
        assert states.pop("monitor.configuration") == "ok"
        assert set(states.values()) == {"skipped"}
        nobody = look(stand.settings(base_url=None, workflow=None, nodes=None, variables={}), Part.MONITORING)
        assert set(nobody.states().values()) == {"skipped"}


def test_a_server_that_goes_between_two_parts_fails_one_row() -> None:
    """The look fails with its cause; socket and work are not judged as well."""
    with served() as stand:
        known = look(stand.settings(), Part.CONFIGURATION).checking
        stand.do(stand.server.kill())
        from comfysoak.check.parts import monitoring

        rows = {row.kind.id: row for row in monitoring.look(known)}
        assert rows["monitor.service"].state is State.FAILED
        assert "refuses connections" in rows["monitor.service"].seen
        assert rows["monitor.socket"].state is rows["monitor.processing"].state is State.SKIPPED
        stand.do(stand.server.begin())


@pytest.mark.parametrize(
    ("row", "state", "words"),
    [
        (service_row(_sight(), "comfysoak check"), State.OK, "a look took 12 ms"),
        (service_row(_sight(problem=Problem("it broke", "Mend it.")), "c"), State.FAILED, "it broke"),
        (socket_row(0.004), State.OK, "4 ms"),
        (socket_row(None), State.FAILED, "does not answer a ping"),
        (processing_row(_sight(), log_is_readable=True), State.OK, "0 run and 1 wait"),
        (processing_row(_sight(), log_is_readable=False), State.WARNING, "the log cannot"),
    ],
)
def test_rows_say_what_was_seen(row: Any, state: State, words: str) -> None:
    """Each judgement by itself."""
    assert row.state is state
    assert words in row.seen
