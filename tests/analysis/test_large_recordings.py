"""Large tables are read in pieces: what comes out is what whole tables would say, and damage is told in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.planted.soak import write_soak
from comfysoak_analysis import Run, open_run
from comfysoak_analysis.__main__ import main
from comfysoak_analysis.buckets import bucketed
from comfysoak_analysis.measures import groups_by, whole
from comfysoak_analysis.model_loads import model_loads
from comfysoak_analysis.node_times import node_times
from comfysoak_analysis.prompts import with_derived_columns
from comfysoak_analysis.watched_gpus import USED, watched_gpus
from comfysoak_core.clock import NS_PER_S, ManualClock
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.manifest import load_manifest, save_manifest
from comfysoak_core.rows import Gpu, Prompt
from tests.analysis.planted import SERVER, START_NS, plant


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four minutes of the generated soak: 5,000 prompts of 8 servers, 25,000 nodes, 20,736 samples of 8 GPUs."""
    return open_run(write_soak(tmp_path_factory.mktemp("soak") / "run", scale=0.001))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A recording of half a minute that a test may break."""
    return write_soak(tmp_path / "run", scale=0.0001)


def test_lean_prompts_are_the_whole_ones_made_narrow(soak: Run) -> None:
    """Every derived column is what it is when all columns of all prompts are read at once."""
    full = with_derived_columns(soak.frame("prompts"), soak.server_clocks, trials=())
    full = full.sort_values("scheduled", kind="stable", ignore_index=True)
    lean = soak.prompts
    for name in ("started_at", "done_at", "scheduled", "intended", "work", "ok", "timeable"):
        assert (lean[name].to_numpy() == full[name].to_numpy()).all()
    for name in ("latency_s", "service_s", "queue_wait_s", "fetch_s"):
        assert np.allclose(lean[name], full[name], rtol=1e-6, equal_nan=True)
    for name in ("server", "workflow", "phase", "outcome"):
        assert list(lean[name]) == list(full[name])


def test_lean_prompts_are_narrow(soak: Run) -> None:
    """Five million of them fit into 300 MB."""
    assert soak.prompts.memory_usage(index=False).sum() / len(soak.prompts) < 60


def test_notable_prompts_have_all_their_columns(soak: Run) -> None:
    """They are those that the lean frame says did not end as expected, with ids and messages."""
    assert len(soak.notable) == int((~soak.prompts["ok"] | soak.prompts["code"].notna()).sum())
    named = soak.prompts_named([*list(soak.notable["id"].head(2)), soak.frame("prompts", ("id",))["id"].iloc[7]])
    assert len(named) == min(len(soak.notable), 2) + 1
    assert named["variation"].str.startswith('{"3.seed"').all()


def test_percentiles_are_those_of_the_raw_values(soak: Run) -> None:
    """No percentile is averaged, of all prompts or of a part of them."""
    rows = soak.prompts[soak.prompts["timed"]]
    assert whole(soak).latency.p95 == pytest.approx(np.quantile(rows["latency_s"].to_numpy(dtype=float), 0.95))
    for group in groups_by(soak, "server"):
        mine = rows.loc[rows["server"] == group.name, "service_s"].to_numpy(dtype=float)
        assert group.service.p99 == pytest.approx(np.quantile(mine, 0.99))


def test_times_of_nodes_are_those_of_measured_prompts(soak: Run) -> None:
    """Joined by ids, as a notebook would, they are the same."""
    prompts = soak.frame("prompts", ("id", "phase", "outcome"))
    measured = prompts[(prompts["phase"] != "warmup") & ~prompts["outcome"].isin(["aborted", "not_sent"])]
    nodes = soak.nodes[soak.nodes["prompt_id"].isin(measured["id"])]
    for row in node_times(soak):
        lasted = nodes.loc[nodes["node_class"] == row.node_class, "lasted_s"].dropna()
        assert row.count == len(lasted)
        assert row.p95_s == pytest.approx(lasted.quantile(0.95))


def test_a_track_is_what_all_samples_say(soak: Run) -> None:
    """Mean, least and most of each bucket, of each GPU."""
    rows = soak.gpu[soak.gpu["uuid"] == next(iter(watched_gpus(soak)))]
    track = soak.tracks("gpu", (USED,))[str(rows["uuid"].iloc[0])][USED]
    values = rows[USED].to_numpy(dtype=float)
    expected = bucketed(soak.coarse, soak.since_start_s(rows["at"]), values, hold_s=0)
    for mine, its in ((track.mean, expected.mean), (track.low, expected.low), (track.high, expected.high)):
        assert np.allclose(mine, its, rtol=1e-6, equal_nan=True)


def test_a_chart_has_wider_buckets_of_the_same_samples(soak: Run) -> None:
    """What is drawn keeps every extreme, and the mean is over samples, not over means."""
    uuid, gpu = next(iter(watched_gpus(soak).items()))
    wide = soak.tracks("gpu", (USED,))[uuid][USED].wider(least_s=1.0)
    assert wide.grid.width_s >= 1.0
    assert np.nanmax(wide.high) == pytest.approx(gpu.held[USED].most, rel=1e-6)
    assert np.nansum(wide.mean * wide.number) / gpu.samples == pytest.approx(
        gpu.held[USED].total / gpu.samples, rel=1e-6
    )


def test_loads_are_placed_in_their_nodes_without_all_nodes(soak: Run) -> None:
    """The node in whose window the log told of a load, and the prompt it belongs to."""
    loads = model_loads(soak)
    assert len(loads) == (soak.server_log["kind"] == "model_requested").sum() > 0
    nodes = soak.nodes
    for load in loads[:20]:
        assert load.place is not None
        mine = nodes[(nodes["prompt_id"] == load.place.prompt_id) & (nodes["node_id"] == load.place.node_id)].iloc[0]
        assert (mine["server"], mine["started"]) == (load.server, load.place.started)


def test_rows_of_the_journal_count_and_replace_older_ones(copied: Path) -> None:
    """A row with the id of a finished one takes its place; a new one is added; samples come in the order of time."""
    before = open_run(copied)
    row, count = before.frame("prompts").iloc[5], len(before.prompts)
    at_ns = int(row["scheduled"].value)
    clock = ManualClock(START_NS)
    journal = Journal(copied / "journal", host="late", process="load", clock=clock)
    told: dict[str, Any] = {
        "server": SERVER, "worker": "w", "client_id": "c", "workflow": "turbo-512", "phase": "soak",
    }  # fmt: skip
    journal.add(Prompt(id=str(row["id"]), scheduled_ns=at_ns, outcome="oom", code="OOM", finished_ns=at_ns, **told))
    journal.add(Prompt(id="00000000-0000-4000-8000-000000000001", scheduled_ns=at_ns + 1, **told))
    early = START_NS + 3 * NS_PER_S
    journal.add(Gpu(at_ns=early, read_cost_ns=1, host="gpu-0", source="nvml", uuid="GPU-new", memory_used_bytes=7))
    journal.close()
    after = open_run(copied)
    assert len(after.prompts) == count + 1
    assert str(row["id"]) in set(after.notable["id"])
    assert after.prompts["scheduled"].is_monotonic_increasing
    moments = np.concatenate([piece["at_ns"].to_numpy() for piece in after.reader("gpu").in_order(["at_ns"])])
    assert (np.diff(moments) >= 0).all()
    assert watched_gpus(after)["GPU-new"].samples == 1


def test_files_that_overlap_in_time_are_read_in_order(copied: Path, tmp_path: Path) -> None:
    """A worker's rows that were merged by hand lie across everybody else's."""
    layout = open_run(copied).recording.layout
    other = write_soak(tmp_path / "other", scale=0.00005, seed=2)
    manifest = load_manifest(layout.manifest)
    mine, (its,) = manifest.state("gpu"), load_manifest(other / "tables" / "manifest.json").state("gpu").files
    (layout.tables / "gpu" / "000009.parquet").write_bytes((other / "tables" / its.name).read_bytes())
    files = (
        *mine.files,
        type(its)("gpu/000009.parquet", its.rows, its.bytes, its.first_ns, its.last_ns, its.latest_ns),
    )
    save_manifest(manifest.with_table("gpu", type(mine)(files)), layout.manifest, Disk())
    reader = open_run(copied).reader("gpu")
    moments = np.concatenate([piece["at_ns"].to_numpy() for piece in reader.in_order(["at_ns"])])
    assert len(moments) == reader.extent().rows == sum(file.rows for file in files)
    assert (np.diff(moments) >= 0).all()


def test_lines_about_prompts_are_thinned_and_loads_stay_the_same(soak: Run) -> None:
    """There are two a prompt, and they matter only beside lines about models."""
    every = soak.frame("server_log")
    kept = soak.server_log
    others = ~every["kind"].isin(["prompt_got", "prompt_executed"])
    assert int(others.sum()) == int((~kept["kind"].isin(["prompt_got", "prompt_executed"])).sum())
    assert len(kept) < len(every) / 2


def _truncate(run_dir: Path) -> None:
    path = run_dir / "tables" / "prompts" / "000000.parquet"
    path.write_bytes(path.read_bytes()[:-500])


def _garble(run_dir: Path) -> None:
    path = run_dir / "tables" / "gpu" / "000000.parquet"
    data = bytearray(path.read_bytes())
    data[200:3000] = bytes(2800)
    path.write_bytes(bytes(data))


def _lose(run_dir: Path) -> None:
    (run_dir / "tables" / "nodes" / "000000.parquet").unlink()


def _break_run_file(run_dir: Path) -> None:
    (run_dir / "run.json").write_text('{"format": 1, "id": ')


def _break_manifest(run_dir: Path) -> None:
    (run_dir / "tables" / "manifest.json").write_text('{"format": 1, "tables": 7}')


def _from_the_future(run_dir: Path) -> None:
    path = run_dir / "run.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99', 1))


@pytest.mark.parametrize("damage", [_truncate, _garble, _lose, _break_run_file, _break_manifest, _from_the_future])
def test_damage_is_told_in_one_sentence(copied: Path, damage, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]  # one of the functions above
    """Exit code 3 and what to do; no traceback, and no report of half the truth."""
    damage(copied)
    assert main([str(copied)]) == 3
    said = capsys.readouterr().err
    assert str(copied) in said
    assert "Traceback" not in said
    assert not (copied / "report.html").exists()


def test_prompts_of_an_unknown_phase_are_no_obstacle(tmp_path: Path) -> None:
    """A recording whose load told no phase makes a report."""
    told: dict[str, Any] = {
        "server": SERVER,
        "worker": "w",
        "client_id": "c",
        "workflow": "a",
        "scheduled_ns": START_NS + NS_PER_S,
    }
    row = Prompt(
        id="00000000-0000-4000-8000-000000000001", finished_ns=START_NS + 2 * NS_PER_S, outcome="success", **told
    )
    run_dir = plant(tmp_path / "run", prompts_most=0, users=0, watchers=0, gpu=False, other_rows=(row,))
    assert main([str(run_dir)]) in (0, 1, 3)
    assert (run_dir / "report.html").exists()
    assert pd.isna(open_run(run_dir).prompts["phase"].iloc[0])
