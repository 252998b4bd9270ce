"""Sixteen stand-in GPUs, each with a trait of its own, watched by one sampler beside one server with a child."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.probes.sampling import Record, Sampling

SERVER = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
print(server.server_port, child.pid, flush=True)
server.serve_forever()
"""
NOBODY = 4194999  # above the highest process id there is
NOT_TOLD = 2**64 - 1
GIB = 1024**3

# GPU 0 has everything; the others lack what their line says.
SCRIPT = f"""
gpus 16
set 0 event_reasons 36
rate 0 pcie_sent 5000000
rate 0 power_throttled 500000000
set 0 thermal_throttled 2500000000
set 0 nvlinks 4
set 0 nvlinks_up 3
rate 0 nvlink_sent 2000
rate 0 nvlink_received 1000
set 0 nvlink_crc_flit 2
set 0 nvlink_replays 5
set 0 utilization_peak 100
set 0 ecc_corrected 7
set 0 ecc 3
set 0 ecc_lifetime 4
set 0 remapped_corrected 1
set 0 remapped_uncorrected 2
set 0 remapping_pending 1
set 0 pcie_replays 9
process 0 {{server}} {GIB}
process 0 {{child}} {2 * GIB} both
process 0 {{foreign}} {3 * GIB} graphics
set 0 sm_{{child}} 30
fail 1 nvmlDeviceGetPowerUsage 3 0
fail 1 nvmlDeviceGetTotalEnergyConsumption 4 0
fail 1 nvmlDeviceGetPerformanceState 2 0
set 1 code_82 3
set 1 code_197 2
set 1 code_4 6
process 1 {{server}} {GIB}
process 1 {NOBODY} {GIB}
set 2 gpm 0
process 2 {{server}} {NOT_TOLD}
set 3 gpm_2 nan
set 3 gpm_code_5 3
fail 3 nvmlDeviceGetComputeRunningProcesses_v3 4 0
set 4 sample_ms 0
set 5 pcie_sent 1000000000 0
set 5 pcie_sent 10 2.6
fail 5 nvmlDeviceGetFanSpeed 3 0
set 5 compute_mode 3
set 6 code_74 3
set 6 code_75 999
set 6 power_throttled 4000000000
set 6 nvlinks 2
set 6 code_38 3
set 6 code_45 3
set 6 code_52 3
set 6 code_59 3
fail 7 nvmlDeviceGetFanSpeed 999 0
fail 7 nvmlDeviceGetPowerUsage 999 0
fail 7 nvmlDeviceGetUtilizationRates 999 0
set 8 sample_type 0
set 8 performance_state 32
fail 9 nvmlDeviceGetFieldValues 3 0
fail 10 nvmlGpmMetricsGet 10 1 1
set 11 sample_type 3
mig 12 2
set 221 gpm_2 70
process 220 {{server}} {GIB}
fail 13 nvmlDeviceGetSamples 3 0
fail 13 nvmlDeviceGetNvLinkState 10 1 1
set 13 nvlinks 2
"""


@dataclass(slots=True)
class Fleet:
    """What was recorded of it."""

    sampling: Sampling
    server: int  # process ids
    child: int
    foreign: int

    def rows(self, table: str, index: int, instance: str | None = None) -> list[Record]:
        """The rows of one GPU, or of a MIG instance of it."""
        rows = self.sampling.rows(table)
        return [row for row in rows if row["index"] == index and row["instance"] == instance]

    def processes(self, index: int) -> dict[int, Record]:
        """The last row of each process on a GPU."""
        uuid = self.rows("gpu", index)[0]["uuid"]
        return {row["pid"]: row for row in self.sampling.rows("gpu_processes") if row["uuid"] == uuid}


@contextmanager
def watched(folder: Path, driver: Path) -> Iterator[Fleet]:
    """The fleet once each GPU has been read several times, and its processes with the server known."""
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        port, child = map(int, server.stdout.readline().split())
        script = SCRIPT.format(server=server.pid, child=child, foreign=os.getpid())
        sampling = Sampling.start(folder, driver=driver, script=script, servers=[f"http://127.0.0.1:{port}"], log="off")
        try:
            known = f"http://127.0.0.1:{port}"
            sampling.wait_for("processes", lambda rows: any(row["server"] == known for row in rows))
            known_ns = sampling.rows("processes")[-1]["at_ns"]
            sampling.wait_for("gpu_slow", lambda rows: enough(rows, 3, known_ns))
            sampling.wait_for("gpu_health", lambda rows: enough(rows, 1, known_ns))
            yield Fleet(sampling, server.pid, child, os.getpid())
        finally:
            sampling.end()
            server.terminate()


def enough(rows: list[Record], count: int, after_ns: int) -> bool:
    """So many rows of each GPU and MIG instance after this moment."""
    later = [row["uuid"] for row in rows if row["at_ns"] > after_ns]
    return len(set(later)) == 18 and all(later.count(uuid) >= count for uuid in set(later))


def why(row: Record, column: str) -> str | None:
    """The reason that `missing` has for a column, which must then have no value."""
    for told in filter(None, (row["missing"] or "").split("; ")):
        columns, _, reason = told.partition(": ")
        if column in columns.split(","):
            assert row[column] is None, f"{column} has a value and a reason: {told}"
            return str(reason)
    return None
