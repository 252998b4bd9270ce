"""The peer: the same tables, percentiles and charts by pandas and plotly, as one would write it in an afternoon.

    python plain.py RUN_DIR OUT.html

It reads only the columns it needs, and draws means over as many points as our charts have: no straw man.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

POINTS = 1_000
SHARES = [0.5, 0.9, 0.95, 0.99]


def read(run_dir: Path, table: str, columns: list[str]) -> pd.DataFrame:
    """All files of one table, with moments as datetimes."""
    manifest = json.loads((run_dir / "tables" / "manifest.json").read_text())
    files = [run_dir / "tables" / file["name"] for file in manifest["tables"][table]["files"]]
    frame = pd.concat([pd.read_parquet(file, columns=columns) for file in files], ignore_index=True)
    for name in [name for name in columns if name.endswith("_ns")]:
        frame[name] = pd.to_datetime(frame[name])
    return frame


def seconds(frame: pd.DataFrame, later: str, earlier: str) -> pd.Series:
    """From one moment to another."""
    return (frame[later] - frame[earlier]).dt.total_seconds()


def lines(frame: pd.DataFrame, by: str, at: str, column: str, step: pd.Timedelta) -> list[go.Scatter]:
    """Means over time, a line for each value of `by`."""
    means = frame.groupby([by, pd.Grouper(key=at, freq=step)])[column].mean().reset_index()
    return [go.Scatter(x=part[at], y=part[column], name=str(name)) for name, part in means.groupby(by)]


def main() -> None:
    """Tables in, percentiles on stdout, a page with twelve charts out."""
    run_dir, out = Path(sys.argv[1]), Path(sys.argv[2])
    prompts = read(
        run_dir,
        "prompts",
        ["id", "server", "workflow", "phase", "outcome", "code", "error_type", "scheduled_ns", "sent_ns",
         "start_received_ns", "end_received_ns", "started_server_ns", "ended_server_ns", "fetched_ns", "finished_ns"],
    )  # fmt: skip
    step = (prompts["finished_ns"].max() - prompts["scheduled_ns"].min()) / POINTS
    prompts["latency"] = seconds(prompts, "end_received_ns", "scheduled_ns")
    prompts["service"] = seconds(prompts, "ended_server_ns", "started_server_ns")
    prompts["wait"] = seconds(prompts, "start_received_ns", "sent_ns")
    prompts["fetch"] = seconds(prompts, "fetched_ns", "end_received_ns")
    timed = prompts[(prompts["phase"] != "warmup") & (prompts["outcome"] == "success")]
    for by in ("workflow", "server", "phase"):
        print(timed.groupby(by)[["latency", "service", "wait", "fetch"]].quantile(SHARES))
    print(prompts[prompts["code"].notna()].groupby(["code", "outcome"])["id"].agg(["count", "first"]))
    nodes = read(run_dir, "nodes", ["prompt_id", "node_class", "started_ns", "ended_ns", "in_gap"])
    nodes = nodes[nodes["prompt_id"].isin(timed["id"]) & ~nodes["in_gap"]]
    nodes["lasted"] = seconds(nodes, "ended_ns", "started_ns")
    print(nodes.groupby("node_class")["lasted"].agg(["count", "median", "max", "sum"]))
    sessions = read(run_dir, "sessions", ["server", "opened_ns", "closed_ns", "code"])
    print(sessions["code"].value_counts(), seconds(sessions, "closed_ns", "opened_ns").sum() / 3600)
    gpu = read(run_dir, "gpu", ["at_ns", "uuid", "memory_used_bytes", "memory_total_bytes", "utilisation_ratio"])
    print(gpu.groupby("uuid")[["memory_used_bytes", "utilisation_ratio"]].agg(["mean", "max"]))
    slow = read(
        run_dir,
        "gpu_slow",
        ["at_ns", "uuid", "power_watts", "temperature_celsius", "sm_clock_hertz", "sm_active_ratio"],
    )
    server = read(run_dir, "server", ["at_ns", "server", "queue_pending", "queue_running"])
    host = read(run_dir, "host", ["at_ns", "host", "cpu_ratio", "memory_available_bytes"])
    processes = read(run_dir, "processes", ["at_ns", "pid", "rss_bytes"])
    failed = prompts[prompts["code"].notna()]
    counted = prompts.groupby(["outcome", pd.Grouper(key="finished_ns", freq=step)]).size().reset_index(name="count")
    charts = [
        [go.Bar(x=part["finished_ns"], y=part["count"], name=name) for name, part in counted.groupby("outcome")],
        [go.Scatter(x=failed["finished_ns"], y=failed["code"], mode="markers", text=failed["id"])],
        lines(timed, "workflow", "finished_ns", "latency", step),
        lines(timed, "workflow", "finished_ns", "service", step),
        lines(server, "server", "at_ns", "queue_pending", step),
        lines(gpu, "uuid", "at_ns", "memory_used_bytes", step),
        lines(gpu, "uuid", "at_ns", "utilisation_ratio", step),
        lines(slow, "uuid", "at_ns", "sm_active_ratio", step),
        lines(slow, "uuid", "at_ns", "power_watts", step),
        lines(slow, "uuid", "at_ns", "temperature_celsius", step),
        lines(host, "host", "at_ns", "cpu_ratio", step),
        lines(processes, "pid", "at_ns", "rss_bytes", step),
    ]
    page = make_subplots(rows=len(charts), cols=1)
    for row, traces in enumerate(charts, 1):
        for trace in traces:
            page.add_trace(trace, row=row, col=1)
    page.update_layout(height=300 * len(charts))
    page.write_html(out, include_plotlyjs=True)


if __name__ == "__main__":
    main()
