"""The section `sessions`: what is written, what the plan has, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfysoak_core.errors import ScenarioError
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.read import read_scenario
from comfysoak_core.scenario.resolve import resolve
from comfysoak_core.scenario.sessions import ReconnectOrder, Reconnects, Sessions, Stalled

GRAPH = '{"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "a"}}}'


def plan_of(folder: Path, sessions: str) -> Plan:
    (folder / "w.json").write_text(GRAPH, encoding="utf-8")
    path = folder / "soak.yaml"
    path.write_text(
        "target: {comfyui: http://a:1}\nworkload: [{workflow: w.json}]\nload: [{users: 2, for: 10s}]\n"
        f"sessions: {sessions}\n",
        encoding="utf-8",
    )
    return resolve(*read_scenario(path))


def test_all_of_it_is_in_the_plan(tmp_path: Path) -> None:
    """Rates, spans, and both orders as none in particular."""
    plan = plan_of(
        tmp_path,
        "{watchers: 50, churn: 120/min, stays: 1s..10s,"
        " stalled: {sockets: 2, reads_nothing_for: 20s, every: 5m, after: 1m, then: close, sends: w},"
        " reconnect: {every: 1m, share: 10%, order: both}}",
    )
    stalled = Stalled(sockets=2, reads_nothing_for_s=20, after_s=60, every_s=300, then="close", sends="w")
    reconnects = Reconnects(every_s=60, share=0.1, order=None)
    assert plan.sessions == Sessions(
        watchers=50, churn_per_s=2, stays_s=(1, 10), stalled=stalled, reconnects=reconnects
    )
    assert plan.sockets_most == 2 + 50 + 2 * (10 + 15) + 2


def test_without_the_section_there_is_nothing(tmp_path: Path) -> None:
    """And one order is that order."""
    assert plan_of(tmp_path, "{}").sessions == Sessions()
    reconnects = plan_of(tmp_path, "{reconnect: {every: 5s, order: open-first}}").sessions.reconnects
    assert reconnects == Reconnects(every_s=5, order=ReconnectOrder.OPEN_FIRST)


@pytest.mark.parametrize(
    ("sessions", "said"),
    [
        ("{stalled: {sends: other}}", "no workload is called 'other'"),
        ("{stalled: {every: 10s}}", "expected `every` to be longer than `reads_nothing_for`"),
        ("{reconnect: {every: 1m, order: sideways}}", "order"),
        ("{reconnect: {every: 1m, share: 0}}", "share"),
        ("{churn: 5000/s}", "churn"),
        ("{stays: 9s..1s}", "expected the shorter time first"),
        ("{watchers: -1}", "watchers"),
    ],
)
def test_what_cannot_be_is_said_with_its_place(tmp_path: Path, sessions: str, said: str) -> None:
    """The line of the file, and what is expected there."""
    with pytest.raises(ScenarioError) as caught:
        plan_of(tmp_path, sessions)
    assert said in str(caught.value)
    assert "soak.yaml:4" in str(caught.value)
