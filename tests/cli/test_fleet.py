"""`comfysoak run` on several servers."""

from __future__ import annotations

from pathlib import Path

from comfysoak_core.recording.recording import Recording
from tests.cli.runs import ROOT, comfysoak, document, only_run
from tests.load.conftest import simulated
from tests.load.locusting import free_ports


def test_the_scenario_of_a_fleet_tells_its_story(tmp_path: Path) -> None:
    """Shortened: each workflow has its server, one dies, the others take over, and the report names it."""
    done = comfysoak(
        "run", "fleet", "--quiet", "--set", "load.0.for=1s", "--set", "load.1.for=7s",
        "--set", "target.embedded.faults.0.at=3s", "--set", "target.embedded.faults.0.for=2s", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = only_run(tmp_path)
    prompts = Recording.open(run).table("prompts").to_pylist()
    servers = [server["url"] for server in document(run / "run.json")["servers"]]
    assert {row["server"] for row in prompts} == set(servers)
    found = {one["code"] for one in document(run / "verdict.json")["findings"]}
    assert "SERVER_DOWN" in found
    assert f"{servers[1]} was down from" in done.stdout
    assert "By server" in (run / "report.html").read_text(encoding="utf-8")


def test_a_fleet_begins_incomplete_only_when_asked_to(tmp_path: Path) -> None:
    """A server that is down at the start is refused, with the way to go on without it; all together always."""
    (port,) = free_ports(1)
    gone = f"http://127.0.0.1:{port}"
    scenario = tmp_path / "fleet.yaml"

    def write(*servers: str) -> None:
        scenario.write_text(
            f"target: {{comfyui: {[*servers]!r}}}\n"
            f"workload: [{{workflow: {ROOT}/scenarios/workflows/no-model.json,"
            " vary: {inputs: {1.color: {from: 0, to: 16777215}}}}]\n"
            "load: [{users: 2, for: 2s}]\ngoals: [prompts.failed < 50%]\non_undecided: pass\n",
            encoding="utf-8",
        )

    with simulated() as (alive, _):
        write(alive, gone)
        refused = comfysoak("run", str(scenario), cwd=tmp_path)
        assert refused.returncode == 4
        assert f"{gone} refuses connections" in refused.stderr
        assert "--allow-down" in refused.stderr
        done = comfysoak("run", str(scenario), "--allow-down", "--quiet", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    rows = Recording.open(only_run(tmp_path)).table("prompts").to_pylist()
    assert {row["server"] for row in rows if row["outcome"] == "success"} == {alive}
    write(gone)
    alone = comfysoak("run", str(scenario), "--allow-down", cwd=tmp_path)
    assert alone.returncode == 4
    assert "--allow-down" not in alone.stderr
