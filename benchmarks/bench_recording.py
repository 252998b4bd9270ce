"""What recording costs: a row in the journal, and the recorder at twenty times the rate of a large soak."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.figure import Figure
from comfysoak_core.clock import ManualClock
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.recording import Recording
from comfysoak_core.rows import Gpu, NodeRun, Prompt, Row, Session

START_NS = 1_795_000_000_000_000_000
# 72 h of 8 GPUs at 10 Hz, 5 M prompts, 25 M node rows and 0.5 M socket events, per second.
GPUS_PER_S, PROMPTS_PER_S, NODES_PER_PROMPT, SESSIONS_PER_S = 80.0, 5e6 / 259_200, 5, 0.5e6 / 259_200
TIMES = 20
_NOISE = random.Random(1)
RECORDER_GOAL = 10.0  # percent of a core
RECORDER = """
import json, resource, sys, time
from pathlib import Path
from comfysoak_core.recording import parquet
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.recorder import Recorder
parquet.be_modest()
recorder = Recorder(Layout(Path(sys.argv[1])))
started = time.process_time()
recorder.log()
logged = time.process_time()
recorder.compact(everything=True)
recorder.tidy()
ended = time.process_time()
recorder.sync()
print(json.dumps({"log": logged - started, "tables": ended - logged,
                  "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def measure(*, full: bool) -> Iterator[Figure]:
    """CPU a row in the producers, CPU and memory of the recorder, bytes a row on disk."""
    runs = 5 if full else 3
    yield from (_journal_cost("GPU", [_gpu(at) for at in range(20_000)], runs),
                _journal_cost("prompt", [_prompt(str(uuid.uuid4()), at) for at in range(20_000)], runs))  # fmt: skip
    seconds = 300 if full else 60
    found = [_recorder_cost(seconds) for _ in range(runs)]
    shares = [100 * (one["log"] + one["tables"]) / seconds for one in found]
    share = statistics.median(shares)
    yield Figure(
        f"recorder at {TIMES} times a 72-h soak of 8 GPUs at 10 Hz and 5 M prompts", share, "% of a core",
        f"< {RECORDER_GOAL:.0f}", share < RECORDER_GOAL, spread=f"{min(shares):.1f}..{max(shares):.1f}", runs=runs,
    )  # fmt: skip
    yield Figure("of that the logs", statistics.median(100 * one["log"] / seconds for one in found), "% of a core")
    yield Figure("recorder: CPU a journalled row", statistics.median(one["us"] for one in found), "us", runs=runs)
    yield Figure("recorder: peak memory", max(one["mb"] for one in found), "MB", runs=runs)
    yield Figure("bytes a GPU row in Parquet", found[0]["gpu"], "B")


def _journal_cost(name: str, rows: list[Row], runs: int) -> Figure:
    """CPU microseconds from `add` to the row being in the file, flushed as by a busy producer."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            journal = Journal(Path(folder), host="h", process="p", clock=ManualClock(START_NS))
            started = time.process_time()
            for row in rows:
                journal.add(row)
            journal.close()
            found.append((time.process_time() - started) / len(rows) * 1e6)
    spread = f"{min(found):.2f}..{max(found):.2f}"
    return Figure(f"journal: CPU a {name} row", statistics.median(found), "us", spread=spread, runs=runs)


def _recorder_cost(seconds: int) -> dict[str, float]:
    """Write `seconds` of soak at TIMES its rate into a journal, then let a recorder have it."""
    with tempfile.TemporaryDirectory() as folder:
        recording = Recording.create(Path(folder), "bench", clock=ManualClock(START_NS))
        count = _write_soak(recording, seconds)
        output = subprocess.run(
            [sys.executable, "-c", RECORDER, recording.path], stdout=subprocess.PIPE, check=True, env=os.environ
        ).stdout
        cost: dict[str, float] = json.loads(output)
        cost["us"] = (cost["log"] + cost["tables"]) / count * 1e6
        manifest = json.loads(recording.layout.manifest.read_bytes())
        for table, state in manifest["tables"].items():
            files = state["files"]
            cost[table] = sum(file["bytes"] for file in files) / sum(file["rows"] for file in files)
        return cost


def _write_soak(recording: Recording, seconds: int) -> int:
    """Rows as they come, each begun and ended; the number of journalled rows."""
    clock = ManualClock(START_NS)
    load = Journal(recording.layout.journal, host="h", process="load", clock=clock)
    sampler = Journal(recording.layout.journal, host="h", process="sampler", clock=clock)
    count = 0
    for second in range(seconds):
        now = START_NS + second * 10**9
        rows = _load_rows(now)
        for row in rows:
            load.add(row)
        for at in range(int(GPUS_PER_S * TIMES)):
            sampler.add(_gpu(now + at * 600_000))
        count += len(rows) + int(GPUS_PER_S * TIMES)
        load.flush()
        sampler.flush()
        clock.advance(1)
    load.close()
    sampler.close()
    return count


def _load_rows(now: int) -> list[Row]:
    rows: list[Row] = []
    for at in range(int(PROMPTS_PER_S * TIMES)):
        begun_ns, prompt_id = now + at * 2_000_000, str(uuid.uuid4())
        rows += [_prompt(prompt_id, begun_ns), _prompt(prompt_id, begun_ns, "success")]
        for number in range(NODES_PER_PROMPT):
            rows += [_node(prompt_id, number, begun_ns, None), _node(prompt_id, number, begun_ns, begun_ns + 10**8)]
    for at in range(int(SESSIONS_PER_S * TIMES)):
        begun_ns, session_id = now + at * 2_000_000, str(uuid.uuid4())
        rows += [_session(session_id, begun_ns, None), _session(session_id, begun_ns, begun_ns + 10**9)]
    return rows


def _gpu(at: int) -> Gpu:
    """A row with noise where a real one has it: it does not compress better than real ones do."""
    return Gpu(
        at_ns=START_NS + at + _NOISE.randrange(100_000),
        read_cost_ns=45_000 + _NOISE.randrange(5_000),
        host="gpu-1",
        source="nvml",
        uuid=f"GPU-{at % 8}-7b1c",
        index=at % 8,
        memory_used_bytes=12_000_000_000 + _NOISE.randrange(5_000) * 4096,
        memory_total_bytes=80 << 30,
        memory_reserved_bytes=500 << 20,
        utilisation_ratio=_NOISE.randrange(101) / 100,
        memory_utilisation_ratio=_NOISE.randrange(61) / 100,
    )


def _prompt(prompt_id: str, at: int, outcome: str | None = None) -> Prompt:
    begun = Prompt(
        id=prompt_id,
        server="http://gpu-1:8188",
        worker="worker-1",
        client_id="a" * 32,
        workflow="sdxl",
        phase="soak",
        variation=f'{{"3.seed": {at}}}',
        scheduled_ns=at,
        deadline_ns=at + 10**11,
        sent_ns=at + 1000,
    )
    return begun if outcome is None else _ended(begun, outcome)


def _ended(begun: Prompt, outcome: str) -> Prompt:
    at = begun.scheduled_ns
    return replace(
        begun,
        accepted_ns=at + 10**6,
        http_status=200,
        number=5.0,
        queue_remaining=3,
        start_received_ns=at + 10**7,
        start_error_ns=100_000,
        end_received_ns=at + 10**9,
        end_error_ns=100_000,
        end_source="socket",
        started_server_ns=at + 10**7,
        ended_server_ns=at + 10**9,
        fetched_ns=at + 11 * 10**8,
        finished_ns=at + 12 * 10**8,
        outcome=outcome,
        nodes_total=7,
        nodes_cached=2,
        nodes_executed=5,
        messages=30,
        message_bytes=5000,
        outputs_expected=1,
        outputs_received=1,
        output_bytes=1_300_000 + at % 9973,
        outputs_ok=True,
    )


def _node(prompt_id: str, number: int, begun_ns: int, ended_ns: int | None) -> NodeRun:
    started_ns = begun_ns + number * 10**7
    return NodeRun(
        id=f"{prompt_id}/{number}",
        prompt_id=prompt_id,
        node_id=str(number),
        node_class="KSampler",
        server="http://gpu-1:8188",
        workflow="sdxl",
        started_ns=started_ns,
        first_progress_ns=started_ns + 5,
        ended_ns=ended_ns,
        steps=20.0,
    )


def _session(session_id: str, opening_ns: int, closed_ns: int | None) -> Session:
    return Session(
        id=session_id,
        server="http://gpu-1:8188",
        worker="worker-1",
        role="user",
        client_id="a" * 32,
        opening_ns=opening_ns,
        opened_ns=opening_ns + 10**6,
        closed_ns=closed_ns,
        messages=100,
    )
