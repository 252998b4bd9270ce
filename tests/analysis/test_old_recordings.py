"""Recordings of versions before the newer tables and columns open, and make a report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from comfysoak_analysis.report import build
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.recording import Recording
from comfysoak_core.rows import Container, Host
from tests.analysis.planted import SERVER, START_NS, plant
from tests.analysis.test_watched import rows as watched_rows
from tests.analysis.watched_rows import recorded

NEW_TABLES = ("containers", "folders", "gpu_health", "gpu_processes", "trials", "clocks", "server_clocks")
NEW_COLUMNS = {
    "gpu": {"instance", "late_ns", "memory_reserved_bytes", "missing"},
    "gpu_slow": {"instance", "sm_active_ratio", "tensor_active_ratio", "graphics_active_ratio", "power_throttled_s",
                 "thermal_throttled_s", "xid", "event_reasons"},
    "events": {"seconds"},
    "server": {"canary_answer_ns", "running_age_ns", "oldest_pending_age_ns"},
    "host": {"cpu_count", "busiest_core_ratio", "cpu_pressure_ratio", "memory_pressure_ratio", "io_pressure_ratio"},
    "processes": {"started_ns", "connections", "uss_bytes", "name"},
    "prompts": {"role", "left_ns", "retry_of"},
    "nodes": {"in_gap", "first_progress_ns"},
}  # fmt: skip


@pytest.mark.parametrize("watched", [False, True])
def test_a_recording_of_an_older_version_makes_a_report(directory: Path, watched: bool) -> None:
    """Of a run, and of what a probe alone recorded: nothing that came later is needed."""
    rows = (
        Host(at_ns=START_NS + NS_PER_S, read_cost_ns=1, host="gpu-1", cpu_ratio=0.5),
        Container(at_ns=START_NS, read_cost_ns=1, host="gpu-1", server=SERVER),
    )
    if watched:
        recorded(directory, *rows, *watched_rows("gpu-1"), ended=None)
    else:
        plant(directory, oom_at_s=(30,), other_rows=rows, seal=False)
    Recording.open(directory).seal("finished")
    manifest = directory / "tables" / "manifest.json"
    kept = json.loads(manifest.read_bytes())
    for table in NEW_TABLES:
        shutil.rmtree(directory / "tables" / table, ignore_errors=True)
        kept["tables"].pop(table, None)
    manifest.write_text(json.dumps(kept), encoding="utf-8")
    for table, columns in NEW_COLUMNS.items():
        files = list((directory / "tables" / table).glob("*.parquet"))
        assert files or (watched and table in {"prompts", "nodes"})
        for file in files:
            stored = pq.read_table(file)
            there = [name for name in stored.column_names if name not in columns]
            pq.write_table(stored.select(there), file)
    verdict = build(directory)
    assert verdict.sentence.startswith("Watched for") is watched
    assert "chart-vram" in (directory / "report.html").read_text(encoding="utf-8")
